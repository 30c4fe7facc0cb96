"""What was seen: merged, saved, read again, and held against policies."""

from __future__ import annotations

import json

import lessons
import pytest

from isolate_fn import Limits, Policy, Seen, isolated, learn, ro, rw
from isolate_fn.errors import PolicyError, Unsupported
from isolate_fn.rules import ForkAndExec, SystemIO

needs = pytest.mark.needs("namespaces", "landlock")


@pytest.fixture
def two(elsewhere):
    """Give what two runs saw, one file each."""
    found = []
    for name in ("a", "b"):
        (elsewhere / name).write_text(name)
        with learn() as seen:
            seen.call(lessons.read_all, [str(elsewhere / name)])
        found.append(seen)
    return elsewhere, *found


@needs
def test_two_runs_are_merged(two):
    host, first, second = two
    merged = first | second
    assert sorted(map(repr, merged.policy.mounts)) == [f"ro('{host}/a')", f"ro('{host}/b')"]
    assert merged.runs == 2
    assert merged.peaks["memory"] == max(first.peaks["memory"], second.peaks["memory"])
    assert merged.calls["openat"] == first.calls["openat"] + second.calls["openat"]
    assert (first | second).policy == (second | first).policy


@needs
def test_several_calls_in_a_block_are_merged(elsewhere):
    for name in ("a", "b"):
        (elsewhere / name).write_text(name)
    with learn() as seen:
        for name in ("a", "b"):
            assert seen.call(lessons.read_all, [str(elsewhere / name)]) == [name]
    assert seen.runs == 2
    assert sorted(map(repr, seen.policy.mounts)) == [f"ro('{elsewhere}/a')", f"ro('{elsewhere}/b')"]


@needs
def test_saved_and_loaded_it_is_the_same(two, tmp_path):
    _, first, second = two
    for seen in (first, first | second):
        seen.save(tmp_path / "seen.json")
        again = Seen.load(tmp_path / "seen.json")
        assert again.json() == seen.json()
        assert again.policy == seen.policy
        assert again.flags == seen.flags
        assert json.loads(again.json())["runs"] == seen.runs


@pytest.mark.parametrize("text", ["", "[]", "{}", "{not json", '{"learned": 99}', '{"learned": 1, "program": false}'])
def test_what_is_no_such_file(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PolicyError, match="not what learn has saved"):
        Seen.load(tmp_path / "x.json")


@needs
def test_grants_that_no_run_used(two):
    host, first, second = two
    assert first.unused(first.policy) == ()
    wide = Policy(
        mounts=[ro(host / "a"), ro(host / "b"), rw(host / "a", "/elsewhere"), rw("/var/cache")],
        network=True,
        rules=[SystemIO.everything(), ForkAndExec()],
    )
    said = "\n".join(first.unused(wide))
    assert f"mounts[1] ro('{host}/b')" in said
    assert f"mounts[0] ro('{host}/a')" not in said
    assert "mounts[3] rw('/var/cache')" in said
    assert "network=True" in said
    assert "ForkAndExec" in said
    assert (first | second).unused(Policy(mounts=[ro(host)])) == ()


@needs
def test_a_writable_mount_that_is_only_read(elsewhere):
    (elsewhere / "a").write_text("a")
    with learn() as seen:
        seen.call(lessons.read_all, [str(elsewhere / "a")])
    assert seen.unused(Policy(mounts=[rw(elsewhere)])) == (
        f"mounts[0] rw('{elsewhere}'): nothing in it was changed; ro() would do",
    )


@needs
def test_options_of_a_decorated_function_stay(elsewhere):
    (elsewhere / "a").write_text("a")
    decorated = isolated(mounts=[ro("/usr/share")], env={"X": "1"}, timeout=3, name="mine")(lessons.read_all)
    with learn() as seen:
        assert seen.call(decorated, [str(elsewhere / "a")]) == ["a"]
    assert (dict(seen.policy.env), seen.policy.name) == ({"X": "1"}, "mine")
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{elsewhere}/a')"]
    assert seen.policy.limits != Limits()


@needs
@pytest.mark.parametrize("function", [lessons.yield_lines, lessons.yield_lines_async, lessons.read_async])
def test_other_kinds_of_functions(elsewhere, function):
    (elsewhere / "a").write_text("1\n2\n")
    with learn() as seen:
        found = seen.call(function, str(elsewhere / "a"))
    assert "".join(found) == "1\n2\n"
    assert f"ro('{elsewhere}/a')" in map(repr, seen.policy.mounts)


@needs
def test_a_wide_directory_that_is_listed_is_flagged_and_not_granted():
    with learn() as seen:
        seen.call(lessons.look_at, ["/etc"])
    assert seen.policy.mounts == ()
    assert [(flag.kind, flag.subject) for flag in seen.flags] == [("broad", "/etc")]


@needs
def test_code_of_the_caller_is_not_granted_writable(elsewhere):
    (elsewhere / ".git").mkdir()
    with learn() as seen:
        seen.call(lessons.write_and_list, str(elsewhere))
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{elsewhere}')"]  # it was listed, too
    assert [(flag.kind, flag.subject) for flag in seen.flags] == [("code", str(elsewhere))]


@needs
def test_programs_and_functions_are_kept_apart(elsewhere):
    with learn() as seen:
        seen.run(["/bin/true"])
        with pytest.raises(PolicyError, match="functions and programs"):
            seen.call(lessons.read_all, [])
    with learn() as other:
        other.call(lessons.read_all, [])
    with pytest.raises(PolicyError, match="merge one kind"):
        seen | other


@needs
def test_errors_of_the_function_come_through_and_it_was_seen(elsewhere):
    with learn() as seen, pytest.raises(ZeroDivisionError):
        seen.call(lessons.fail_after_reading, __file__)
    assert __file__ in seen.read


@needs
def test_writes_that_are_asked_for(elsewhere):
    (elsewhere / "really").mkdir()
    (elsewhere / "copied").mkdir()
    (elsewhere / "copied" / "old").write_text("x")
    (elsewhere / "really").chmod(0o777)
    with learn(rw=[elsewhere / "really"], scratch=[elsewhere / "copied"]) as seen:
        assert seen.call(lessons.write_and_list, str(elsewhere / "really")) == ["made"]
        assert seen.call(lessons.write_and_list, str(elsewhere / "copied")) == ["made", "old"]
    assert [each.name for each in (elsewhere / "really").iterdir()] == ["made"]
    assert [each.name for each in (elsewhere / "copied").iterdir()] == ["old"]
    assert seen.runs == 2
    assert sorted(map(repr, seen.policy.mounts)) == [f"rw('{elsewhere}/{name}')" for name in ("copied", "really")]


def test_places_that_are_not_there():
    for option in ("rw", "scratch", "allow"):
        with pytest.raises(PolicyError, match="there is no"):
            learn(**{option: "/there/is/none"})


def test_a_block_is_needed_and_only_once():
    block = learn()
    with pytest.raises(PolicyError, match="not open"):
        block.call(lessons.read_all, [])
    with block, pytest.raises(PolicyError, match="entered before"):
        block.__enter__()


@pytest.mark.parametrize(("pretend", "words"), [("landlock=0", "Landlock (Linux 5.13)"), ("user_notification=0", "Linux 5.9")])
def test_a_kernel_that_cannot(monkeypatch, pretend, words):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", pretend)
    with learn() as seen, pytest.raises(Unsupported) as caught:
        seen.call(lessons.read_all, [])
    assert words in str(caught.value)
    assert "Linux 5.13 or newer" in caught.value.remedy
    assert seen.runs == 0


@pytest.mark.needs("interpreter")
def test_a_machine_without_namespaces(monkeypatch):
    monkeypatch.setenv("ISOLATE_FN_PRETEND", "userns=0,privileged=0")
    with learn() as seen, pytest.raises(Unsupported, match="engine 'namespaces'") as caught:
        seen.call(lessons.read_all, [])
    assert "engine 'landlock'" in str(caught.value)
    assert "isolate-fn doctor" in caught.value.remedy


@pytest.mark.parametrize("named", [False, True])
def test_a_grant_for_one_call_is_what_is_to_be_learned(host, named):
    (host / "a").write_text("text")
    with learn() as seen:
        with pytest.raises(PolicyError) as caught:
            seen.call(lessons.read, path=ro(host / "a")) if named else seen.call(lessons.read, ro(host / "a"))
        assert caught.value.field == "argument 'path'"
        assert "is to be learned" in caught.value.problem
        assert caught.value.remedy == "pass the path as a text or pathlib.Path"
        assert seen.call(lessons.read, str(host / "a")) == "text"

"""Hostile programs that are learned: none gets out, to a secret, or at whoever looks on, and what they name stays text."""

from __future__ import annotations

import ast
import errno
import glob
import os
import socket
import tempfile

import lessons
import pytest

from isolate_fn import learn, rw
from isolate_fn._diagnose.learn import places, room
from isolate_fn._diagnose.learn.secrets import secret_below
from isolate_fn.errors import IsolationError, LimitExceeded, SyscallDenied

pytestmark = pytest.mark.needs("namespaces", "landlock")


def test_every_other_wall_stands():
    with learn() as seen:
        found = seen.call(lessons.escape)
    assert all(found.values()), {name: code for name, code in found.items() if not code}


def test_a_descriptor_for_reading_changes_nothing(elsewhere):
    path = elsewhere / "file"
    path.write_text("text")
    before = os.stat(path)
    with learn(net=True) as seen:  # where nothing is run twice, and so no copy is made, in which it may
        assert all(seen.call(lessons.change_through, str(path)))
    after = os.stat(path)
    assert (before.st_mtime_ns, before.st_mode, before.st_size) == (after.st_mtime_ns, after.st_mode, after.st_size)
    assert [each.name for each in elsewhere.iterdir()] == ["file"]


def test_a_path_that_changes_while_it_is_looked_at(elsewhere):
    (elsewhere / "plain").write_text("plain")
    (elsewhere / ".env").write_text("SECRET")
    with learn() as seen:
        found = seen.call(lessons.race, str(elsewhere / "plain"), str(elsewhere / ".env"), 400)
    assert "plain" in found
    assert not any("SECRET" in str(each) for each in found)
    assert not any(".env" in repr(mount) for mount in seen.policy.mounts)


def test_a_race_with_what_every_isolate_may_open(elsewhere):
    (elsewhere / ".env").write_text("SECRET")
    with learn() as seen:
        found = seen.call(lessons.race, os.__file__, str(elsewhere / ".env"), 400)
    assert not any("SECRET" in str(each) for each in found)


def test_sockets_of_services_are_out_of_reach(elsewhere):
    """The directories that they lie in can be looked at."""
    paths = [str(elsewhere / name) for name in ("stream", "datagram")]
    with socket.socket(socket.AF_UNIX) as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        for service, path in zip((stream, datagram), paths, strict=True):
            service.bind(path)
            os.chmod(path, 0o777)
        stream.listen()
        assert len(lessons.reach_unix_sockets(*paths)) == 4
        for net in (False, True):
            with learn(net=net) as seen:
                assert seen.call(lessons.reach_unix_sockets, *paths) == []


def test_nobody_outside_can_be_killed():
    with learn() as seen:
        errors, numbers = seen.call(lessons.kill_everybody)
        assert set(errors) <= {"1", "3", "None", "22"}  # EPERM, ESRCH; None is its own
        assert len(numbers) < 10
        assert seen.call(lessons.read, os.__file__).startswith('r"""')


def test_paths_are_printed_harmlessly(elsewhere, as_toml):
    names = ["esc\x1b[31m", "line\nbreak", "bell\x07", "\u202eright", "quote'\"", "back\\slash", "]]>#"]
    for name in names:
        (elsewhere / name).write_text("x")
        (elsewhere / f"{name}.key").write_text("x")
    paths = [str(elsewhere / name) for name in names]
    with learn() as seen:
        seen.call(lessons.read_all, [*paths, *(f"{path}.key" for path in paths)])
    shown = "\n".join([seen.decorator(), seen.toml(), seen.json(), *map(str, seen.flags)])
    assert not any(character in shown for character in "\x1b\x07\u202e")
    assert all(line.startswith("#") for line in seen.toml().split("mounts")[0].splitlines())
    assert {mount.destination for mount in as_toml(seen.policy, seen.toml()).mounts} == set(paths)


def test_a_name_that_reads_like_the_next_mount(elsewhere, as_toml):
    """Long lists are broken after each mount, and nowhere else."""
    names = ["a), ro(b", "a), rw('c", "a, b), Limits(c", "[d=[e), ro(f"]
    for name in names:
        (elsewhere / name).write_text("x")
    for number in range(2 * len(names)):  # so that the directory is not granted for its files
        (elsewhere / str(number)).write_text("x")
    paths = [str(elsewhere / name) for name in names]
    with learn() as seen:
        seen.call(lessons.read_all, paths)
    text = seen.decorator()
    assert text.count("\n") > len(names), "it was short enough for one line"
    (called,) = ast.parse(f"{text}\ndef function(): ...").body[0].decorator_list
    mounts = {option.arg: option.value for option in called.keywords}["mounts"]
    assert [(each.func.id, ast.literal_eval(each.args[0])) for each in mounts.elts] == [("ro", path) for path in sorted(paths)]
    as_toml(seen.policy, seen.toml())


def test_a_tree_without_end_in_a_copy(elsewhere):
    copies = set(glob.glob(f"{tempfile.gettempdir()}/isolate-fn-*"))
    with learn() as seen:
        assert seen.call(lessons.dig, str(elsewhere), 2500) == 2500
    assert set(glob.glob(f"{tempfile.gettempdir()}/isolate-fn-*")) <= copies
    assert seen.policy.mounts == (rw(elsewhere),)
    assert os.listdir(elsewhere) == []


def test_a_disk_is_not_filled_by_way_of_a_copy(elsewhere, monkeypatch):
    free = os.statvfs(tempfile.gettempdir())
    monkeypatch.setattr(room, "LEFT", 1 - (64 << 20) / (free.f_bavail * free.f_frsize))
    with learn() as seen, pytest.raises(LimitExceeded, match="room for temporary copies") as caught:
        seen.call(lessons.fill_a_file_that_nobody_sees, str(elsewhere), 1024)
    assert "TMPDIR" in caught.value.remedy
    assert caught.value.used > caught.value.allowed
    assert seen.policy.mounts == (rw(elsewhere),)


def test_very_many_names_in_a_directory_with_secrets(elsewhere, monkeypatch):
    (elsewhere / ".env").write_text("SECRET")
    (elsewhere / "plain").write_text("plain")
    looks = []
    monkeypatch.setattr(places, "secret_below", lambda path: looks.append(path) or secret_below(path))
    with learn(net=True) as seen:
        assert seen.call(lessons.unlink_nothing, str(elsewhere), 2000) == 2000
    assert [flag.kind for flag in seen.flags] == ["secret"]
    assert looks == [str(elsewhere)]


def test_names_that_are_no_text(elsewhere):
    path = os.fsdecode(os.fsencode(elsewhere) + b"/\xff\xfe")
    with open(path, "w") as file:
        file.write("x")
    with learn() as seen:
        assert seen.call(lessons.read, path) == "x"
    assert seen.policy.mounts == ()
    assert [flag.kind for flag in seen.flags] == ["odd"]
    seen.json(), seen.toml()


def test_very_many_paths_are_bounded():
    with learn() as seen:
        assert seen.call(lessons.ask_about_many, 21_000) == 21_000
    assert len(seen.paths) <= 20_000
    assert [flag.kind for flag in seen.flags] == ["more"]


def test_long_paths_and_odd_pointers():
    with learn() as seen:
        codes = seen.call(lessons.ask_about_long)
        odd = seen.call(lessons.ask_at_odd_addresses)
    assert set(codes) == {errno.ENOENT, errno.ENAMETOOLONG}
    assert set(odd) == {errno.EFAULT}


def test_forks_in_threads_are_seen(elsewhere):
    for number in range(4):
        (elsewhere / str(number)).write_text("x")
    (elsewhere / "other").write_text("x")
    with learn() as seen:
        assert seen.call(lessons.fork_and_look, str(elsewhere)) == [0] * 4
    assert seen.peaks["processes"] >= 5
    assert {f"{elsewhere}/{number}" for number in range(4)} <= set(seen.read)
    assert seen.policy.rules is not None


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 has the x32 ABI")
def test_numbers_of_another_abi(elsewhere):
    (elsewhere / ".env").write_text("SECRET")
    with learn() as seen:
        try:
            found = seen.call(lessons.foreign_numbers, str(elsewhere / ".env"))
        except IsolationError as ended:
            found = str(ended)
        assert found != b"SECRET"
        assert "SECRET" not in str(found)
        assert seen.call(lessons.read_all, [str(elsewhere / "none")]) == [errno.ENOENT]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 has a 32-bit entry")
def test_a_32_bit_call_ends_the_process_and_nothing_else():
    with learn() as seen:
        with pytest.raises(SyscallDenied, match="foreign architecture"):
            seen.call(lessons.call_as_32_bit)
        assert seen.call(lessons.read_all, ["/there/is/none"]) == [errno.ENOENT]


def test_what_is_recorded_cannot_be_written_inside():
    with learn() as seen:
        directory = seen._temporary.path
        found = seen.call(lessons.look_for_records, directory)
    assert found == []

"""A report is compared with the last good one of its plan, and with the plan itself where it differs in anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

HEARD = """
        import work
        from isolate_fn._runtime import verify as verifying
        from isolate_fn._runtime.said import read
        from isolate_fn._transport.frames import Frame
        heard, verify = [], verifying.verify
        call.verify = lambda frame, plan: heard.append((frame, plan)) or verify(frame, plan)
        refusals, looked = verifying.refusals, []
        verifying.refusals = lambda said, plan, checks=verifying.CHECKS: (
            looked.append(said) if checks is verifying.CHECKS else None) or refusals(said, plan, checks)
        f = isolated(prewarm=0)(work.f)"""


def test_of_isolates_of_one_plan_only_the_first_is_looked_at_in_full(run: Run) -> None:
    printed = run(HEARD + """
        for _ in range(4):
            f()
        maps = {repr(read(frame)["id_maps"]) for frame, _ in heard}
        print(len(heard), len(looked), len(maps) if os.geteuid() == 0 else 4)
    """)
    assert printed == "4 1 4\n"  # root's isolates have an id of the host's each


@pytest.mark.parametrize(
    ("name", "old", "new", "refused"),
    [
        ("id map", b" 1\n", b" 2\n", "id maps"),
        ("id map", b" 1\n", b" 1 1\n", "id maps"),
        ("namespaces", b"pid ", b"pid %d\npid " % 0, ""),  # the later one counts
        ("namespaces", None, b"ours", "own namespaces"),
        ("status", b"Seccomp:\t2", b"Seccomp:\t0", "seccomp filter"),
        ("status", b"NoNewPrivs:\t1", b"NoNewPrivs:\t0", "no_new_privs"),
        ("status", b"\nCapEff:\t00", b"\nCapEff:\t01", "capability"),
        ("status", b"\nCapEff:", b"\nCapEfx:", "capability"),
        ("status", b"\nCpus_allowed:", b"\nCpus_allowxd:", ""),
        ("mounts", b"/ / ro,nosuid", b"/ / rw,nosuid", "mounts"),
        ("mounts", b"/tmp /tmp rw", b"/tmp /tmpx rw", "mounts"),
    ],
)
def test_what_differs_from_a_good_report_is_checked_against_the_plan(
    name: str, old: bytes | None, new: bytes, refused: str, run: Run
) -> None:
    printed = run(HEARD + f"""
        f()
        (frame, plan), = heard
        names = read(frame)["files"]
        texts = [bytes(each) for each in frame.buffers]
        at = names.index({name!r})
        old, new = {old!r}, {new!r}
        if old is None:
            new = b"".join(b"%s %d\\n" % (kind.encode(), os.stat("/proc/self/ns/" + kind).st_ino)
                           for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"))
            old = texts[at]
        assert old in texts[at], texts[at]
        changed = list(texts)
        changed[at] = texts[at].replace(old, new, 1)
        good = Frame(frame.kind, frame.json, texts)
        assert verify(good, plan) == read(good)
        for _ in range(2):  # a refused report is not the one to compare the next with
            error = caught(verify, Frame(frame.kind, frame.json, changed), plan) if {refused!r} else None
            print(error is None and verify(Frame(frame.kind, frame.json, changed), plan) and "good" or error.call)
        assert verify(good, plan) == read(good)
    """)
    for line in printed.splitlines():
        assert refused in line if refused else line == "good"
    assert len(printed.splitlines()) == 2

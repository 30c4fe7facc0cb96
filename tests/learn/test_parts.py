"""Parts of `learn` by themselves: the filter that asks, the view, the record, addresses, and who may let a call go on."""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import isolate_fn
from isolate_fn._diagnose.learn import copies
from isolate_fn._diagnose.learn.boxes import needs_namespaces
from isolate_fn._diagnose.learn.many import Roots, Standing
from isolate_fn._diagnose.learn.view import View
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._plan.learning import watching_filter
from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.orders import Learning, MountOrder, Plan
from isolate_fn._runtime.learner import address
from isolate_fn._runtime.learner_files import Files, Refused
from isolate_fn._runtime.learner_record import MOST_ADDRESSES, MOST_PATHS, Record
from isolate_fn._runtime.learner_tables import CALLS
from isolate_fn._sys import calls, numbers
from isolate_fn._sys.seccomp_constants import AUDIT_ARCH
from isolate_fn.errors import Unsupported

PACKAGE = Path(isolate_fn.__file__).parent
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_that_asks_answers_nothing(machine):
    program = watching_filter(machine)
    known = numbers.names(machine)
    asked = set()
    for number in [*known, 1000, 0x40000002]:
        for arguments in ((0,) * 6, (5, 1, 0, 0, 1, 0), (0, 0, 0, 0x1000, 0, 0), (2**64 - 1,) * 6):
            answer = run(program, SeccompData(number, AUDIT_ARCH[machine], arguments)).verdict
            assert answer in (ALLOW, NOTIFY)
            if answer == NOTIFY:
                asked.add(known.get(number))
    assert {"openat", "execve", "connect", "clone", "sendto"} <= asked
    assert {name for name in CALLS if name in known.values()} <= asked
    assert not asked & {"read", "write", "close", "mmap", "futex", "fstat", "brk"}


def test_a_call_of_another_architecture_is_left_to_the_filter_that_denies():
    program = watching_filter("x86_64")
    assert run(program, SeccompData(2, 0x40000003)).verdict == ALLOW


def test_only_the_learner_can_let_calls_go_on():
    importers = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
                if "isolate_fn._sys.observation_calls" in names:
                    importers.add(path.relative_to(PACKAGE).as_posix())
    assert importers == {"_runtime/learner.py"}


@pytest.mark.needs("namespaces")
def test_ordinary_calls_know_nothing_of_it():
    code = (
        "import sys\n"
        "from isolate_fn import isolated\n"
        "import lessons_of_nobody\n"
        "loaded = lessons_of_nobody.loaded\n"
        "inside = isolated(loaded)()\n"
        "here = [name for name in sys.modules if 'learn' in name]\n"
        "print([name for name in inside if 'isolate_fn' in name and 'learn' in name], here)\n"
    )
    helper = "import sys\ndef loaded():\n    return list(sys.modules)\n"
    program = f"import types, sys\nm = types.ModuleType('lessons_of_nobody')\nexec({helper!r}, m.__dict__)\n"
    program += "m.loaded.__module__ = '__main__'\nsys.modules['lessons_of_nobody'] = m\n" + code
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[] []\n", done.stderr


def test_another_engine_is_refused():
    needs_namespaces("namespaces")
    with pytest.raises(Unsupported, match="engine 'landlock'"):
        needs_namespaces("landlock")


def test_orders_survive_the_way_to_the_spawner():
    from isolate_fn._plan.orders import plain, plan_of

    learning = Learning(b"x", 8, "/tmp/f", ("/usr",), (), False)
    fields = dict.fromkeys(Plan._fields) | {"mounts": (), "learning": learning}
    assert plan_of(plain(Plan(**fields))).learning == learning


def view_of(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "link").symlink_to(tmp_path / "data")
    orders = [
        MountOrder("bind", f"{tmp_path}/lib", f"{tmp_path}/lib"),
        MountOrder("bind", f"{tmp_path}/one", f"{tmp_path}/one", is_directory=False),
        MountOrder("symlink", "/short", f"{tmp_path}/lib"),
        MountOrder("file", "/etc/passwd", data=b"x"),
    ]
    return View(orders, ("/tmp/own", "/work"))


def test_view(tmp_path):
    view = view_of(tmp_path)
    assert view.shows(f"{tmp_path}/lib/any/thing")
    assert view.shows(f"{tmp_path}/one")
    assert view.shows("/etc/passwd")
    assert not view.shows(f"{tmp_path}/one/x")
    assert not view.shows(f"{tmp_path}/library")
    assert not view.shows("/etc/hosts")
    assert view.has_part_of("/etc")
    assert view.has_part_of(str(tmp_path))
    assert not view.has_part_of(f"{tmp_path}/data")
    assert view.is_own("/work/x")
    assert view.is_own("/proc/1")
    assert not view.is_own("/workshop")


def test_links_that_are_there_are_followed_and_others_are_names(tmp_path):
    view = view_of(tmp_path)
    (tmp_path / "hidden").symlink_to("/usr")
    assert view.place("/short/file") == f"{tmp_path}/lib/file"
    assert view.place("/short/link/file") == f"{tmp_path}/data/file"
    assert view.place(f"{tmp_path}/hidden/file") == f"{tmp_path}/hidden/file"
    assert view.place("/a/./b/../c//d") == "/a/c/d"
    assert view.place("/../..") == "/"
    (tmp_path / "lib" / "circle").symlink_to("circle")
    assert view.place(f"{tmp_path}/lib/circle/x")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x02\0\x01\xbb\xc0\0\x02\x07" + bytes(8), ("192.0.2.7", 443)),
        (b"\x0a\0\0\x35" + bytes(4) + bytes(15) + b"\x01" + bytes(4), ("::1", 53)),
        (b"\x0a\0\0\x35" + bytes(4) + bytes(10) + b"\xff\xff\x7f\0\0\x01" + bytes(4), ("127.0.0.1", 53)),
        (b"\x01\0/run/x", None),
        (b"\x02\0", None),
        (b"", None),
        (b"\xff" * 128, None),
    ],
)
def test_addresses(data, found):
    assert address(data) == found


def test_what_is_recorded_is_bounded(tmp_path):
    path = tmp_path / "record"
    path.write_bytes(b"")
    record = Record(str(path))
    for number in range(MOST_PATHS + 10):
        record.path(f"/{number}", "missing")
        record.path(f"/{number}", "missing")
    for number in range(MOST_ADDRESSES + 10):
        record.address("192.0.2.1", number, "connect", reached=False)
    record.path("/0", "read", real="/0", kind="file")
    record.path("/\udcff\x1b", "read")
    record.close()
    told = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert sum("path" in each for each in told) == MOST_PATHS + 1
    assert sum("host" in each for each in told) == MOST_ADDRESSES
    assert {"said": "more"} in told
    assert told[-1] == {"calls": {}, "end": 1}


def test_what_lies_in_what():
    names = ["/", "/a", "/a/b", "/a.b", "/a b", "/ab", "/a/b/c", "/b", "/b/a"]
    for paths in (set(each) for count in range(4) for each in itertools.combinations(names, count)):
        roots = Roots(paths)
        assert roots.outermost == {each for each in paths if not any(is_within(each, other) for other in paths)}
        for path in names:
            assert roots.cover(path) == any(path == each or is_within(path, each) for each in paths)


def test_each_directory_is_looked_for_once():
    looks = []
    standing = Standing(lambda path: looks.append(path) or path == "/there")
    long = "/there" + "/d" * 500
    for depth in range(500):
        assert standing.above(long[: len(long) - 2 * depth]) == "/there"
    assert standing.above("/nothing/of/it") == "/"
    assert len(looks) == len(set(looks)) == 501 + 3


def test_copies_are_bounded_together(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 600)
    monkeypatch.setattr(copies, "MOST_BYTES", 1000)
    made = copies.Copies()
    try:
        assert made.make(str(tmp_path / "a"))
        assert not made.make(str(tmp_path / "b"))
        assert "copied already" in made.why
        assert made.make(str(tmp_path / "c"), named=True)
    finally:
        made.close()


def test_a_secret_that_is_replaced_meanwhile(tmp_path, monkeypatch):
    """A file without a name has one all the same, and what may be asked for by a link is told by it."""
    (tmp_path / ".env").write_text("SECRET")
    (tmp_path / "link").symlink_to(".env")
    (tmp_path / "record").write_text("")
    record = Record(str(tmp_path / "record"))
    files = Files(Learning(b"", 0, str(tmp_path / "record"), (), (), False), record, (os.getuid(), os.getgid()))
    files.enter("/")
    open_file = calls.openat2

    def replaced(*arguments):
        handle = open_file(*arguments)
        (tmp_path / ".env").unlink()
        return handle

    monkeypatch.setattr(calls, "openat2", replaced)
    try:
        with pytest.raises(Refused):
            files._give(f"{tmp_path}/link", f"{tmp_path}/.env", os.O_RDONLY)
    finally:
        files.close()
        record.close()

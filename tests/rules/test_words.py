"""The smaller words: answers, Landlock's rights, and constants, held against the kernel's and Python's own."""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import inspect
import mmap
import os
import pickle
import socket
import stat
import termios

import pytest

from isolate_fn._sys import landlock_constants, seccomp_constants
from isolate_fn.errors import PolicyError
from isolate_fn.policy import landlock_words
from isolate_fn.policy.rule_sets import kernel_words
from isolate_fn.policy.rule_sets.groups import WRITES
from isolate_fn.rules import (
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    LOG,
    NOTIFY,
    TRAP,
    Action,
    LandlockRule,
    PortRule,
    access,
)

# --- answers --------------------------------------------------------------------------------------------------------


def test_answers_are_values() -> None:
    answers = [ALLOW, ERRNO(errno.EPERM), ERRNO(errno.ENOSYS), TRAP(), TRAP(7), KILL_PROCESS, LOG, NOTIFY]
    assert len(set(answers)) == len(answers)
    for answer in answers:
        assert pickle.loads(pickle.dumps(answer)) == answer
        with pytest.raises(AttributeError):
            answer.data = 1  # type: ignore[misc]
    assert ERRNO() == ERRNO(1) == ERRNO(errno.EPERM)


def test_how_answers_print() -> None:
    shown = [repr(one) for one in (ALLOW, ERRNO(errno.ENOSYS), ERRNO(4000), TRAP(7), KILL_PROCESS, LOG, NOTIFY)]
    assert shown == ["ALLOW", "ERRNO(ENOSYS)", "ERRNO(4000)", "TRAP(7)", "KILL_PROCESS", "LOG", "NOTIFY"]


@pytest.mark.parametrize(
    ("kind", "data", "remedy"),
    [
        ("errno", 0, "use 1 to 4095"),  # a denied call would return success
        ("errno", 4096, "use 1 to 4095"),
        ("errno", -1, "use 1 to 4095"),
        ("errno", "EPERM", "errno.EPERM"),
        ("errno", True, "errno.EPERM"),
        ("trap", 65536, "use 0 to 65535"),
        ("allow", 1, "leave it out"),
        ("kill", 0, "kill_process"),
    ],
)
def test_what_is_no_answer(kind: str, data: object, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Action(kind, data)  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


# --- Landlock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "members"),
    [
        (landlock_words.PATH_RIGHTS, landlock_constants.AccessFS),
        (landlock_words.PORT_RIGHTS, landlock_constants.AccessNet),
        (landlock_words.SCOPES, landlock_constants.Scope),
    ],
    ids=["paths", "ports", "scopes"],
)
def test_every_right_has_one_word(words: dict[str, str], members: type[enum.IntFlag]) -> None:
    assert sorted(words.values()) == sorted(member.name or "" for member in members)


def test_access_helpers() -> None:
    # By what they are: pytest, which rewrites the modules of a plugin's distribution, puts names of its own among theirs.
    assert {name: helper() for name, helper in vars(access).items() if inspect.isfunction(helper) and name[0] != "_"} == {
        "read_path": {"read_file"},
        "write_file": {"write_file", "truncate"},
        "list_dir": {"list_dir"},
        "create_file": {"create_file"},
        "create_dir": {"create_dir"},
        "delete_file": {"remove_file"},
        "delete_dir": {"remove_dir"},
        "execute": {"execute"},
    }
    assert LandlockRule("/a", access.read_path() | access.list_dir()).rights == {"read_file", "list_dir"}


@pytest.mark.parametrize("spelling", ["/etc", "/etc/", "/etc/.", "/./etc", "//etc", "/etc//", "///./etc/././"])
def test_spellings_of_one_path(spelling: str) -> None:
    assert LandlockRule(spelling, {"list_dir"}) == LandlockRule("/etc", {"list_dir"})


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/usr/../etc", "/usr/../etc"), ("a/b/", "a/b"), (".", "."), ("./", "."), ("/", "/"), ("//", "/")],
)
def test_paths_that_stay(path: str, kept: str) -> None:
    assert LandlockRule(path, {"list_dir"}).path == kept


def test_landlock_rules_are_values() -> None:
    rule = LandlockRule("/a", ["read_file", "list_dir", "read_file"], optional=True)
    assert rule == LandlockRule("/a/", {"list_dir", "read_file"}, optional=True)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert repr(rule) == "LandlockRule('/a', {'list_dir', 'read_file'}, optional=True)"
    assert hash(rule) == hash(LandlockRule("/a", {"read_file", "list_dir"}, optional=True))
    assert rule != LandlockRule("/a", {"read_file", "list_dir"})
    assert repr(PortRule(443, {"connect_tcp"})) == "PortRule(443, {'connect_tcp'})"
    assert pickle.loads(pickle.dumps(PortRule(443, ["bind_tcp"]))) == PortRule(443, {"bind_tcp"})
    with pytest.raises(AttributeError):
        rule.path = "/b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "rights", "field", "remedy"),
    [
        ("/a", {"read"}, "LandlockRule.rights", "'read_file'"),
        ("/a", "read_file", "LandlockRule.rights", "LandlockRule.rights={"),
        ("/a", set(), "LandlockRule.rights", "read_file"),
        ("/a", {3}, "LandlockRule.rights", "'read_file'"),
        ("", {"read_file"}, "path", "name a file"),
        ("/a\0", {"read_file"}, "path", "name a file"),
        (b"/a", {"read_file"}, "path", "pathlib.Path"),
        (None, {"read_file"}, "path", "pathlib.Path"),
    ],
)
def test_what_is_no_landlock_rule(path: object, rights: object, field: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        LandlockRule(path, rights)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("port", "rights"), [(-1, {"bind_tcp"}), (65536, {"bind_tcp"}), ("80", {"bind_tcp"}), (80, {"bind"}), (80, set())]
)
def test_what_is_no_port_rule(port: object, rights: object) -> None:
    with pytest.raises(PolicyError) as caught:
        PortRule(port, rights)  # type: ignore[arg-type]
    assert caught.value.remedy


# --- constants ------------------------------------------------------------------------------------------------------

SHARED = [
    name
    for name in vars(kernel_words)
    if isinstance(getattr(kernel_words, name), type) and hasattr(seccomp_constants, name) and name != "enum"
]


@pytest.mark.parametrize("name", SHARED)
def test_same_values_as_the_plans_tables(name: str) -> None:
    ours, theirs = getattr(kernel_words, name), getattr(seccomp_constants, name)
    common = ours.__members__.keys() & theirs.__members__.keys()
    assert common or name == "MessageFlag"
    assert {key: int(ours[key]) for key in common} == {key: int(theirs[key]) for key in common}


def test_shared_masks() -> None:
    assert int(kernel_words.CLONE_NAMESPACES) == int(seccomp_constants.CLONE_NAMESPACES)
    assert kernel_words.SOCK_TYPE_MASK == seccomp_constants.SOCK_TYPE_MASK
    assert {"Family", "SockType", "OpenFlag", "CloneFlag", "Ioctl", "Fcntl"} <= set(SHARED)


def members(kind: type[enum.Enum], module: object, prefix: str) -> dict[str, tuple[int, int]]:
    return {
        name: (int(member.value), int(getattr(module, prefix + name)))
        for name, member in kind.__members__.items()
        if hasattr(module, prefix + name)
    }


@pytest.mark.parametrize(
    ("kind", "module", "prefix", "least"),
    [
        (kernel_words.Family, socket, "AF_", 3),
        (kernel_words.SockType, socket, "SOCK_", 2),
        (kernel_words.MessageFlag, socket, "MSG_", 1),
        (kernel_words.OpenFlag, os, "O_", 6),
        (kernel_words.Fcntl, fcntl, "F_", 12),
        (kernel_words.Ioctl, termios, "", 4),
        (kernel_words.MapType, mmap, "MAP_", 2),
        (kernel_words.MapFlag, mmap, "MAP_", 1),
        (kernel_words.Protection, mmap, "PROT_", 2),
        (kernel_words.CloneFlag, os, "CLONE_", 0),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_same_values_as_pythons_own(kind: type[enum.Enum], module: object, prefix: str, least: int) -> None:
    found = members(kind, module, prefix)
    found.pop("TMPFILE", None)  # O_TMPFILE is two flags, of which we look at one
    assert all(ours == theirs for ours, theirs in found.values()), found
    assert len(found) >= least


def test_flags_that_write() -> None:
    """None of these may open a file for reading only; O_TMPFILE by the one of its two bits that is not O_DIRECTORY."""
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_APPEND, os.O_CREAT, os.O_EXCL, os.O_TRUNC):
        assert int(WRITES) & flag == flag
    assert int(WRITES) & os.O_TMPFILE == os.O_TMPFILE & ~os.O_DIRECTORY
    for flag in (os.O_RDONLY, os.O_CLOEXEC, os.O_DIRECTORY, os.O_NONBLOCK, os.O_NOFOLLOW, os.O_PATH, os.O_NOATIME):
        assert not int(WRITES) & flag
    assert int(kernel_words.FileType.FIFO) == stat.S_IFIFO
    assert stat.S_IFMT(0xFFFF) == kernel_words.FILE_TYPE_MASK
    assert ctypes.sizeof(ctypes.c_int) == 4

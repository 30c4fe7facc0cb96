"""Promise 4: attacks that look for what came along from the caller."""

from __future__ import annotations

import ctypes
import os
import sys

from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.native import HIGH, call, copy_of_memory, holds, opened, read
from isolate_fn._diagnose.selftest.world import no_proc

LEAKS = Promise(
    4,
    "leaks",
    "No environment variable, argument, descriptor, memory, keyring, terminal or directory of the caller's leaks in.",
)

planted = ""
"""What the selftest keeps in a module of its own while it runs; empty in an interpreter of its own."""

_ISOLATES_OWN = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "PWD", "SELFTEST"}


@LEAKS.attack("environment", "find the caller's environment variables", held="only those of the policy are there")
def environment(facts: Facts) -> Found:
    """One is planted; the names of all others are those of every isolate."""
    found: Found = {}
    for name in os.environ:
        if name not in _ISOLATES_OWN and not name.startswith("LC_"):
            found["the planted variable" if name == facts.variable else name] = "set"
    text = read("/proc/self/environ")
    if isinstance(text, bytes) and facts.variable.encode() in text:
        found["in /proc"] = "set"
    return found


@LEAKS.attack("arguments", "read command lines of processes outside", held="they are not there")
def arguments(facts: Facts) -> Found:
    """Passwords stand on them."""
    text = read(f"/proc/{facts.victim}/cmdline")
    own = read("/proc/self/cmdline")
    found: Found = {"the victim's": text if isinstance(text, int) or facts.argument.encode() in text else -1}
    if isinstance(own, bytes) and facts.argument.encode() in own:
        found["the isolate's own"] = own
    return found


@LEAKS.attack(
    "descriptors",
    "use descriptors that the caller lets its children inherit",
    held="none arrives: 0 to 2 and the channel",
    alone=True,
    needs=no_proc,
)
def descriptors(facts: Facts) -> Found:
    """A file and a directory are open and inheritable; whatever is above the channel is told."""
    found: Found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
        if int(name) > 3:
            found[f"descriptor {name}"] = target.rpartition("/")[2] or target
    for number in (0, 1, 2, 3):
        target = os.readlink(f"/proc/self/fd/{number}")
        if not target.startswith(("pipe:", "socket:", "/dev/null", "/null")):
            found[f"descriptor {number}"] = target
    return found


@LEAKS.attack("open-files", "read every open descriptor from its start", held="none is a file", alone=True)
def open_files(facts: Facts) -> Found:
    """Whatever the offset, whatever the name."""
    found: Found = {}
    buffer = ctypes.create_string_buffer(64)
    for number in range(256):
        size = call("pread64", number, buffer, 64, 0)
        if size > 0:
            found[f"descriptor {number}"] = buffer.raw[:size]
    return found


@LEAKS.attack(
    "memory",
    "search the memory for a text that the caller holds",
    held="an isolate is executed, not forked",
    needs=no_proc,
)
def memory(facts: Facts) -> Found:
    """It is asked for in two halves, so that asking for it does not plant it."""
    head, tail = (half.encode() for half in facts.halves)
    found: Found = {}
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        regions = [line.split(maxsplit=5) for line in maps]
    for region in regions:
        start, end = (int(part, 16) for part in region[0].split("-"))
        name = region[5].strip() if len(region) > 5 else "anonymous"
        if (
            "r" in region[1]
            and not name.startswith("[v")
            and end - start < 1 << 28
            and holds(copy_of_memory(start, end), head, tail)
        ):
            found[name] = "found"
    return found


@LEAKS.attack("modules", "find what the program keeps in its modules", held="modules are imported anew")
def modules(facts: Facts) -> Found:
    """A variable of a module that the function's own module is."""
    return {"the planted value": planted} if planted else {}


@LEAKS.attack("main", "find the program that made the call in __main__", held="there is another program")
def main_module(facts: Facts) -> Found:
    """Its file, its arguments, its objects."""
    program = sys.modules.get("__main__")
    found: Found = {}
    if "selftest" in str(getattr(getattr(program, "__spec__", None), "name", "")):
        found["__main__"] = "is the selftest's"
    found |= {word: "in sys.argv" for word in sys.argv if "selftest" in word}
    return found


@LEAKS.attack("keyring", "read the caller's keyrings", held="the calls are refused", known="CVE-2016-0728")
def keyring(facts: Facts) -> Found:
    """They are in no namespace: session, user, process; and a key made anew."""
    found: Found = {
        "session": call("keyctl", 0, -3, 0),
        "user": call("keyctl", 0, -4, 0),
        "user session": call("keyctl", 0, -5, 0),
        "search": call("request_key", "user", "attack", 0, 0),
    }
    if facts.inside:
        found |= {"made": call("add_key", "user", "attack", b"x", 1, -2), "joined": call("keyctl", 1, 0)}
    return found


@LEAKS.attack(
    "terminal", "type into the caller's terminal", held="there is no terminal, and no such call",
    untried="it would type into your terminal", known="CVE-2017-5226, CVE-2016-2568",
)  # fmt: skip
def terminal(facts: Facts) -> Found:
    """TIOCSTI, also with bits that only a careless filter sees; and /dev/tty."""
    found: Found = {
        "/dev/tty": opened("/dev/tty"),
        "/dev/console": opened("/dev/console"),
        "/dev/ptmx": opened("/dev/ptmx"),
    }
    for number in (0, 1, 2, 3):
        found[f"TIOCSTI on {number}"] = call("ioctl", number, 0x5412, b"x")
        found[f"high bits on {number}"] = call("ioctl", number, 0x5412 | HIGH, b"x")
        found[f"TIOCLINUX on {number}"] = call("ioctl", number, 0x541C, b"\x02")
    return found


@LEAKS.attack(
    "directory",
    "find the caller's working directory",
    held="it is the isolate's own",
    untried="every process has its own",
    needs=no_proc,
)
def directory(facts: Facts) -> Found:
    """Its name, its link, and what it holds."""
    inside = ("/work", "/")
    found: Found = {}
    for name, value in (
        ("getcwd", os.getcwd()),
        ("link", os.readlink("/proc/self/cwd")),
        ("PWD", os.environ.get("PWD", "/")),
    ):
        if value not in inside:
            found[name] = value
    return found


@LEAKS.attack(
    "channel", "ask the channel for handles and labels of the caller", held="getsockopt(2) does not give them",
    untried="there is no channel",
)  # fmt: skip
def channel(facts: Facts) -> Found:
    """SO_PEERPIDFD would be a handle of the caller's process, across every namespace."""
    found: Found = {}
    for name, option in (("handle", 77), ("groups", 59), ("label", 31)):
        buffer, size = ctypes.create_string_buffer(64), ctypes.c_uint(64)
        found[name] = call("getsockopt", 3, 1, option, buffer, ctypes.byref(size))
    return found


@LEAKS.attack(
    "names", "learn the names of the machine and of its users", held="there is a made-up name, and made-up users"
)
def names(facts: Facts) -> Found:
    """Host name, user list, control groups."""
    import pwd

    users = {entry.pw_name for entry in pwd.getpwall()} - {"isolate", "nobody"}
    found: Found = {"users": ", ".join(sorted(users))[:60]} if users else {}
    if os.uname().nodename != "isolate":
        found["machine"] = os.uname().nodename
    text = read("/proc/self/cgroup")
    if isinstance(text, bytes) and any(not line.endswith(b":/") for line in text.splitlines()):
        found["control group"] = text
    return found

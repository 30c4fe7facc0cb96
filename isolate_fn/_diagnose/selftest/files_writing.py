"""Promise 1, writing: attacks that change files of the host, the isolate's tree, or what the host will run later."""

from __future__ import annotations

import mmap
import os
import struct

from isolate_fn._diagnose.selftest.attack import Facts, Found, NotHere
from isolate_fn._diagnose.selftest.files import FILES
from isolate_fn._diagnose.selftest.native import AT_FDCWD, O_PATH, asked, call, opened, write
from isolate_fn._diagnose.selftest.world import World, harmed
from isolate_fn.policy.mounts import rw

_MOUNTS = "it would change the mounts of this machine"
_CREATE = os.O_WRONLY | os.O_CREAT


@FILES.attack("write", "write to a file of the host, and make one", held="neither path exists inside", check=harmed)
def write_host(facts: Facts) -> Found:
    """Both are open to every user on the host."""
    return {"wrote": write(facts.secret, b"attack"), "made": write(facts.beside, b"attack", _CREATE)}


def _ways_to_alter(path: str) -> Found:
    times = struct.pack("4q", 1, 0, 1, 0)
    found: Found = {
        "open for writing": opened(path, os.O_WRONLY),
        "chmod": call("fchmodat", AT_FDCWD, path, 0o777),
        "utime": call("utimensat", AT_FDCWD, path, times, 0),
        "setxattr": call("setxattr", path, "user.attack", b"1", 1, 0),
        "truncate": call("truncate", path, 0),
    }
    descriptor = call("openat", AT_FDCWD, path, O_PATH)
    again = f"/proc/self/fd/{descriptor}"
    found |= {
        "open again for writing": opened(again, os.O_WRONLY),
        "chmod again": call("fchmodat", AT_FDCWD, again, 0o666),
        "utime again": call("utimensat", AT_FDCWD, again, times, 0),
    }
    call("close", descriptor)
    return found


@FILES.attack(
    "read-only-mount",
    "change a file in a read-only mount, in every way there is",
    held="all ways are refused",
    check=harmed,
)
def read_only_mount(facts: Facts) -> Found:
    """Writing, cutting, modes, times, attributes, names."""
    path = f"{facts.shared}/file"
    found = _ways_to_alter(path)
    found["make beside"] = write(f"{facts.shared}/made", b"attack", _CREATE)
    found["symlink beside"] = call("symlinkat", "x", AT_FDCWD, f"{facts.shared}/made-link")
    found["directory beside"] = call("mkdirat", AT_FDCWD, f"{facts.shared}/made-directory", 0o700)
    found["rename"] = call("renameat", AT_FDCWD, path, AT_FDCWD, f"{facts.shared}/moved")
    found["unlink"] = call("unlinkat", AT_FDCWD, f"{facts.shared}/moved" if found["rename"] == 0 else path, 0)
    return found


@FILES.led(
    "submount", "write to a file system that is mounted below a read-only mount", held="read-only is recursive",
    control=lambda world: _submount(world, plain=True), known="CVE-2014-5207",
)  # fmt: skip
def submount(world: World) -> Found:
    """Mounted by a caller of its own, in a mount namespace of its own."""
    return _submount(world, plain=False)


def _submount(world: World, *, plain: bool) -> Found:
    scene = world.outside if plain else world.inside
    below = scene.shared / "below"
    below.mkdir()
    below.chmod(0o777)
    words = {"mount": str(below), "shared": [str(scene.shared)], "plain": plain}
    try:
        (ended,) = world.attempts([{**words, "write": f"{below}/made" if plain else "/shared/below/made"}])
    finally:
        below.rmdir()
    if ended["found"] is None:
        raise NotHere(f"a caller in a mount namespace of its own makes no isolates: {ended['text']}")
    return {"wrote": ended["found"]}


@FILES.attack(
    "hard-link", "get a writable name for a file of a read-only mount", held="no link leads across mounts", check=harmed
)
def hard_link(facts: Facts) -> Found:
    """From the directory that is granted read-only to the one that is granted for writing."""
    source, target = f"{facts.shared}/linked", f"{facts.drop}/linked"
    made = call("linkat", AT_FDCWD, source, AT_FDCWD, target, 0)
    found: Found = {"linked": made if made < 0 else opened(target, os.O_WRONLY)}
    found["moved"] = call("renameat", AT_FDCWD, source, AT_FDCWD, f"{facts.drop}/moved")
    return found


@FILES.attack(
    "remount", "make a read-only mount writable", held="mounts cannot be changed", check=harmed, untried=_MOUNTS,
    known="CVE-2014-5206, CVE-2014-5207",
)  # fmt: skip
def remount(facts: Facts) -> Found:
    """By the old call and the new one; then write."""
    clear_read_only = struct.pack("4Q", 0, 1, 0, 0)
    return {
        "mount": call("mount", 0, facts.shared, 0, 32 | 4096, 0),
        "mount_setattr": call("mount_setattr", AT_FDCWD, facts.shared, 0, clear_read_only, 32),
        "wrote": write(f"{facts.shared}/made", b"x", _CREATE),
    }


@FILES.attack("mount", "mount, bind and unmount", held="all of it is refused", untried=_MOUNTS)
def mount(facts: Facts) -> Found:
    """The classic calls."""
    return {
        "tmpfs": asked("mount", "attack", "/tmp", "tmpfs", 0, 0),
        "proc": asked("mount", "attack", "/tmp", "proc", 0, 0),
        "sysfs": asked("mount", "attack", "/tmp", "sysfs", 0, 0),
        "overlay": asked("mount", "attack", "/tmp", "overlay", 0, b"lowerdir=/,upperdir=/tmp,workdir=/work"),
        "bind": asked("mount", "/", "/tmp", 0, 4096, 0),
        "umount": asked("umount2", "/dev/full", 2),
    }


@FILES.attack(
    "new-mount-api", "mount by the newer calls", held="all of it is refused", untried=_MOUNTS, known="CVE-2022-0185"
)
def new_mount_api(facts: Facts) -> Found:
    """With arguments that the kernel would find wrong: it must not be asked."""
    return {
        "fsopen": asked("fsopen", "tmpfs", 0),
        "fspick": asked("fspick", AT_FDCWD, "/tmp", 0),
        "open_tree": asked("open_tree", AT_FDCWD, "/tmp", 1),
        "fsconfig": asked("fsconfig", -1, 6, 0, 0, 0),
        "fsmount": asked("fsmount", -1, 0, 0),
        "move_mount": asked("move_mount", -1, "", -1, "", 4),
    }


@FILES.attack("chroot", "change the root, and climb out of the new one", held="it is refused", untried=_MOUNTS)
def chroot(facts: Facts) -> Found:
    """By chroot(2), the escape by a descriptor kept outside, and by pivot_root(2) once more."""
    call("mkdirat", AT_FDCWD, "/tmp/jail", 0o700)
    return {"chroot": asked("chroot", "/tmp/jail"), "pivot_root": asked("pivot_root", ".", ".")}


@FILES.attack("make-device", "make device files and pipes", held="mknod(2) is refused everywhere")
def make_device(facts: Facts) -> Found:
    """The harmless ones of them; a disk would not be refused by another rule."""
    found: Found = {}
    for place, directory in (("own", facts.scratch), ("granted", facts.drop)):
        for name, mode, device in (("null", 0o020666, 0x103), ("whiteout", 0o020666, 0), ("pipe", 0o010666, 0)):
            found[f"{name} in {place}"] = call("mknodat", AT_FDCWD, f"{directory}/made-{name}", mode, device)
    return found


@FILES.attack(
    "set-id",
    "leave a set-id program behind in a writable mount",
    held="no mode with these bits is accepted",
    check=harmed,
)
def set_id(facts: Facts) -> Found:
    """By every call that takes a mode, and with bits that only a careless filter sees."""
    write(f"{facts.drop}/plain", b"", _CREATE)
    plain = call("openat", AT_FDCWD, f"{facts.drop}/plain", os.O_RDWR)
    high = 1 << 40
    return {
        "fchmodat": call("fchmodat", AT_FDCWD, f"{facts.drop}/plain", 0o4755),
        "fchmodat2": call("fchmodat2", AT_FDCWD, f"{facts.drop}/plain", 0o6755, 0),
        "fchmod": call("fchmod", plain, 0o4755),
        "by descriptor": call("fchmodat", AT_FDCWD, f"/proc/self/fd/{plain}", 0o2755),
        "openat": call("openat", AT_FDCWD, f"{facts.drop}/created", _CREATE, 0o4755),
        "without a name": call("openat", AT_FDCWD, facts.drop, os.O_WRONLY | 0o20200000, 0o4755),
        "mkdirat": call("mkdirat", AT_FDCWD, f"{facts.drop}/directory", 0o2755),
        "high bits": call("openat", AT_FDCWD, f"{facts.drop}/high", _CREATE | high, 0o4755 | high),
    }


@FILES.attack("map-executable", "write machine code to a file and map it executable", held="its own places are noexec")
def map_executable(facts: Facts) -> Found:
    """In its own writable places; a mount is noexec where it is granted with ``noexec=True``."""
    found: Found = {}
    for place in (facts.scratch, "/dev/shm"):
        path = f"{place}/code-{facts.argument}"
        descriptor = call("openat", AT_FDCWD, path, os.O_RDWR | os.O_CREAT, 0o700)
        call("write", descriptor, b"\xc3" * 4096, 4096)
        mapped = call("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, descriptor, 0)
        found[place] = min(descriptor, mapped, 0)
        call("close", descriptor)
        call("unlinkat", AT_FDCWD, path, 0)
    return found


@FILES.attack("lease", "hold up or watch those who open a shared file", held="leases and watches are refused")
def lease(facts: Facts) -> Found:
    """A lease delays every other opener by up to 45 seconds."""
    descriptor = call("openat", AT_FDCWD, f"{facts.shared}/leased", os.O_RDONLY)
    directory = call("openat", AT_FDCWD, facts.shared, os.O_RDONLY)
    found: Found = {
        "F_SETLEASE": call("fcntl", descriptor, 1024, 0),
        "F_NOTIFY": call("fcntl", directory, 1026, 1),
        "F_SETOWN": call("fcntl", descriptor, 8, 1),
        "inotify": call("inotify_init1", 0),
        "fanotify": call("fanotify_init", 0, 0),
    }
    call("close", descriptor)
    call("close", directory)
    return found


@FILES.attack(
    "interpreter",
    "change the host's interpreter through /proc/self/exe",
    held="the program comes from a read-only mount",
    untried="it would change this Python",
    known="CVE-2019-5736",
)
def interpreter(facts: Facts) -> Found:
    """Writing is refused to a program that runs; modes, times and attributes are not."""
    descriptor = call("openat", AT_FDCWD, "/proc/self/exe", O_PATH)
    found = {f"link: {name}": result for name, result in _ways_to_alter("/proc/self/exe").items()}
    found |= {f"handle: {name}": result for name, result in _ways_to_alter(f"/proc/self/fd/{descriptor}").items()}
    return found


@FILES.attack(
    "runtime",
    "plant files in the Python runtime",
    held="it is mounted read-only",
    untried="it would write to this Python",
)
def runtime(facts: Facts) -> Found:
    """What is planted there would be imported by the host."""
    places = ("/", "/usr/lib", "/etc", "/dev", "/usr/bin", os.path.dirname(os.__file__), os.path.dirname(__file__))
    found: Found = {}
    for place in places:
        found[place] = write(f"{place.rstrip('/')}/made-{facts.argument}", b"attack", _CREATE | os.O_EXCL)
    return found


@FILES.led(
    "writable-code",
    "have a directory granted for writing that the caller imports from",
    held="such a grant is refused before anything runs",
    untried="whoever may write there has what this refuses",
)
def writable_code(world: World) -> Found:
    """What an attacker leaves there runs in the caller later: the standard library, site-packages, this package."""
    found: Found = {}
    for place in (os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__))):
        ended = world.call(nothing, mounts=[rw(place, "/code")])
        refused = type(ended.error).__name__ == "PolicyError"
        found[place] = -1 if refused else f"granted: {ended.error or 'it ran'}"
    return found


def nothing() -> None:
    """Do nothing, inside."""

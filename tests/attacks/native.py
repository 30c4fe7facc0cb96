"""What code inside does without asking Python's permission: system calls by number.

Everything here runs inside isolates, most of it after the walls stand; it imports little. Results are those of the
kernel: what the call returned, or minus its errno.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from typing import Any

from isolate_fn._diagnose.selftest.native import (  # noqa: F401 - some are for those who import this
    AT_EMPTY_PATH,
    AT_FDCWD,
    CLONE_NEWNET,
    CLONE_NEWUSER,
    O_PATH,
    SIGCHLD,
    SIGKILL,
    call,
    copy_of_memory,
    holds,
    read,
    write,
)

SOCK_DGRAM = 2
PR_SET_NAME = 15


def calls(*wanted: tuple[Any, ...]) -> list[int]:
    """Make several calls in a row; one that gives a descriptor leaves it open for the next."""
    return [call(*arguments) for arguments in wanted]


def errnos(results: list[int]) -> set[str]:
    """Name what was refused, for messages; a result that is no failure stands for itself."""
    return {errno.errorcode.get(-result, str(result)) if result < 0 else str(result) for result in results}


# --- files -----------------------------------------------------------------------------------------------------------


def climb(path: str) -> list[int | bytes]:
    """Look for a host path above every directory that can be entered."""
    up = "../" * 40 + path.lstrip("/")
    found = [read(up)]
    for directory in ("/", "/proc", "/proc/self", "/dev", "/dev/shm", "/tmp", "/work", os.path.dirname(__file__)):
        base = call("openat", AT_FDCWD, directory, O_PATH | os.O_DIRECTORY)
        if base >= 0:
            found += [read(up, base), read(path.lstrip("/"), base)]
            call("close", base)
    return found


def through_descriptors(path: str) -> dict[int, int | bytes]:
    """Use every open descriptor as a directory to start from; leave out those that are no directory."""
    found = {}
    for base in range(1024):
        result = read("../" * 40 + path.lstrip("/"), base)
        if result not in (-errno.EBADF, -errno.ENOTDIR):
            found[base] = result
    return found


def plant(link: str, target: str) -> int | bytes:
    """Make a symbolic link where writing is allowed, and follow it."""
    made = call("symlinkat", target, AT_FDCWD, link)
    return made if made < 0 else read(link)


def magic_links(path: str) -> list[int | bytes]:
    """Look for a host path below other processes' roots and working directories."""
    links = ("self/root", "1/root", "1/cwd", "1/task/1/root", "self/task/2/root", "thread-self/root")
    return [read(f"/proc/{link}{path}") for link in links]


def alter(path: str) -> dict[str, int]:
    """Try everything that changes a file without being its writer."""
    times = struct.pack("4q", 1, 0, 1, 0)
    tried = {
        "open for writing": call("openat", AT_FDCWD, path, os.O_WRONLY),
        "open, truncated": call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_TRUNC),
        "truncate": call("truncate", path, 0),
        "chmod": call("fchmodat", AT_FDCWD, path, 0o777),
        "utime": call("utimensat", AT_FDCWD, path, times, 0),
        "setxattr": call("setxattr", path, "user.attack", b"1", 1, 0),
        "rename": call("renameat", AT_FDCWD, path, AT_FDCWD, path + ".moved"),
        "rename back": call("renameat", AT_FDCWD, path + ".moved", AT_FDCWD, path),
    }
    handle = call("openat", AT_FDCWD, path, O_PATH)
    if handle >= 0:
        again = f"/proc/self/fd/{handle}"
        tried["open again for writing"] = call("openat", AT_FDCWD, again, os.O_WRONLY)
        tried["chmod again"] = call("fchmodat", AT_FDCWD, again, 0o777)
        tried["utime again"] = call("utimensat", AT_FDCWD, again, times, 0)
        call("close", handle)
    tried["unlink"] = call("unlinkat", AT_FDCWD, path, 0)
    return tried


def overwrite_interpreter() -> dict[str, int]:
    """Change the file that this process executes, through the link that leads to it."""
    times = struct.pack("4q", 1, 0, 1, 0)
    handle = call("openat", AT_FDCWD, "/proc/self/exe", O_PATH)
    found = {}
    for name, path in (("link", "/proc/self/exe"), ("handle", f"/proc/self/fd/{handle}")):
        found |= {
            f"{name}: open": call("openat", AT_FDCWD, path, os.O_WRONLY),
            f"{name}: truncate": call("truncate", path, 0),
            f"{name}: chmod": call("fchmodat", AT_FDCWD, path, 0o700),
            f"{name}: utime": call("utimensat", AT_FDCWD, path, times, 0),
            f"{name}: setxattr": call("setxattr", path, "user.attack", b"1", 1, 0),
        }
    return found


def map_executable(path: str) -> int:
    """Write a file and map it executable: 0 where it worked, else minus the errno."""
    descriptor = call("openat", AT_FDCWD, path, os.O_RDWR | os.O_CREAT, 0o700)
    if descriptor < 0:
        return descriptor
    call("write", descriptor, b"\xc3" * 4096, 4096)
    mapped = call("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, descriptor, 0)
    call("close", descriptor)
    return min(mapped, 0)


def mountinfo() -> list[list[str]]:
    """Return [root, mount point, options, propagation] of every mount."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split()
            found.append([fields[3], fields[4], fields[5], " ".join(fields[6 : fields.index("-")])])
    return found


def mount_family(directory: str) -> dict[str, int]:
    """Try every way to change the mount tree, old and new. Attributes are for mount_setattr(2)."""
    read_only, remount, bind = 1, 32, 4096
    clear_read_only = struct.pack("4Q", 0, read_only, 0, 0)
    return {
        "mount tmpfs": call("mount", "attack", directory, "tmpfs", 0, 0),
        "mount proc": call("mount", "attack", directory, "proc", 0, 0),
        "bind": call("mount", "/", directory, 0, bind, 0),
        "remount": call("mount", 0, "/usr/lib", 0, remount | bind, 0),
        "mount_setattr": call("mount_setattr", AT_FDCWD, "/usr/lib", 0, clear_read_only, 32),
        "umount2": call("umount2", "/dev/full", 2),
        # Wrong arguments: asked only after the right to call it at all.
        "pivot_root": call("pivot_root", directory, f"{directory}/none"),
        "chroot": call("chroot", "/"),
        "fsopen": call("fsopen", "tmpfs", 0),
        "fspick": call("fspick", AT_FDCWD, directory, 0),
        "open_tree": call("open_tree", AT_FDCWD, directory, 1),
        "fsconfig": call("fsconfig", -1, 6, 0, 0, 0),
        "fsmount": call("fsmount", -1, 0, 0),
        "move_mount": call("move_mount", -1, "", -1, "", 4),
    }


# --- network --------------------------------------------------------------------------------------------------------


def reach(family: int, kind: int, address: bytes, text: bytes = b"") -> int:
    """Connect, or send one datagram."""
    descriptor = call("socket", family, kind, 0)
    if descriptor < 0:
        return descriptor
    if kind == SOCK_DGRAM:
        return call("sendto", descriptor, text, len(text), 0, address, len(address))
    return call("connect", descriptor, address, len(address))


def unix_address(path: str) -> bytes:
    """Return a sockaddr_un of a path."""
    return struct.pack("H", 1) + os.fsencode(path) + b"\0"


def abstract_address(name: str) -> bytes:
    """Return a sockaddr_un of an abstract name."""
    return struct.pack("H", 1) + b"\0" + name.encode()


def inet_address(port: int) -> bytes:
    """Return a sockaddr_in of the loopback interface."""
    return struct.pack("!2sH4s8x", struct.pack("=H", 2), port, bytes([127, 0, 0, 1]))


def families(extra: int = 0) -> list[tuple[int, int, int]]:
    """Make a socket of every family and kind: (family, kind, 0 or minus the errno)."""
    found = []
    for family in range(47):
        for kind in (1, 2, 3, 5):
            descriptor = call("socket", family | extra, kind | extra, 0)
            found.append((family, kind, min(descriptor, 0)))
            if descriptor >= 0:
                call("close", descriptor)
    return found


# --- processes -------------------------------------------------------------------------------------------------------


def mark(name: str) -> None:
    """Give this thread a name that can be found from outside, in /proc/PID/comm."""
    call("prctl", PR_SET_NAME, name)


def children(name: str, count: int = 2) -> list[int]:
    """Leave processes behind: forked twice, in a session of their own, deaf to every signal that one can be deaf to."""
    made = []
    for _ in range(count):
        first = _fork()
        if first == 0:
            call("setsid")
            if _fork() == 0:
                for descriptor in range(64):
                    call("close", descriptor)
                _stay(name)
            os._exit(0)
        made.append(first)
        if first > 0:
            call("wait4", first, 0, 0, 0)
    return made


def _fork() -> int:
    """Fork by the plain call: what children() leaves runs only system calls."""
    return call("clone", SIGCHLD, 0, 0, 0, 0)


def _stay(name: str) -> None:
    import signal

    mark(name)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        call("ppoll", 0, 0, 0, 0, 0)


def stay_deaf(name: str, fork: bool = True) -> None:
    """Never return, whatever comes: a timeout's worst case."""
    if fork:
        children(name, 1)
    _stay(name)


def processes() -> list[int]:
    """Return the ids that /proc shows."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def status(*fields: str) -> list[dict[str, str]]:
    """Return fields of /proc/self/task/*/status."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status", encoding="utf-8") as text:
            lines = dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
        found.append({field: lines[field].strip() for field in fields})
    return found


def capabilities() -> tuple[list[dict[str, str]], list[int]]:
    """Return the five sets, and what came of raising them: capset(2), the ambient set, the locks on both."""
    wanted = struct.pack("6I", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    tried = calls(("capset", header, wanted), ("prctl", 47, 2, 0, 0, 0), ("prctl", 28, 0))
    return status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), tried


def process_memory(pid: int) -> dict[str, int]:
    """Trace a process, and read and write its memory."""
    attach, seize, detach = 16, 0x4206, 17
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    # The address is one of ours; a fork has the same.
    tried = {
        "process_vm_readv": call("process_vm_readv", pid, local, 1, local, 1, 0),
        "process_vm_writev": call("process_vm_writev", pid, local, 1, local, 1, 0),
        "mem": call("openat", AT_FDCWD, f"/proc/{pid}/mem", os.O_RDONLY),
        "environ": call("openat", AT_FDCWD, f"/proc/{pid}/environ", os.O_RDONLY),
        "fd": call("openat", AT_FDCWD, f"/proc/{pid}/fd/0", os.O_RDONLY),
        "ptrace seize": call("ptrace", seize, pid, 0, 0),
    }
    call("ptrace", detach, pid, 0, 0)
    tried["ptrace attach"] = call("ptrace", attach, pid, 0, 0)
    call("wait4", pid, 0, 0x40000000, 0) if tried["ptrace attach"] == 0 else None
    call("ptrace", detach, pid, 0, 0)
    return tried


def other_namespaces(pid: int) -> dict[str, int]:
    """Enter the namespaces of a process."""
    found = {}
    for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        descriptor = call("openat", AT_FDCWD, f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        found[name] = descriptor if descriptor < 0 else call("setns", descriptor, 0)
    found["pidfd"] = call("pidfd_open", pid, 0)
    found["setns"] = call("setns", max(found["pidfd"], 0), CLONE_NEWNET)
    return found


def run_program(path: str, *words: str) -> int:
    """Fork and execute: the program's exit code, or minus the errno of what failed."""
    argv = (ctypes.c_char_p * (len(words) + 2))(os.fsencode(path), *map(os.fsencode, words), None)
    return _execute(lambda: call("execve", path, argv, 0))


def run_from_memory(image: bytes) -> int:
    """Execute a program that is no file: memfd_create(2), then execveat(2)."""
    descriptor = call("memfd_create", "attack", 0)
    if descriptor < 0:
        return descriptor
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(image)
    argv = (ctypes.c_char_p * 2)(b"attack", None)
    return _execute(lambda: call("execveat", descriptor, "", argv, 0, AT_EMPTY_PATH))


def _execute(act: Any) -> int:
    shared = mmap.mmap(-1, 8)
    pid = _fork()
    if pid == 0:
        shared.write(struct.pack("q", act()))
        os._exit(1)
    if pid < 0:
        return pid
    state = ctypes.c_int()
    call("wait4", pid, ctypes.byref(state), 0, 0)
    return struct.unpack("q", shared[:8])[0] or os.waitstatus_to_exitcode(state.value)


def foreign_call() -> int:
    """Make a system call of the 32-bit architecture: mov eax, 20 (getpid); int 0x80; ret."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


# --- what came along --------------------------------------------------------------------------------------------------


def environment() -> list[str]:
    """Return the names of the environment's variables."""
    return sorted(os.environ)


def descriptors() -> list[tuple[int, str]]:
    """Return every open descriptor and what it is."""
    import stat

    kinds = {
        stat.S_IFCHR: "character device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
        stat.S_IFREG: "file", stat.S_IFDIR: "directory",
    }  # fmt: skip
    found = []
    for descriptor in range(1024):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        found.append((descriptor, kinds.get(stat.S_IFMT(mode), "other")))
    return found


def held_text() -> list[bytes]:
    """Read every open descriptor that is a file, from its start."""
    found = []
    for descriptor, kind in descriptors():
        buffer = ctypes.create_string_buffer(4096)
        if kind == "file" and (size := call("pread64", descriptor, buffer, 4096, 0)) >= 0:
            found.append(buffer.raw[:size])
    return found


# --- memory ----------------------------------------------------------------------------------------------------------


def in_memory(first: str, second: str) -> list[str]:
    """Search this process for a text that comes in two halves, so that asking for it does not plant it.

    Returns:
        The mappings that hold it.
    """
    head, tail = first.encode(), second.encode()
    found = []
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        regions = [line.split(maxsplit=5) for line in maps]
    for region in regions:
        start, end = (int(part, 16) for part in region[0].split("-"))
        name = region[5].strip() if len(region) > 5 else "anonymous"
        if "r" not in region[1] or name in ("[vvar]", "[vsyscall]", "[vvar_vclock]") or end - start > 1 << 28:
            continue
        if holds(copy_of_memory(start, end), head, tail):
            found.append(name)
    return found


def key(identifier: int) -> int | bytes:
    """Return what a key of the kernel's keyrings holds, or minus the errno."""
    buffer = ctypes.create_string_buffer(16)
    size = call("keyctl", 11, identifier, buffer, 16)
    return size if size < 0 else buffer.raw[:size]

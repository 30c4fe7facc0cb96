"""Which descriptors may be lent to an isolate: regular files, pipes, five devices, connected sockets; nothing else.

A description from outside carries the host's mount with it, so what the isolate's own mounts would keep must be kept by
something else. Whatever is not known to be harmless is refused.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat

from isolate_fn._plan.lending import LANDLOCK_NEEDED
from isolate_fn._plan.mounts import ResolvedSource, code_reason
from isolate_fn._runtime import ids
from isolate_fn._runtime.ends import SO_PASSRIGHTS
from isolate_fn._runtime.prepared import Prepared
from isolate_fn._runtime.sources import code_of, code_roots
from isolate_fn._sys import constants as k

NO_GUARD = (
    "belongs to the user that the isolate runs as, which could change its mode there",
    "pass it to a function of @isolated, whose isolate is made for it; or a temporary file, a pipe, or box.put()",
)

# Where data is kept. Not those by which the kernel talks (proc, sysfs, cgroup2, bpf, ...): writing there is commanding.
_STORES = (
    "ext2 ext3 ext4 xfs btrfs f2fs zfs bcachefs jfs nilfs2 reiserfs ntfs ntfs3 vfat exfat msdos iso9660 udf squashfs erofs "
    "cramfs romfs tmpfs ramfs overlay aufs ecryptfs nfs nfs4 cifs smb3 ceph 9p virtiofs gfs2 ocfs2 lustre afs fuse "
    "fuseblk hfs hfsplus apfs"
)
_DEVICES = {os.makedev(1, minor) for minor in (3, 5, 7, 8, 9)}  # null, zero, full, random, urandom: in /dev inside as well
_PLAIN = (socket.AF_INET, socket.AF_INET6)
_PROTOCOLS: dict[int, int] = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}
_WRITE_SEALS = fcntl.F_SEAL_WRITE | 0x10  # F_SEAL_FUTURE_WRITE, Linux 5.1


class Refused(Exception):
    """A descriptor that is not lent.

    Args:
        problem: why, as the end of a sentence about it.
        remedy: what to do instead.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def check_file(descriptor: int, prepared: Prepared) -> bool:
    """See that a file may be lent.

    Args:
        descriptor: of it.
        prepared: the policy's preparation.

    Returns:
        True where its mode and times must be guarded by a filter.

    Raises:
        Refused: it may not.
    """
    state = os.fstat(descriptor)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & k.O_PATH:
        raise Refused("is no open file but a name of one (O_PATH)", "open it for reading or writing")
    if stat.S_ISCHR(state.st_mode):
        if state.st_rdev not in _DEVICES:
            raise Refused("is a device or a terminal", "read from it and pass what was read; dev() in mounts= shows devices")
        return False
    store = _store_of(descriptor)
    if stat.S_ISFIFO(state.st_mode) and not store:
        return False
    if not stat.S_ISREG(state.st_mode) and not stat.S_ISFIFO(state.st_mode):
        raise Refused("is neither a regular file nor a pipe", "pass what it is needed for as data")
    if not store:
        _check_memory_file(descriptor, flags)
        return False
    if store not in _STORES.split() and not store.startswith("fuse."):
        raise Refused(f"lies in a file system of type {store}, where files are more than data", "read it and pass its content")
    access = flags & os.O_ACCMODE
    landlock = prepared.features.landlock if prepared.plan.landlock is not None else 0
    if access != os.O_RDWR and landlock < LANDLOCK_NEEDED:
        problem = "could be opened anew from inside in another mode: this needs Landlock ABI 3 (Linux 6.2)"
        raise Refused(f"{problem}, found {landlock}", "pass ro(path) or rw(path), or its content")
    if access != os.O_RDONLY and state.st_nlink:
        _refuse_code(descriptor, state)
    own = not prepared.features.privileged and state.st_uid == ids.host_uid(prepared.features, 0)
    return own and state.st_nlink > 0


def _check_memory_file(descriptor: int, flags: int) -> None:
    """Let memfd_create(2) pass, nothing else of what lies in no mounted file system (pidfd, namespaces, secret memory)."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        text = "lies in no file system that is mounted here"
        raise Refused(text, "pass what it is needed for as data") from None
    if flags & os.O_ACCMODE != os.O_RDWR and not seals & _WRITE_SEALS:
        problem = "is memory that could be opened anew from inside in another mode"
        raise Refused(problem, "seal it with F_SEAL_WRITE, or pass it opened for reading and writing")


def _store_of(descriptor: int) -> str:
    """Return the type of the mounted file system that a file lies in; empty for none, as for pipes and kernel objects."""
    mount = b""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as table:
        for line in table:
            if line.startswith(b"mnt_id:"):
                mount = line.split()[1]
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields = line.split(b" ")
            if fields[0] == mount:
                return os.fsdecode(fields[fields.index(b"-") + 1])
    return ""


def _refuse_code(descriptor: int, state: os.stat_result) -> None:
    """Refuse what rw() would refuse: what this program may later import or run."""
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        found = None
    if found is None or (found.st_dev, found.st_ino) != (state.st_dev, state.st_ino):
        raise Refused("is open for writing, and its place cannot be found any more", "open it anew, or pass rw(path)")
    reason = code_reason(ResolvedSource(path, "file", code_of(path, "file")), code_roots())
    if reason:
        problem = f"would let the isolate change what this program may import or run: {reason}"
        raise Refused(problem, "open it for reading, or pass rw(path, allow_code=True) if this is what you want")


def check_socket(descriptor: int, prepared: Prepared) -> tuple[int, int, int]:
    """See that a socket may be lent, and return its family, type and protocol.

    Args:
        descriptor: of it.
        prepared: the policy's preparation.

    Raises:
        Refused: it may not.
    """
    asked = socket.socket(fileno=os.dup(descriptor))
    try:
        family, kind, protocol = int(asked.family), int(asked.type), asked.proto
        network = not prepared.plan.namespaces & k.CLONE_NEWNET
        if family == socket.AF_UNIX and kind == socket.SOCK_STREAM:
            _check_unix(asked, network=network)
        elif family not in _PLAIN or _PROTOCOLS.get(kind) != protocol:
            raise Refused("is of a kind that is not lent", "pass a TCP connection, or do the talking outside")
        elif not network:
            _check_connected(asked, kind)
        return family, kind, protocol
    finally:
        asked.close()


def _check_unix(asked: socket.socket, *, network: bool) -> None:
    """Refuse what could receive descriptors: two isolates with both its ends would hand each other what they hold."""
    try:
        receives = asked.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS) != 0
    except OSError:
        receives = True
    if receives or network:  # with the network comes the right to set the option again
        problem = "is a unix socket, by which descriptors could come in"
        remedy = "pass the ends of two pipes, or a TCP connection"
        if not network:
            remedy += f"; since Linux 6.16 sock.setsockopt(SOL_SOCKET, {SO_PASSRIGHTS}, 0) makes it acceptable (SO_PASSRIGHTS)"
        raise Refused(problem, remedy)
    _check_connected(asked, socket.SOCK_STREAM)


def _check_connected(asked: socket.socket, kind: int) -> None:
    """Refuse what could reach anybody but its peer, in the caller's own network.

    A datagram names its destination; a stream socket that is not connected can be connected by a message
    (MSG_FASTOPEN), and one that listens after a shutdown(2).
    """
    remedy = "connect it first, or accept outside and pass the connection; or grant network=True"
    if kind != socket.SOCK_STREAM:
        raise Refused("is a datagram socket, which reaches every destination", "pass a TCP connection, or grant network=True")
    if asked.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise Refused("is a listening socket, which network=False does not let accept", remedy)
    try:
        asked.getpeername()
    except OSError:
        raise Refused("is not connected", remedy) from None

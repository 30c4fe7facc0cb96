"""One typed wrapper per system call: nothing here decides anything, every failure is an OSError that names the call."""

from __future__ import annotations

import os
import struct

from isolate_fn._sys import constants as k
from isolate_fn._sys.first_calls import close_from as close_from
from isolate_fn._sys.first_calls import mount as mount
from isolate_fn._sys.first_calls import unshare as unshare
from isolate_fn._sys.libc import Byte, Int, Long, Pointer, Text, ULong, bind, bind_syscall, bind_unchecked, get_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Numbers of the calls libc does not wrap. From 424 on every architecture shares one numbering.
_PER_ARCHITECTURE = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "keyctl": 250, "unshare": 272},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "keyctl": 219, "unshare": 97},
}
MACHINE = os.uname().machine
_OLD = _PER_ARCHITECTURE.get(MACHINE, {})
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_OPENAT2, _MOUNT_SETATTR = 437, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_setns = bind("setns", Int, Int)
_umount2 = bind("umount2", Text, Int)
_prctl = bind("prctl", Int, *([ULong] * 4))
_prctl_unchecked = bind_unchecked("prctl", Int, *([ULong] * 4))
_CAPABILITIES = 64
_capset = bind("capset", Text, Text)
_capget = bind("capget", Pointer, Pointer)
_sethostname = bind("sethostname", Text, ULong)
_fflush = bind_unchecked("fflush", Pointer)

_pivot_root = bind_syscall("pivot_root", _OLD.get("pivot_root", -1), Text, Text)
_keyctl = bind_syscall("keyctl", _OLD.get("keyctl", -1), Long, Long, ULong, ULong)
_seccomp = bind_syscall("seccomp", _OLD.get("seccomp", -1), ULong, ULong, Text)
_unshare_with = bind_syscall("unshare", _OLD.get("unshare", -1), ULong, ULong)
_open_tree = bind_syscall("open_tree", _OPEN_TREE, Long, Text, ULong)
_move_mount = bind_syscall("move_mount", _MOVE_MOUNT, Long, Text, Long, Text, ULong)
_fsopen = bind_syscall("fsopen", _FSOPEN, Text, ULong)
_fsconfig = bind_syscall("fsconfig", _FSCONFIG, Long, ULong, Text, Text, Long)
_fsmount = bind_syscall("fsmount", _FSMOUNT, Long, ULong, ULong)
_mount_setattr = bind_syscall("mount_setattr", _MOUNT_SETATTR, Long, Text, ULong, Text, ULong)
_openat2 = bind_syscall("openat2", _OPENAT2, Long, Text, Text, ULong)
_landlock_create = bind_syscall("landlock_create_ruleset", _LANDLOCK_CREATE, Text, ULong, ULong)
_landlock_add = bind_syscall("landlock_add_rule", _LANDLOCK_ADD, Long, ULong, Text, ULong)
_landlock_restrict = bind_syscall("landlock_restrict_self", _LANDLOCK_RESTRICT, Long, ULong)


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace behind a descriptor. See setns(2)."""
    _setns(descriptor, kind)


def unshare_with(flags: int, unused: int) -> None:
    """Leave the given namespaces, with a second argument that only filters see. See unshare(2)."""
    _unshare_with(flags, unused)


def flush_stdio() -> None:
    """Write out what C code has left in the buffers of its output streams, as far as it goes. See fflush(3)."""
    _fflush(None)


def umount(target: str, flags: int = 0) -> None:
    """Unmount. See umount2(2)."""
    _umount2(os.fsencode(target), flags)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace. See pivot_root(2)."""
    _pivot_root(os.fsencode(new), os.fsencode(old))


def open_tree(directory: int, path: str, flags: int) -> int:
    """Return a descriptor of a mount or of a detached copy of it. See open_tree(2), Linux 5.2."""
    return int(_open_tree(directory, os.fsencode(path), flags))


def move_mount(tree: int, directory: int, path: str) -> None:
    """Attach a detached mount at ``path`` (or at ``directory`` itself when empty). See move_mount(2), Linux 5.2."""
    flags = k.MOVE_MOUNT_F_EMPTY_PATH | (0 if path else k.MOVE_MOUNT_T_EMPTY_PATH)
    _move_mount(tree, b"", directory, os.fsencode(path), flags)


def detached_mount(fstype: str, options: tuple[tuple[str, str], ...], attributes: int) -> int:
    """Make a file system without mounting it anywhere: fsopen(2), fsconfig(2), fsmount(2), Linux 5.2.

    Args:
        fstype: its type.
        options: (key, value) pairs.
        attributes: MOUNT_ATTR_* flags.

    Returns:
        A close-on-exec descriptor of the detached mount, for `move_mount`.
    """
    context = int(_fsopen(fstype.encode(), k.FSOPEN_CLOEXEC))
    try:
        for key, value in options:
            _fsconfig(context, k.FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
        _fsconfig(context, k.FSCONFIG_CMD_CREATE, None, None, 0)
        return int(_fsmount(context, k.FSMOUNT_CLOEXEC, attributes))
    finally:
        os.close(context)


def mount_setattr(directory: int, path: str, set_flags: int, *, recursive: bool, userns: int = 0) -> None:
    """Add mount attributes, and an id mapping with MOUNT_ATTR_IDMAP. See mount_setattr(2), Linux 5.12."""
    attributes = struct.pack("=4Q", set_flags, 0, 0, userns)
    flags = (0 if path else k.AT_EMPTY_PATH) | (k.AT_RECURSIVE if recursive else 0)
    _mount_setattr(directory, os.fsencode(path), flags, attributes, len(attributes))


def openat2(directory: int, path: str, flags: int, resolve: int, *, mode: int = 0, inheritable: bool = False) -> int:
    """Open with limits on how the path is walked, close-on-exec unless ``inheritable``. See openat2(2), Linux 5.6."""
    how = struct.pack("=3Q", flags | (0 if inheritable else os.O_CLOEXEC), mode, resolve)
    return int(_openat2(directory, os.fsencode(path), how, len(how)))


def prctl(option: int, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """Operate on this process. See prctl(2)."""
    return int(_prctl(option, second, third, fourth, fifth))


def drop_bounding_set() -> None:
    """Drop what the kernel knows from the bounding set (PR_CAPBSET_DROP of prctl(2)); `bounding_set` tells what is left."""
    for capability in range(_CAPABILITIES):
        if _prctl_unchecked(k.PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:  # EINVAL: one past the last that it knows
            break


def bounding_set() -> int:
    """Return the bounding set as bits (PR_CAPBSET_READ of prctl(2))."""
    bits = 0
    for capability in range(_CAPABILITIES):
        there = _prctl_unchecked(k.PR_CAPBSET_READ, capability, 0, 0, 0)
        if there < 0:
            break
        bits |= there << capability
    return bits


def drop_all_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets. See capset(2)."""
    _capset(struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0), bytes(24))


def capabilities() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable sets as bit masks. See capget(2)."""
    header: Any = (Byte * 8)()
    data: Any = (Byte * 24)()
    header.raw = struct.pack("=Ii", k.LINUX_CAPABILITY_VERSION_3, 0)
    _capget(get_address(header), get_address(data))
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def join_new_session_keyring() -> None:
    """Leave the caller's session keyring for a new, empty one. See keyctl(2)."""
    _keyctl(k.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0)


def session_keyring_size() -> int:
    """Return how many bytes the ids of the keys in this process's session keyring take. See keyctl(2)."""
    return int(_keyctl(k.KEYCTL_READ, k.KEY_SPEC_SESSION_KEYRING, 0, 0))


def death_signal() -> int:
    """Return the signal that arrives when the parent ends, 0 for none. See PR_GET_PDEATHSIG of prctl(2)."""
    number = Int(-1)
    prctl(k.PR_GET_PDEATHSIG, get_address(number))
    return int(number.value)


def set_hostname(name: str) -> None:
    """Name this UTS namespace. See sethostname(2)."""
    encoded = name.encode()
    _sethostname(encoded, len(encoded))


def seccomp_filter(program: bytes) -> None:
    """Install a filter on every thread of this process. See seccomp(2), Linux 3.17.

    Raises:
        OSError: refused; also when one thread could not be brought along (the kernel then returns its id).
    """
    thread = install_filter(program, k.SECCOMP_FILTER_FLAG_TSYNC)
    if thread > 0:
        raise OSError(3, f"thread {thread} could not be put under the filter", "seccomp")


def install_filter(program: bytes, flags: int) -> int:
    """Put this thread, or with TSYNC every thread, under a filter. See seccomp(2), Linux 3.17.

    Args:
        program: an array of struct sock_filter.
        flags: SECCOMP_FILTER_FLAG_*, or-ed.

    Returns:
        0, with TSYNC the id of a thread that could not be brought along (nothing is changed then), with NEW_LISTENER
        a close-on-exec descriptor.
    """
    address = Pointer.from_buffer(Text(program)).value or 0
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, address)
    return seccomp(k.SECCOMP_SET_MODE_FILTER, flags, fprog)


def seccomp(operation: int, flags: int, argument: bytes | None) -> int:
    """Make an operation on filters; ``argument`` is memory that the kernel only reads. See seccomp(2), Linux 3.17."""
    return int(_seccomp(operation, flags, argument))


def landlock_abi() -> int:
    """Return the kernel's Landlock ABI. See landlock_create_ruleset(2), Linux 5.13.

    Raises:
        OSError: ENOSYS without the feature, EOPNOTSUPP when it is built but switched off at boot.
    """
    return int(_landlock_create(None, 0, k.LANDLOCK_CREATE_RULESET_VERSION))


def landlock_create_ruleset(handled_fs: int, handled_net: int, scoped: int, *, size: int) -> int:
    """Return a descriptor of an empty rule set; ``size`` is how much of the structure this kernel knows (bytes)."""
    return int(_landlock_create(struct.pack("=3Q", handled_fs, handled_net, scoped), size, 0))


def landlock_add_path(ruleset: int, access: int, directory: int) -> None:
    """Allow ``access`` beneath the directory behind a descriptor. See landlock_add_rule(2)."""
    # struct landlock_path_beneath_attr is packed in the header: 12 bytes, not 16.
    _landlock_add(ruleset, k.LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", access, directory), 0)


def landlock_add_port(ruleset: int, access: int, port: int) -> None:
    """Allow ``access`` to a TCP port. See landlock_add_rule(2), Linux 6.7."""
    _landlock_add(ruleset, k.LANDLOCK_RULE_NET_PORT, struct.pack("=QQ", access, port), 0)


def landlock_restrict_self(ruleset: int, flags: int = 0) -> None:
    """Put this thread, and all it starts from now on, under a rule set. See landlock_restrict_self(2).

    Args:
        ruleset: its descriptor.
        flags: with LANDLOCK_RESTRICT_SELF_TSYNC every thread of the process (ABI 8, Linux 7.0).
    """
    _landlock_restrict(ruleset, flags)

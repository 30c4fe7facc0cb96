"""Arguments of a system call as somebody would have written them: flags by name, addresses, modes in octal."""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Callable

from isolate_fn._plan.call_arguments import ARGUMENTS
from isolate_fn._sys import seccomp_constants as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_FDCWD = 0xFFFFFF9C
_INT, _SIGNS = 0xFFFFFFFF, 0x80000000
_EXIT_SIGNAL = 0xFF  # of clone(2)'s flags


def decoded(name: str, arguments: Sequence[int], texts: Sequence[str | None]) -> tuple[str, ...]:
    """Return the arguments of a call as text.

    Args:
        name: of the call.
        arguments: as unsigned numbers.
        texts: what was found behind those that are pointers to text (hexadecimal for socket addresses), None elsewhere.
    """
    words = ARGUMENTS.get(name, ("hex",) * len(arguments))
    shown = []
    for index, (word, value) in enumerate(zip(words, arguments, strict=False)):
        text = texts[index] if index < len(texts) else None
        if word in ("path", "text"):
            shown.append(f"{value:#x}" if text is None else repr(text))
        elif word == "address":
            shown.append(f"{value:#x}" if not text else address(text))
        else:
            shown.append(_WAYS.get(word, _hexadecimal)(value))
    return tuple(shown)


def path_of(name: str, texts: Sequence[str | None]) -> str | None:
    """Return the path that a call was about, the first where it has several."""
    words = ARGUMENTS.get(name, ())
    return next((text for word, text in zip(words, texts, strict=False) if word == "path" and text), None)


def address(text: str) -> str:
    """Return a socket address as text.

    Args:
        text: struct sockaddr in hexadecimal.
    """
    data = bytes.fromhex(text)
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == k.Family.INET and len(data) >= 8:
        return f"{'.'.join(map(str, data[4:8]))}:{port}"
    if family == k.Family.INET6 and len(data) >= 24:
        groups = [int.from_bytes(data[at : at + 2], "big") for at in range(8, 24, 2)]
        return f"[{':'.join(f'{group:x}' for group in groups)}]:{port}"
    if family == k.Family.UNIX:
        path = data[2:]
        shown = path.partition(b"\0")[0] if path[:1] != b"\0" else b"@" + path[1:].rstrip(b"\0")
        return repr(shown.decode("utf-8", "replace"))
    return f"address of {_family(family)}"


def _signed(value: int) -> str:
    value &= _INT
    return str(value - (_INT + 1) if value & _SIGNS else value)


def _hexadecimal(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"


def _one(names: type[enum.IntEnum], prefix: str) -> Callable[[int], str]:
    known = {int(member): f"{prefix}{member.name}" for member in names}
    return lambda value: known.get(value & _INT) or _hexadecimal(value & _INT)


def _several(names: type[enum.IntFlag], prefix: str, **more: int) -> Callable[[int], str]:
    known = [(int(member), f"{prefix}{member.name}") for member in names]
    known += [(value, f"{prefix}{name}") for name, value in more.items()]

    def text(value: int) -> str:
        value &= _INT
        found = []
        for bits, name in sorted(known, reverse=True):
            if bits and value & bits == bits:
                found.append(name)
                value &= ~bits
        return "|".join([*reversed(found), *([_hexadecimal(value)] if value or not found else [])])

    return text


_family = _one(k.Family, "AF_")
_kind = _one(k.SockType, "SOCK_")
_clone_bits = _several(
    k.CloneFlag, "CLONE_", SYSVSEM=0x40000, SETTLS=0x80000, PARENT_SETTID=0x100000, CHILD_CLEARTID=0x200000,
    CHILD_SETTID=0x1000000,
)  # fmt: skip
_open_bits = _several(
    k.OpenFlag, "O_", CLOEXEC=os.O_CLOEXEC, DIRECTORY=os.O_DIRECTORY, NONBLOCK=os.O_NONBLOCK, NOFOLLOW=os.O_NOFOLLOW
)


def _socket_type(value: int) -> str:
    flags = [name for name, bit in (("SOCK_CLOEXEC", os.O_CLOEXEC), ("SOCK_NONBLOCK", os.O_NONBLOCK)) if value & bit]
    return "|".join([_kind(value & ~(os.O_CLOEXEC | os.O_NONBLOCK)), *flags])


def _clone(value: int) -> str:
    ends = value & _EXIT_SIGNAL
    name = next((each.name for each in signal.Signals if each == ends), "")
    flags = _clone_bits(value & ~_EXIT_SIGNAL if name else value)
    return name if name and flags == "0" else "|".join(filter(None, (flags, name)))


def _open(value: int) -> str:
    access = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}.get(value & os.O_ACCMODE, "")
    rest = _open_bits(value & ~os.O_ACCMODE & _INT)
    return "|".join(filter(None, (access, "" if rest == "0" else rest)))


_WAYS: dict[str, Callable[[int], str]] = {
    "fd": _signed,
    "int": _signed,
    "pid": _signed,
    "size": str,
    "dirfd": lambda value: "AT_FDCWD" if value & _INT == _AT_FDCWD else _signed(value),
    "mode": lambda value: f"0o{value & 0o7777777:o}",
    "family": _family,
    "socktype": _socket_type,
    "protocol": _signed,
    "clone": _clone,
    "open": _open,
    "protection": _several(k.Protection, "PROT_"),
    "ioctl": _one(k.Ioctl, ""),
    "fcntl": _one(k.Fcntl, "F_"),
    "prctl": _one(k.Prctl, "PR_"),
}


__all__ = ["address", "decoded", "path_of"]

"""Shared memory for big values: sized and sealed by the caller, written by one side, mapped by the other.

The caller never takes a descriptor from a worker. It makes the memory file itself, fixes its size with seals
before anybody else has it, and after the worker's answer adds the write seal: the kernel grants that seal
only when no writable mapping exists anywhere (memfd_create(2), fcntl(2)), so from then on neither the bytes
nor the size can change under the reader. A file that could still shrink would be a SIGBUS in the caller.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
from collections.abc import Sequence

from isolate_fn._transport.frames import Buffer, arena_layout, length_of
from isolate_fn.errors import TransportError

MFD_NOEXEC_SEAL = 0x0008  # <linux/memfd.h>, since Linux 6.3; not in os before Python 3.14
_MEMFD_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING

SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
ALL_SEALS = SIZE_SEALS | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

_CHUNK = 1 << 30
"""Bytes per pwrite(2), which transfers at most 0x7ffff000."""


def create_arena(size: int, name: str = "isolate_fn") -> int:
    """Create a memory file of exactly ``size`` bytes that nobody can resize.

    Args:
        size: bytes, at least 1.
        name: shown in /proc/PID/maps.

    Returns:
        A close-on-exec descriptor, open for reading and writing. The caller closes it.

    Raises:
        OSError: no memory file could be made (memfd_create(2), since Linux 3.17).
    """
    if size < 1:
        raise ValueError("an arena needs at least one byte")
    fd = _memfd(name)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SIZE_SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _memfd(name: str) -> int:
    try:
        return os.memfd_create(name, _MEMFD_FLAGS | MFD_NOEXEC_SEAL)
    except OSError as failure:
        if failure.errno != errno.EINVAL:  # EINVAL: a kernel before 6.3 does not know the flag
            raise
        return os.memfd_create(name, _MEMFD_FLAGS)


def write_arena(fd: int, buffers: Sequence[Buffer]) -> int:
    """Write buffers at the offsets of ``arena_layout`` and return the bytes used.

    Raises:
        OSError: EPERM when the arena is too small (its size is sealed) or sealed against writing.
    """
    size, offsets = arena_layout(buffers)
    for offset, buffer in zip(offsets, buffers, strict=True):
        view = memoryview(buffer).cast("B") if length_of(buffer) else memoryview(b"")
        while view.nbytes:
            written = os.pwrite(fd, view[:_CHUNK], offset)
            view, offset = view[written:], offset + written
    return size


def claim_arena(fd: int, size: int) -> memoryview:
    """Take an arena back from its writer: seal it, check it, and map a private copy-on-write view.

    Args:
        fd: the descriptor of ``create_arena``; it stays open and is the caller's to close.
        size: bytes it was created with.

    Returns:
        A writable view; writes stay in this process. The mapping lives as long as the view or anything cut
        out of it.

    Raises:
        TransportError: somebody can still write to it, or it is not what ``create_arena`` made.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
    except OSError as failure:
        # EBUSY: a writable mapping exists. EPERM: sealed by somebody else; the check below says whether
        # enough.
        if failure.errno != errno.EPERM:
            raise TransportError(f"the isolate's shared memory could not be sealed: {failure.strerror}") from None
    return _map(fd, size)


def seal_for_child(buffers: Sequence[Buffer]) -> tuple[int, int]:
    """Put buffers into a fully sealed memory file for a worker.

    Returns:
        ``(fd, size)``; the caller closes the descriptor. The layout is that of ``arena_layout``.
    """
    size, _ = arena_layout(buffers)
    fd = create_arena(max(size, 1))
    try:
        write_arena(fd, buffers)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd, max(size, 1)


def map_sealed(fd: int, size: int) -> memoryview:
    """Map a memory file that is already fully sealed, copy-on-write.

    Raises:
        TransportError: a seal is missing, or it is not a regular file of this size.
    """
    return _map(fd, size)


def _map(fd: int, size: int) -> memoryview:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        status = os.fstat(fd)
    except OSError as failure:  # EINVAL: not a file that can be sealed at all
        raise TransportError(f"the isolate's shared memory is not a sealed memory file: {failure.strerror}") from None
    if seals & ALL_SEALS != ALL_SEALS:
        raise TransportError("the isolate's shared memory is not sealed against change")
    # Seals first, size afterwards: only a sealed size stays true.
    if not stat.S_ISREG(status.st_mode) or status.st_size != size or size < 1:
        raise TransportError(f"the isolate's shared memory has {status.st_size} bytes instead of {size}")
    try:
        mapping = mmap.mmap(fd, size, **_MAP_ARGUMENTS)
    except (OSError, ValueError, OverflowError, MemoryError) as failure:
        raise TransportError(f"{size} bytes of shared memory could not be mapped: {failure}") from None
    return memoryview(mapping)


_MAP_ARGUMENTS: dict[str, int] = {"access": mmap.ACCESS_COPY}
if sys.version_info >= (3, 13):
    _MAP_ARGUMENTS["trackfd"] = False  # before 3.13 a mapping keeps a duplicate of the descriptor open

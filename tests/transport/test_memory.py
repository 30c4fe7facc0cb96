"""Arenas: sized and sealed before anybody else sees them, and claimed only when nobody can write any more."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os

import pytest

from isolate_fn._transport.frames import arena_layout
from isolate_fn._transport.memory import (
    ALL_SEALS,
    SIZE_SEALS,
    claim_arena,
    create_arena,
    map_sealed,
    seal_for_child,
    write_arena,
)
from isolate_fn.errors import TransportError

BUFFERS = [b"abc", b"", bytes(range(256)) * 300, memoryview(b"12345678").cast("Q")]


@pytest.fixture
def arena():
    fd = create_arena(4096)
    yield fd
    os.close(fd)


def seals(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)


def test_a_new_arena_has_its_size_sealed(arena):
    assert os.fstat(arena).st_size == 4096
    assert seals(arena) & SIZE_SEALS == SIZE_SEALS
    assert not seals(arena) & fcntl.F_SEAL_WRITE
    assert not os.get_inheritable(arena)
    for size in (0, 4095, 4097, 1 << 40):
        with pytest.raises(PermissionError):
            os.ftruncate(arena, size)
    with pytest.raises(PermissionError):
        os.pwrite(arena, b"x", 4096)


def test_it_cannot_be_executed_where_the_kernel_can_say_so(arena):
    if os.fstat(arena).st_mode & 0o111:
        pytest.skip("memfd_create(MFD_NOEXEC_SEAL) needs Linux 6.3")
    with pytest.raises(PermissionError):
        os.fchmod(arena, 0o777)


def test_an_empty_arena_makes_no_sense():
    with pytest.raises(ValueError, match="one byte"):
        create_arena(0)


def test_what_was_written_is_mapped():
    size, offsets = arena_layout(BUFFERS)
    fd = create_arena(size)
    assert write_arena(fd, BUFFERS) == size
    view = claim_arena(fd, size)
    os.close(fd)
    for offset, buffer in zip(offsets, BUFFERS, strict=True):
        assert bytes(view[offset : offset + memoryview(buffer).nbytes]) == bytes(buffer)


def test_a_claimed_arena_is_sealed_for_good_and_private(arena):
    write_arena(arena, [b"before"])
    view = claim_arena(arena, 4096)
    assert seals(arena) & ALL_SEALS == ALL_SEALS
    with pytest.raises(PermissionError):
        os.pwrite(arena, b"after", 0)
    view[:6] = b"mine!!"
    assert os.pread(arena, 6, 0) == b"before"
    assert bytes(view[:6]) == b"mine!!"


def test_a_writer_with_a_mapping_is_refused(arena):
    with mmap.mmap(arena, 4096), pytest.raises(TransportError, match="sealed"):
        claim_arena(arena, 4096)


def test_a_reader_with_a_mapping_is_not(arena):
    with mmap.mmap(arena, 4096, flags=mmap.MAP_PRIVATE):
        assert claim_arena(arena, 4096).nbytes == 4096


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 1 << 40, 1 << 62])
def test_another_size_is_refused(arena, size):
    with pytest.raises(TransportError):
        claim_arena(arena, size)


@pytest.mark.parametrize("missing", [fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SEAL])
def test_each_seal_is_needed(missing):
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, ALL_SEALS & ~missing)
    with pytest.raises(TransportError):
        map_sealed(fd, 4096)
    os.close(fd)


def test_a_file_sealed_against_sealing_is_refused():
    fd = os.memfd_create("x")  # F_SEAL_SEAL from the start, and no other
    os.ftruncate(fd, 4096)
    with pytest.raises(TransportError):
        claim_arena(fd, 4096)
    os.close(fd)


def test_a_sparse_terabyte_is_refused():
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 40)
    with pytest.raises(TransportError):
        claim_arena(fd, 4096)
    os.close(fd)


def test_what_is_no_memory_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    read, write = os.pipe()
    others = [os.open(path, os.O_RDWR), os.open("/dev/zero", os.O_RDWR), os.open(tmp_path, os.O_RDONLY), read, write]
    for fd in others:
        with pytest.raises(TransportError):
            claim_arena(fd, 4096)
        with pytest.raises(TransportError):
            map_sealed(fd, 4096)
        os.close(fd)


def test_hugetlb_memory_is_refused_or_right():
    try:
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(fd, 2 << 20)
    except OSError:
        pytest.skip("no huge pages here")
    with pytest.raises(TransportError):
        map_sealed(fd, 4096)
    os.close(fd)


def test_the_way_in_is_sealed_before_it_is_sent():
    fd, size = seal_for_child(BUFFERS)
    assert seals(fd) & ALL_SEALS == ALL_SEALS
    view = map_sealed(fd, size)
    assert bytes(view[:3]) == b"abc"
    view[:3] = b"xyz"
    assert os.pread(fd, 3, 0) == b"abc"
    os.close(fd)


def test_nothing_going_in_is_still_a_mapping():
    fd, size = seal_for_child([])
    assert map_sealed(fd, size).nbytes == size == 1
    os.close(fd)


def test_a_mapping_is_gone_with_its_last_view():
    before = len(os.listdir("/proc/self/fd"))
    fd, size = seal_for_child([b"x" * 10_000])
    part = map_sealed(fd, size)[10:20]
    os.close(fd)
    assert bytes(part) == b"x" * 10
    del part
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before

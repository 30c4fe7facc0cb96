"""Open files as arguments: the caller's own description arrives, and the caller's object goes on where the function stopped."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
import threading

import pytest

from isolate_fn import isolated, ro, sandbox
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected, TimedOut
from isolate_fn.rules import BasicCapabilities, SystemIO

pytestmark = pytest.mark.needs("namespaces", "landlock>=3")


@isolated
def read(file, size=3):
    return file.read(size)


@isolated
def read_line(file):
    return file.readline()


@isolated
def write(file, data):
    return file.write(data)


@isolated
def describe(file):
    return type(file).__name__, file.mode, getattr(file, "encoding", None), file.tell() if file.seekable() else -1


@pytest.fixture
def lines(host):
    path = host / "lines.txt"
    path.write_bytes(b"one\ntwo\nthree\nfour\n")
    return path


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "raw"])
def test_reading_goes_on_where_the_other_side_stopped(lines, buffering, reuse):
    with lines.open("rb", buffering=buffering) as file:
        assert file.read(4) == b"one\n"
        assert read.options(reuse=reuse)(file, 4) == b"two\n"
        assert file.tell() == 8
        assert file.readline() == b"three\n"
        assert read.options(reuse=reuse)(file=file, size=4) == b"four"
        assert file.read() == b"\n"


def test_text_goes_on_where_the_other_side_stopped(lines):
    lines.write_text("ä\nöß\nü\n", encoding="utf-8")
    with lines.open(encoding="utf-8") as file:
        assert file.readline() == "ä\n"
        assert read_line(file) == "öß\n"
        assert file.tell() == 8
        assert file.read() == "ü\n"


def test_what_was_written_on_both_sides_is_in_order(host):
    for mode, parts in (("wb", (b"1", b"2", b"3")), ("w", ("1", "2", "3")), ("a", ("1", "2", "3"))):
        with (host / f"{mode}.out").open(mode) as file:
            file.write(parts[0])
            write(file, parts[1])
            assert file.tell() == 2
            file.write(parts[2])
        assert (host / f"{mode}.out").read_text() == "123"


def test_updating_a_file_on_both_sides(lines):
    with lines.open("r+b") as file:
        assert file.read(4) == b"one\n"
        write(file, b"TWO")
        assert file.read(1) == b"\n"
        file.seek(0)
        assert file.read() == b"one\nTWO\nthree\nfour\n"


def test_appending_keeps_its_offset_and_its_end(lines):
    with lines.open("a+b") as file:
        file.seek(4)
        assert read(file, 3) == b"two"
        assert file.tell() == 7
        write(file, b"five\n")
    assert lines.read_bytes().endswith(b"four\nfive\n")


def test_kind_mode_and_encoding_arrive(lines):
    with lines.open("rb") as binary, lines.open("rb", buffering=0) as raw, lines.open(encoding="latin-1") as text:
        assert describe(binary) == ("BufferedReader", "rb", None, 0)
        assert describe(raw) == ("FileIO", "rb", None, 0)
        assert describe(text) == ("TextIOWrapper", "r", "latin-1", 0)
    with lines.open("r+b") as random, lines.open("ab") as writer:
        assert describe(random) == ("BufferedRandom", "rb+", None, 0)
        assert describe(writer) == ("BufferedWriter", "ab", None, 19)


def test_temporary_files_of_every_kind():
    with tempfile.TemporaryFile() as unnamed, tempfile.NamedTemporaryFile("w+") as named:
        write(unnamed, b"unnamed")
        write(named, "named")
        unnamed.seek(0), named.seek(0)
        assert (unnamed.read(), named.read()) == (b"unnamed", "named")
    for rolled in (False, True):
        with tempfile.SpooledTemporaryFile() as spooled:
            spooled.write(b"spooled")
            if rolled:
                spooled.rollover()
            spooled.seek(2)
            assert read(spooled) == b"ool"
            assert spooled.read() == b"ed"


def test_files_in_memory_travel_as_data():
    stream = io.BytesIO(b"memory")
    assert read(stream) == b"mem"
    assert stream.tell() == 0


def test_pipes():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as there, open(writing, "wb") as here:
        here.write(b"buffered")
        write(here, b" and more")
        assert read(there, 100) == b"buffered and more"


def test_one_file_passed_twice_is_one_file(lines):
    @isolated
    def same(first, second):
        return first is second, first.read(1) + second.read(1)

    with lines.open("rb") as file:
        assert same(file, file) == (True, b"on")
    with lines.open("rb") as file, open(os.dup(file.fileno()), "rb") as other:
        assert same(file, other)[0] is False


def test_sixteen_files_and_no_more(lines):
    @isolated
    def count(*files):
        return [file.read(1) for file in files]

    files = [lines.open("rb") for _ in range(17)]
    assert count(*files[:16]) == [b"o"] * 16
    with pytest.raises(PolicyError, match="more than 16") as caught:
        count(*files)
    assert caught.value.field == "argument 'files[16]'"
    for file in files:
        file.close()


def test_big_arguments_beside_a_file(lines):
    @isolated
    def both(file, data):
        return file.read(3), len(data)

    with lines.open("rb") as file:
        assert both(file, bytes(1 << 21)) == (b"one", 1 << 21)


def test_in_a_sandbox_block():
    with sandbox() as box, tempfile.TemporaryFile() as file:
        file.write(b"one two")
        file.seek(0)
        assert box.call(read.__wrapped__, file) == b"one"
        assert file.read() == b" two"


def test_under_rules_that_deny_opening_files(lines):
    """What makes a file of it inside is loaded before: the worker of an earlier call is under the rules already."""
    bare = read.options(rules=[BasicCapabilities(), SystemIO.nothing().allow_read().allow_metadata().allow_close()], reuse=True)
    assert bare(io.BytesIO(b"x"), 1) == b"x"
    with lines.open("rb") as file, lines.open() as text:
        assert bare(file, 4) == b"one\n"
        assert bare(text, 4) == "one\n"


# --- the end of a call ------------------------------------------------------------------------------------------------


def test_a_reused_worker_holds_nothing_of_it_afterwards(lines):
    kept = []

    @isolated(reuse=True)
    def keep(file=None, kept=kept):
        if file is not None:
            kept.append(file)
            return len(os.listdir("/proc/self/fd"))
        return len(os.listdir("/proc/self/fd")), [each.closed for each in kept]

    before, _ = keep()
    with lines.open("rb") as file, lines.open("rb", buffering=0) as raw, lines.open() as text:
        assert keep(file) == before + 1
        assert keep(raw) == before + 1
        assert keep(text) == before + 1
    assert keep()[0] == before


def test_a_function_that_closes_its_file_closes_only_its_own(lines):
    @isolated
    def close(file):
        file.close()

    with lines.open("rb") as file:
        file.read(2)
        close(file)
        assert file.read(2) == b"e\n"


def test_a_function_that_detaches_or_replaces_its_file(lines):
    @isolated(reuse=True)
    def detach(file):
        return file.detach().read(3)

    with lines.open() as text:
        assert detach(text) == b"one"
        assert text.read(4) == "\ntwo"


def test_what_cannot_be_written_is_the_call_s_error(host):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as broken, pytest.raises(BrokenPipeError):
        write(broken, b"x")


def test_an_exception_leaves_the_file_where_the_function_stopped(lines):
    @isolated
    def fail(file):
        file.read(3)
        raise ValueError("stop")

    with lines.open("rb") as file:
        with pytest.raises(ValueError, match="stop"):
            fail(file)
        assert file.read(4) == b"\ntwo"


def test_after_a_time_out_the_file_can_be_used(lines):
    @isolated(timeout=0.5)
    def hang(file):
        while True:
            pass

    with lines.open("rb") as file:
        assert file.read(3) == b"one"
        with pytest.raises(TimedOut):
            hang(file)
        assert file.read(4) == b"\ntwo"


def test_no_descriptor_is_left_at_the_caller(lines):
    fresh = read.options(prewarm=0)  # those that wait have descriptors of their own
    with lines.open("rb") as file, open("/proc/self/status") as status:
        fresh(file)
        before = sorted(os.listdir("/proc/self/fd"))
        fresh(file)
        with pytest.raises(CallRejected):
            fresh(file, size=threading.Lock())
        with pytest.raises(PolicyError):
            fresh(file, status)
        with pytest.raises(PolicyError):
            fresh(file, ro("/nonexistent"))
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_flags_of_the_description_are_put_back(lines):
    @isolated
    def set_flags(file):
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)
        return fcntl.fcntl(file, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND)

    with lines.open("r+b") as file:
        before = fcntl.fcntl(file, fcntl.F_GETFL)
        assert set_flags(file) == os.O_NONBLOCK | os.O_APPEND
        assert fcntl.fcntl(file, fcntl.F_GETFL) == before


def test_a_result_cannot_be_an_open_file(lines):
    @isolated
    def give(file):
        return file

    with lines.open("rb") as file, pytest.raises(ResultRejected, match="BufferedReader"):
        give(file)


# --- what cannot be passed --------------------------------------------------------------------------------------------


def test_a_closed_file(lines):
    file = lines.open()
    file.close()
    with pytest.raises(PolicyError, match="closed") as caught:
        read(file)
    assert caught.value.field == "argument 'file'"


def test_what_was_read_ahead_of_a_pipe_cannot_be_put_back():
    reading, writing = os.pipe()
    with open(reading, "rb") as there, open(writing, "wb", buffering=0) as here:
        here.write(b"one two")
        assert there.read(3) == b"one"
        with pytest.raises(PolicyError, match="read ahead"):
            read(there)
        assert there.peek() == b" two"
        here.write(b"raw")
        assert read(there.raw) == b"raw"


def test_a_file_in_the_middle_of_a_loop_over_its_lines(lines):
    with lines.open() as file:
        for _ in file:
            with pytest.raises(PolicyError, match="loop over its lines"):
                read(file)
            break
        assert next(file) == "two\n"


def test_files_of_other_kinds(lines):
    import gzip

    class Own(io.FileIO):
        pass

    with gzip.open(lines.with_suffix(".gz"), "wt") as packed, pytest.raises(PolicyError, match="GzipFile"):
        read(packed)
    with Own(lines) as own, pytest.raises(CallRejected, match="cannot be pickled"):
        read(own)


@pytest.mark.parametrize("nest", [lambda file: [file], lambda file: {"file": file}], ids=["list", "dict"])
def test_inside_another_value_it_is_refused(lines, nest):
    for mode in ("r", "rb", "w+"):
        with lines.open(mode) as file, pytest.raises(CallRejected, match="argument of its own") as caught:
            read(nest(file))
        assert "'file'" in str(caught.value)

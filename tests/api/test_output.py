"""Where stdout and stderr of an isolate go: relayed, captured, discarded, handed over; always bounded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any

import pytest

from isolate_fn import Limits, isolated, sandbox
from isolate_fn.errors import Crashed, LimitExceeded, TimedOut


def run(function: Any, *args: Any, **options: Any) -> Any:
    return isolated(prewarm=0, **options)(function)(*args)


def say() -> Any:
    def speak() -> str:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        sys.stdout.write("no newline")
        return "done"

    return speak


def test_relay_goes_to_the_present_sys_stdout_and_stderr(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(say()) == "done"
    captured = capsys.readouterr()
    assert captured.out == "to stdout\nno newline"
    assert captured.err == "to stderr\n"
    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        run(say())
    assert (out.getvalue(), err.getvalue()) == ("to stdout\nno newline", "to stderr\n")
    assert capsys.readouterr() == ("", "")


def test_relay_keeps_the_order_within_each_stream(capsys: Any) -> None:
    def count() -> None:
        for number in range(3000):
            print(number)
            print(-number, file=sys.stderr)

    run(count)
    captured = capsys.readouterr()
    assert captured.out.split() == [str(number) for number in range(3000)]
    assert captured.err.split() == [str(-number) for number in range(3000)]


def test_output_is_there_when_the_call_returns_and_before_what_follows(run_python: Any) -> None:
    printed = run_python("""
        import os, sys
        from isolate_fn import isolated
        @isolated
        def f(n):
            print("inside", n)
            os.write(1, b"raw\\n")
        for n in range(3):
            print("before", n)
            f(n)
            print("after", n)
    """)
    assert printed == "".join(f"before {n}\ninside {n}\nraw\nafter {n}\n" for n in range(3))


def test_native_writes_arrive(capfd: Any) -> None:
    def write() -> None:
        import ctypes

        libc = ctypes.CDLL(None)
        os.write(1, b"descriptor 1\n")
        os.write(2, b"descriptor 2\n")
        libc.printf(b"stdio %d\n", 7)
        libc.fflush(None)

    run(write)
    captured = capfd.readouterr()
    assert captured.out == "descriptor 1\nstdio 7\n"
    assert captured.err == "descriptor 2\n"


def test_stdio_that_nobody_flushed_arrives_too(capfd: Any) -> None:
    def write() -> None:
        import ctypes

        ctypes.CDLL(None).printf(b"buffered by C\n")

    run(write)
    assert capfd.readouterr().out == "buffered by C\n"


def test_control_sequences_are_made_harmless(capsys: Any) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\x00\rover\tkept\n"
    run(lambda text: print(text, end=""), hostile)
    out = capsys.readouterr().out
    for character in "\x1b\x07\x9b\x08\x00\r":
        assert character not in out
    assert "\tkept\n" in out
    assert "over" in out


def test_unicode_split_over_writes_and_invalid_bytes(capsys: Any) -> None:
    def write() -> None:
        for byte in "aä€😀".encode():
            os.write(1, bytes([byte]))
        os.write(1, b"\xff\xfe|\xe2\x82")

    run(write)
    out = capsys.readouterr().out
    assert out.startswith("aä€😀")
    assert "ff" in out
    assert "|" in out
    assert "e2" in out


def test_a_caller_stream_that_cannot_write_unicode(run_python: Any) -> None:
    printed = run_python(
        """
        from isolate_fn import isolated
        @isolated
        def f():
            print("snow \\u2603 man")
            return 5
        print(f())
        """,
        env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert printed.endswith("5\n")
    assert "snow" in printed
    assert "man" in printed


def test_capture_is_in_the_report_and_not_on_the_screen(capsys: Any) -> None:
    with sandbox(output="capture") as box:
        box.call(say())
        box.call(lambda: os.write(1, b"\x1b\xff"))
        report = box.report()
    assert report.stdout == b"to stdout\nno newline\x1b\xff"
    assert report.stderr == b"to stderr\n"
    assert (report.stdout_bytes, report.stderr_bytes) == (len(report.stdout), len(report.stderr))
    assert capsys.readouterr() == ("", "")


def test_capture_is_in_the_report_of_errors(capsys: Any) -> None:
    def fail() -> None:
        print("last words")
        os.abort()

    with pytest.raises(Crashed) as caught:
        run(fail, output="capture")
    assert caught.value.report.stdout == b"last words\n"
    assert capsys.readouterr() == ("", "")


def test_discard(capsys: Any) -> None:
    assert run(say(), output="discard") == "done"
    assert capsys.readouterr() == ("", "")


def test_callable_gets_stream_and_bytes(capsys: Any) -> None:
    parts: list[tuple[str, bytes]] = []
    run(say(), output=lambda stream, data: parts.append((stream, data)))
    assert {stream for stream, _ in parts} == {"stdout", "stderr"}
    assert b"".join(data for stream, data in parts if stream == "stdout") == b"to stdout\nno newline"
    assert b"".join(data for stream, data in parts if stream == "stderr") == b"to stderr\n"
    assert capsys.readouterr() == ("", "")


def test_a_callable_that_raises_ends_the_call_with_its_own_error() -> None:
    def refuse(stream: str, data: bytes) -> None:
        raise LookupError(stream)

    with pytest.raises(LookupError):
        run(say(), output=refuse)
    assert run(len, "abc") == 3


def test_output_of_functions_that_fail_or_crash_or_hang_arrives(capsys: Any) -> None:
    def speak(how: str) -> None:
        import time

        print("before", how)
        if how == "raise":
            raise ValueError
        if how == "exit":
            os._exit(3)
        if how == "abort":
            os.abort()
        time.sleep(60)

    for how, error in (("raise", ValueError), ("exit", Crashed), ("abort", Crashed), ("hang", TimedOut)):
        with pytest.raises(error):
            run(speak, how, timeout=3 if how == "hang" else None)
        assert capsys.readouterr().out == f"before {how}\n"


@pytest.mark.parametrize("output", ["relay", "capture", "discard", lambda stream, data: None], ids=str)
def test_too_much_output_ends_the_call(output: Any, capsys: Any) -> None:
    def flood() -> None:
        for _ in range(320):
            os.write(1, b"x" * (1 << 16))

    with pytest.raises(LimitExceeded) as caught:
        run(flood, output=output, limits=Limits(output="1M"))
    error = caught.value
    assert (error.limit, error.allowed) == ("output", 1 << 20)
    assert error.used > 1 << 20
    assert len(capsys.readouterr().out) <= 1 << 20


def test_both_streams_count_together() -> None:
    def speak(each: int) -> None:
        os.write(1, b"x" * each)
        os.write(2, b"x" * each)

    run(speak, 30_000, output="discard", limits=Limits(output=60_000))
    with pytest.raises(LimitExceeded):
        run(speak, 30_001, output="discard", limits=Limits(output=60_000))


def test_twenty_megabytes_within_the_limit_never_block_the_worker() -> None:
    def flood() -> int:
        total = 0
        for _ in range(320):
            total += os.write(1, b"x" * (1 << 15)) + os.write(2, b"y" * (1 << 15))
        return total

    counts = {"stdout": 0, "stderr": 0}

    def count(stream: str, data: bytes) -> None:
        counts[stream] += len(data)

    assert run(flood, output=count, limits=Limits(output="32M"), timeout=60) == 20 << 20
    assert counts == {"stdout": 10 << 20, "stderr": 10 << 20}


def test_output_of_threads_and_at_exit(capsys: Any) -> None:
    def speak() -> None:
        import threading

        threads = [threading.Thread(target=print, args=(f"thread {number}\n",), kwargs={"end": ""}) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run(speak)
    assert sorted(capsys.readouterr().out.splitlines()) == [f"thread {number}" for number in range(5)]


def test_a_function_may_close_or_replace_its_streams(capsys: Any) -> None:
    def close() -> int:
        print("said")
        sys.stdout.close()
        sys.stderr = None  # type: ignore[assignment]
        return 1

    def descriptors() -> int:
        os.write(1, b"first\n")
        os.close(1)
        os.close(2)
        return 2

    assert run(close) == 1
    assert run(descriptors) == 2
    assert capsys.readouterr().out == "said\nfirst\n"


def test_logging_and_warnings_reach_the_caller(caplog: Any) -> None:
    def speak() -> None:
        import logging
        import warnings

        logging.warning("logged")
        warnings.warn("warned", stacklevel=1)

    with pytest.warns(UserWarning, match="warned"):
        run(speak)
    assert [record.getMessage() for record in caplog.records] == ["logged"]


def test_a_caller_without_streams_still_gets_the_result(tmp_path: Any) -> None:
    script = (
        "import os\nfrom isolate_fn import isolated\n"
        "@isolated\ndef f():\n    print('lost')\n    return 7\n"
        f"open({str(tmp_path / 'result')!r}, 'w').write(str(f()))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = ["sh", "-c", f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-', script]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "7"

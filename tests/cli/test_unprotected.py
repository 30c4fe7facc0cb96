"""The unprotected side: it tells how a call ended, and bounds what an attack may take."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from isolate_fn.cli import unprotected, victims


def call(name: str, *arguments: object, directory: Path, timeout: float = 30) -> unprotected.Ended:
    return unprotected.call(name, arguments, directory=str(directory), timeout=timeout)


def test_result_and_exception(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<a>hello</a>")
    ended = call("read_xml_with_expat", str(tmp_path / "text"), directory=tmp_path)
    assert (ended.result, ended.error, ended.signal) == ("hello", "", 0)
    assert ended.peak_memory > 1024 * 1024
    ended = call("read_xml_with_expat", str(tmp_path / "absent"), directory=tmp_path)
    assert ended.error.startswith("FileNotFoundError: ")


def pickled(tmp_path: Path, code: str) -> str:
    path = tmp_path / "code.pickle"
    path.write_bytes(b"cbuiltins\nexec\nV" + code.encode() + b"\n\x85R.")
    return str(path)


def test_killed_by_a_signal(tmp_path: Path) -> None:
    ended = call("read_pickle", pickled(tmp_path, "import os; os.abort()"), directory=tmp_path)
    assert ended.signal == 6
    assert not list(tmp_path.glob("core*"))


def test_left_without_a_word(tmp_path: Path) -> None:
    ended = call("read_pickle", pickled(tmp_path, "import os; os._exit(7)"), directory=tmp_path)
    assert "status 7" in ended.error


def test_timeout_ends_the_children_too(tmp_path: Path) -> None:
    code = (
        "import subprocess; sleeper = subprocess.Popen(['sleep', '77']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(sleeper.pid)); sleeper.wait()"
    )
    started = time.monotonic()
    ended = call("read_pickle", pickled(tmp_path, code), directory=tmp_path, timeout=3)
    assert ended.timed_out
    assert time.monotonic() - started < 10
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


def test_disk_and_memory_are_bounded(tmp_path: Path) -> None:
    ended = call(
        "read_pickle",
        pickled(tmp_path, f"open('big', 'wb').write(bytes({unprotected.FILE_SIZE * 2}))"),
        directory=tmp_path,
    )
    assert "File too large" in ended.error
    assert (tmp_path / "big").stat().st_size <= unprotected.FILE_SIZE
    ended = call("read_pickle", pickled(tmp_path, f"bytearray({unprotected.ADDRESS_SPACE})"), directory=tmp_path)
    assert ended.error.startswith("MemoryError")


def test_the_caller_keeps_its_own_limits(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    call("run_tool", ["true"], directory=tmp_path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    assert os.getcwd() != str(tmp_path)


def test_tools_are_described(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert victims.run_tool(["sh", "-c", 'printf abc > "$0"', str(output)]) == "made a file of 3 bytes"
    assert victims.run_tool(["true", str(tmp_path / "absent")]) == "made no file"
    failed = victims.run_tool(["sh", "-c", "echo ignored >&2; echo /no/such/file: gone >&2; exit 3"])
    assert failed == "failed with status 3: file: gone"

"""What the interpreters that a first call waits for do not import: each of these takes longer than what is done with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from isolate_fn._runtime import loading
from isolate_fn._transport.json_text import dump_ascii

ROOT = Path(loading.__file__).parents[2]
HEAVY = {
    "collections", "contextlib", "ctypes", "enum", "functools", "importlib.util", "inspect", "json", "pickle", "re", "selectors",
    "signal", "socket", "typing",
}  # fmt: skip


def modules(code: str) -> set[str]:
    """Run code as the launcher does; return the names of all modules that are loaded by then."""
    start = f"import sys; sys.path.append({str(ROOT)!r})\n"
    command = [sys.executable, "-I", "-S", "-c", f"{start}{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split())


def test_the_first_stage_imports_next_to_nothing() -> None:
    found = modules("from isolate_fn._runtime import first_stage") - modules("import posix")
    others = {name for name in found if name.partition(".")[0] != "isolate_fn"}
    assert others == {"__future__", "_ctypes"}, others


def test_the_spawner_greets_without_what_only_isolates_need() -> None:
    found = modules("from isolate_fn._runtime import second_stage")
    assert not HEAVY & found
    assert not {name for name in found if name.startswith(("isolate_fn._transport", "isolate_fn._api"))}


def test_an_isolate_needs_little() -> None:
    found = modules(
        "from isolate_fn._runtime import init, serve, worker\nfrom isolate_fn._transport import codec_encode, failures_describe"
    )
    # _pickle, which reads every call, imports collections and functools by itself.
    assert HEAVY & found <= {"collections", "functools"}, HEAVY & found


def test_the_decorator_brings_nothing_that_acts() -> None:
    """A spawner has it loaded for the modules that use it; what starts spawners must not run there, after a fork least of all."""
    found = modules("from isolate_fn._runtime.loading import Loading\nLoading().needed()")
    assert "isolate_fn._api.decorator" in found
    assert not found & {f"isolate_fn._runtime.{name}" for name in ("launch", "lifetime", "pool", "spawner_client")}


def test_what_is_needed_is_loaded_by_the_interpreters_own_paths(tmp_path: Path) -> None:
    """A module to preload is found where the caller finds it; ours are not, whatever is called like one there."""
    (tmp_path / "functools.py").write_text("raise RuntimeError('the wrong one')")
    (tmp_path / "wanted.py").write_text("")
    found = modules(f"""
from isolate_fn._runtime.loading import Loading
loading = Loading()
loading.preload(("wanted",), [{str(tmp_path)!r}, *sys.path], later=False)
loading.often()
assert loading.complete
loading.often()
    """)
    assert {"wanted", "functools", "isolate_fn._runtime.serve", "isolate_fn._api.decorator", *loading._OFTEN.split()} <= found


@pytest.mark.parametrize(
    "value",
    [
        {"failed": ["step", "open 'a\udcff'", 2, "öß\u2028\x00\""], "notes": [], "n": None, "x": [1.5, -1e300, True]},
        {"nested": {"a": [[], {}]}, "big": 2**70},
    ],
)
def test_text_is_written_as_json_writes_it(value: object) -> None:
    assert dump_ascii(value) == json.dumps(value).encode()


def test_what_a_call_says_is_known_to_the_worker_beforehand() -> None:
    told = modules("""
from isolate_fn._runtime import serve
for trust in ("true", "false"):
    for encoders in ("true", "false"):
        for last in ("true", "false"):
            words = f'{{"trust_result": {trust}, "encoders": {encoders}, "last": {last}}}'.encode()
            assert serve._words[words] == (trust == "true", encoders == "true", last == "true", None)
    """)
    assert "json" not in told

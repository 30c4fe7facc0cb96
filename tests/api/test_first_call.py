"""What a script that makes one plain call loads: each module named here once cost it milliseconds for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

SCRIPT = """
    import sys
    before = set(sys.modules)  # the interpreter's own, and those of the environment's start-up files
    from measured import work
    from isolate_fn import isolated
    assert isolated({options})(work)(1) == {answer}
    print(*sorted(set(sys.modules) - before))
"""

# Of the standard library: slow to import, or made for what a plain call does not do.
NOT_OF_PYTHON = {"ast", "asyncio", "cloudpickle", "dataclasses", "difflib", "dis", "glob", "inspect", "logging", "mmap"} | {
    "binascii", "multiprocessing", "subprocess", "termios", "tokenize",
}  # fmt: skip

# Of ours: the vocabulary of rule sets, the compiler of filters, and what reads answers that are not plain.
NOT_OF_OURS = {
    *("policy.rule_sets", "policy.actions", "policy.comparisons", "policy.conditions", "policy.landlock_words"),
    *("_plan.bpf", "_plan.matchers", "_plan.narrowing", "_plan.rule_sets", "_plan.seccomp", "_plan.seccomp_arguments"),
    *("_plan.seccomp_base", "_plan.seccomp_grants", "_plan.seccomp_sockets", "_plan.verdicts", "_plan.emulator"),
    *("_sys.seccomp_constants", "_sys.numbers", "_transport.codec_decoder", "_transport.codec_decode_classes"),
    *("_transport.codec_decode_std", "_transport.codec_decode_values", "_transport.codec_encode", "_transport.memory"),
    *("_transport.failures_rebuild", "_transport.received", "_api.context", "_api.safety_context"),
}


@pytest.fixture
def loaded(run_python: Run, tmp_path: Path) -> Run:
    """Return a function that makes one call of the function given, and returns the names of what is loaded for it."""

    def run(function: str, options: str = "", answer: str = "2") -> str:
        (tmp_path / "measured.py").write_text(function)
        return run_python(SCRIPT.format(options=options, answer=answer))

    return run


@pytest.mark.parametrize("function", ["def work(x): return x + 1", "def work(x: int) -> int: return x + 1"])
def test_a_first_call_loads_little(loaded: Run, function: str) -> None:
    found = set(loaded(function).split())
    assert "isolate_fn._runtime.call" in found
    assert not found & NOT_OF_PYTHON
    assert not found & {f"isolate_fn.{name}" for name in NOT_OF_OURS}


@pytest.mark.parametrize(
    ("function", "options", "answer", "module"),
    [
        ("def work(x): return (x, x)", "", "(1, 1)", "isolate_fn._transport.codec_decode_std"),
        ("def work(x): return x + 1", "on_denied='kill'", "2", "isolate_fn._plan.seccomp_base"),
        ("def work(x) -> list[int]: return [x]", "", "[1]", "typing"),
        ("def work(x): return 'a' * (1 << 20)", "", "'a' * (1 << 20)", "isolate_fn._transport.memory"),
    ],
)
def test_what_is_needed_is_loaded(loaded: Run, function: str, options: str, answer: str, module: str) -> None:
    assert module in loaded(function, options, answer).split()

"""What a user writes, as a type checker sees it; nothing here is run.

mypy in strict mode must accept every line. Lines with `type: ignore[...]` must be errors:
warn_unused_ignores turns one that is accepted into a failure.
"""

from __future__ import annotations

import subprocess
from typing import assert_type

from isolate_fn import Enforcement, Limits, Policy, file, isolated, ro, rw, sandbox, symlink, tmpfs
from isolate_fn.dangerous import TrustResult
from isolate_fn.errors import Crashed, IsolationError, LimitExceeded, PolicyError, TimedOut
from isolate_fn.presets import READ_FILES


@isolated
def bare(path: str, *, size: int = 128) -> bytes:
    return path.encode()[:size]


@isolated(
    mounts=[
        ro("/data"),
        rw("/out", "/result"),
        tmpfs("/scratch", size="1M"),
        file("/a", b""),
        symlink("/b", "/a"),
        "/c",
    ],
    limits=Limits(memory="512M", cpu_time=1.5),
    timeout=10,
    env={"LANG": "C.UTF-8"},
    returns=(),
    raises=(ValueError,),
    accept=(TrustResult,),
    output="capture",
    name="configured",
)
def configured(number: int) -> list[int]:
    return [number]


@isolated(policy=READ_FILES, timeout=5)
def preset(number: int) -> str:
    return str(number)


class Parser:
    """Methods keep their signature too."""

    @isolated(timeout=1)
    def parse(self, text: str) -> dict[str, int]:
        return {text: len(text)}

    @staticmethod
    @isolated
    def static(text: str) -> int:
        return len(text)


def signatures_survive() -> None:
    assert_type(bare("x"), bytes)
    assert_type(bare("x", size=3), bytes)
    assert_type(configured(1), list[int])
    assert_type(preset(1), str)
    assert_type(Parser().parse("x"), dict[str, int])
    assert_type(Parser.static("x"), int)
    bare(1)  # type: ignore[arg-type]
    bare("x", 3)  # type: ignore[call-arg]
    configured("x")  # type: ignore[arg-type]
    Parser().parse(3)  # type: ignore[arg-type]


def attributes() -> None:
    assert_type(bare.policy, Policy)
    assert_type(bare.__wrapped__("x"), bytes)
    assert_type(bare.enforcement(), Enforcement)
    assert_type(bare.options(timeout=3)("x"), bytes)
    bare.warm_up(2)
    bare.close()


def block() -> None:
    with sandbox(mounts=["/data"], timeout=3) as box:
        assert_type(box.call(bare.__wrapped__, "x"), bytes)
        assert_type(box.call(len, "x"), int)
        assert_type(box.get("/tmp/x"), bytes)
        box.put("/tmp/x", b"")
        done: subprocess.CompletedProcess[str] = box.run(["true"], capture_output=True, text=True)
        assert_type(done.returncode, int)


def errors(error: IsolationError) -> None:
    assert_type(error.ran, bool)
    if isinstance(error, PolicyError):
        assert_type(error.field, str)
    if isinstance(error, Crashed):
        assert_type(error.signal, int | None)
    if isinstance(error, LimitExceeded):
        assert_type(error.limit, str)
    if isinstance(error, TimedOut):
        assert_type(error.timeout, float)


def policies() -> None:
    policy = Policy(timeout=3, mounts=("/data",))
    assert_type(policy.timeout, float | None)
    policy.timeout = 4  # type: ignore[misc]

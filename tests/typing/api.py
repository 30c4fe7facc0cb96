"""What a user writes, as a type checker sees it; nothing here is run.

mypy in strict mode must accept every line. Lines with `type: ignore[...]` must be errors:
warn_unused_ignores turns one that is accepted into a failure.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import IO, Any, BinaryIO, assert_type

from isolate_fn import (
    Answer,
    Enforcement,
    Host,
    IsolatedExecutor,
    Learning,
    Limits,
    Policy,
    Seen,
    doctor,
    file,
    isolated,
    learn,
    ro,
    rw,
    sandbox,
    symlink,
    tmpfs,
    would,
)
from isolate_fn._api.popen import Popen
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


@isolated
def streamed(count: int) -> Iterator[int]:
    yield from range(count)


@isolated
def conversed(count: int) -> Generator[int, str, bool]:
    return (yield count) == "x"


@isolated(expose={"lookup": len, "limited": Host(len, calls=3, seconds=1.5)})
async def ticked(count: int) -> AsyncIterator[str]:
    yield str(count)


class Parser:
    """Methods keep their signature too."""

    @isolated(timeout=1)
    def parse(self, text: str) -> dict[str, int]:
        return {text: len(text)}

    @staticmethod
    @isolated
    def static(text: str) -> int:
        return len(text)

    @isolated
    async def fetch(self, number: int) -> list[int]:
        return [number]


@isolated(timeout=3)
async def later(path: str, *, size: int = 128) -> bytes:
    return path.encode()[:size]


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


def streams() -> None:
    assert_type(streamed(3), Iterator[int])
    assert_type(conversed(3), Generator[int, str, bool])
    assert_type(ticked(3), AsyncIterator[str])
    assert_type(list(streamed.options(timeout=3)(3)), list[int])
    conversed(3).send("x")
    conversed(3).send(3)  # type: ignore[arg-type]
    streamed("x")  # type: ignore[arg-type]
    Host(len, calls="x")  # type: ignore[arg-type]


def attributes() -> None:
    assert_type(bare.policy, Policy)
    assert_type(bare.__wrapped__("x"), bytes)
    assert_type(bare.enforcement(), Enforcement)
    assert_type(bare.options(timeout=3)("x"), bytes)
    bare.warm_up(2)
    bare.close()


def in_the_background() -> None:
    future: Future[bytes] = bare.submit("x", size=3)
    assert_type(future.result(), bytes)
    assert_type(future.cancel(), bool)
    assert_type(configured.map(range(3)), Iterator[list[int]])
    assert_type(configured.map([1], [2], timeout=3, chunksize=2), Iterator[list[int]])
    bare.submit(1)  # type: ignore[arg-type]
    bare.submit("x", 3)  # type: ignore[call-arg]
    configured.map(3)  # type: ignore[arg-type]


def prepare_worker(name: str) -> None:
    print(name)


def executor() -> None:
    with IsolatedExecutor(4, initializer=prepare_worker, initargs=("x",), policy=READ_FILES, reuse=True, timeout=3) as pool:
        assert_type(pool, IsolatedExecutor)
        assert_type(pool.submit(bare.__wrapped__, "x", size=3), Future[bytes])
        assert_type(pool.submit(len, "x").result(), int)
        assert_type(pool.map(len, ["x"], timeout=3, chunksize=2), Iterator[int])
        assert_type(pool.policy, Policy)
        pool.submit(len)  # type: ignore[call-arg]
        pool.shutdown(wait=False, cancel_futures=True)
    anywhere: Executor = IsolatedExecutor()
    assert_type(anywhere.submit(configured.__wrapped__, 3).result(), list[int])
    IsolatedExecutor("4")  # type: ignore[arg-type]
    IsolatedExecutor(4, prepare_worker)  # type: ignore[call-arg]


async def awaiting() -> None:
    assert_type(await bare.call_async("x", size=3), bytes)
    assert_type(await later("x"), bytes)
    pending: Coroutine[Any, Any, bytes] = later("x")
    assert_type(await pending, bytes)
    assert_type(await later.call_async("x", size=3), bytes)
    assert_type(await later.options(timeout=4)("x"), bytes)
    assert_type(await Parser().parse.call_async("x"), dict[str, int])
    assert_type(await Parser().fetch(1), list[int])
    assert_type(await Parser().fetch.call_async(1), list[int])
    assert_type(Parser().parse.options(timeout=2)("x"), dict[str, int])
    await bare.call_async(1)  # type: ignore[arg-type]
    await later(1)  # type: ignore[arg-type]
    await Parser().fetch("x")  # type: ignore[arg-type]
    async with sandbox(timeout=3) as box:
        assert_type(await box.call_async(bare.__wrapped__, "x"), bytes)
        assert_type(await box.call_async(later.__wrapped__, "x"), bytes)
        assert_type(box.call(later.__wrapped__, "x"), bytes)
        assert_type(await box.call_async(len, "x"), int)
        assert_type(box.get("/tmp/x"), bytes)


def block() -> None:
    with sandbox(mounts=["/data"], timeout=3) as box:
        assert_type(box.call(bare.__wrapped__, "x"), bytes)
        assert_type(box.call(len, "x"), int)
        assert_type(box.submit(len, "x"), Future[int])
        assert_type(box.get("/tmp/x"), bytes)
        box.put("/tmp/x", b"")
        done: subprocess.CompletedProcess[str] = box.run(["true"], capture_output=True, text=True)
        assert_type(done.returncode, int)
        box.run(["cat"], input=(b"piece" for _ in range(3)))
        with open("/data", "rb") as data:
            box.run(["cat"], input=data)


def programs() -> None:
    with sandbox() as box, box.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert_type(cat, Popen[bytes])
        assert_type(cat.stdout, IO[bytes] | None)
        assert_type(cat.communicate(b"x", timeout=3), tuple[bytes, bytes])
        assert_type(cat.wait(3), int)
        assert_type(cat.poll(), int | None)
        assert_type(box.popen(["cat"], stdin=cat.stdout, text=True), Popen[str])
        assert_type(box.popen(["cat"], encoding="latin-1"), Popen[str])
        box.popen("cat file")  # a str is a sequence of str: refused when it runs
        box.popen(["cat"], shell=True)  # type: ignore[call-overload]


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


def machines() -> None:
    diagnosis = doctor()
    assert_type(diagnosis.works, bool)
    assert_type(diagnosis.enforcement, Enforcement | None)
    assert_type([check.fix for check in diagnosis.problems], list[str])
    diagnosis.engine = "none"  # type: ignore[misc]


@isolated
def thumbnail(path: Path, file: BinaryIO | None = None) -> bytes:
    return path.read_bytes() + (file.read() if file else b"")


# A mount word stands for the path that the function receives, and an open file for itself.
assert_type(thumbnail(ro("/uploads/a.png")), bytes)
assert_type(thumbnail(path=rw("/uploads/a.png"), file=open("/uploads/b.png", "rb")), bytes)
thumbnail(tmpfs("/scratch"))  # type: ignore[arg-type]
thumbnail("/uploads/a.png")  # type: ignore[arg-type]
bare(ro("/uploads/a.png"))  # type: ignore[arg-type]
Policy(mounts=(ro("/data"), rw("/out")))


@isolated(policy="READ_FILES", timeout=5)
def by_name(path: str) -> int:
    return len(path)


def policies_in_files() -> None:
    policy = Policy.from_toml(Path("policy.toml"), "name")
    assert_type(policy, Policy)
    assert_type(policy.to_toml(), str)
    assert_type(by_name("x"), int)
    assert_type(by_name.explain(), str)
    assert_type(would(by_name, "open", "/etc/passwd"), Answer)
    assert_type(would(policy, "run", "true", program=True).errno, int)
    assert_type(bool(would("READ_FILES", "syscall", "ptrace", 16, 1)), bool)
    sandbox(policy="TOOLS")
    IsolatedExecutor(policy="COMPUTE")
    isolated(policy=3)  # type: ignore[call-overload]


def learned(path: str) -> None:
    with learn(scratch=["/srv/out"]) as seen:
        assert_type(seen.call(by_name, path), int)
        assert_type(seen, Learning)
    assert_type(seen.policy, Policy)
    assert_type(seen | Seen.load("seen.json"), Seen)
    assert_type(seen.unused(seen.policy), tuple[str, ...])
    learn(nett=True)  # type: ignore[call-arg]

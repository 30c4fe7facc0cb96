"""``isolate-fn learn``: run a program or call a function, and print the smallest policy under which it works.

What it runs writes to stderr, so that stdout has the policy alone.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from isolate_fn import Learning, Policy, Seen, learn
from isolate_fn.cli.ending import EXIT_SIGNALLED, Ended, orderly
from isolate_fn.cli.policies import absolute, policy_named, said
from isolate_fn.cli.progress import progress
from isolate_fn.cli.terminal import harmless
from isolate_fn.errors import IsolationError, PolicyError

EXIT_UNUSED = EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TIMEOUT, EXIT_ISOLATION, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 124, 125, 126, 127  # as `isolate-fn run`
_PERMITS = (
    "inside, the host's files can be read but for those with secrets, programs can be started, {network}; "
    "nothing of the host's can be changed{writable}"
)


class _Usage(Exception):
    """The command line makes no sense; the message says why."""


def run(options: argparse.Namespace) -> int:
    """Learn; return the exit status."""
    try:
        with orderly():
            return _run(options)
    except Ended as ended:
        return _say(f"ended by {ended.signal.name}", EXIT_SIGNALLED + ended.signal)
    except _Usage as wrong:
        return _say(str(wrong), EXIT_USAGE)
    except PolicyError as error:
        return _say(said(error), EXIT_USAGE)
    except IsolationError as error:
        return _say(said(error), EXIT_ISOLATION)
    except OSError as error:
        return _say(str(error), EXIT_FAILED)


def _run(options: argparse.Namespace) -> int:
    words = options.what
    if options.script is not None:
        _look_for(options.script)
    checked = _checked(options.check) if options.check else None
    seen, status = None, 0
    if words:
        seen, status = _learned(options, words)
    for path in options.merge:
        before = Seen.load(path)
        seen = before if seen is None else seen | before
    if seen is None:
        raise _Usage("name a program after --, MODULE:FUNCTION, or files by --merge")
    if options.save:
        seen.save(options.save)
    if checked is not None:
        found = _check(seen, checked)  # also of a run that has failed
        return status or found
    _print(seen, options.form)
    return status


def _look_for(script: str) -> None:
    """Find out that a script is missing before anything is learned: its own errors are another matter."""
    try:
        os.stat(script)
    except OSError as error:
        raise _Usage(f"--script {harmless(script)}: {error.strerror}") from error


def _say(text: str, status: int) -> int:
    print(f"isolate-fn learn: {text}", file=sys.stderr)
    return status


def _learned(options: argparse.Namespace, words: list[str]) -> tuple[Seen, int]:
    network = "the network can be reached" if options.net else "there is no network"
    writable = f" but {', '.join(map(harmless, options.rw))}" if options.rw else ""
    _say(_PERMITS.format(network=network, writable=writable), 0)
    if options.allow:
        _say(f"secrets in {', '.join(map(harmless, options.allow))} can be read", 0)
    env = dict(_variable(entry) for entry in options.env)
    settings: dict[str, Any] = {name: getattr(options, name) for name in ("net", "rw", "scratch", "allow", "timeout", "trim")}
    base = Policy(env=env)
    with progress("learn") as step, learn(base, say=_saying(step), output=_output, **settings) as seen:
        step(words[-1] if words[0] == "--" and len(words) == 1 else words[words[0] == "--"])
        program = words[0] == "--"
        status = _program(seen, words[1:], options.trim) if program else _function(seen, words, options.script)
    return seen, status


def _output(stream: str, data: bytes) -> None:
    """Pass on what is written inside, made harmless: stdout is for the policy."""
    text = data.decode("utf-8", "replace")
    sys.stderr.write("".join(each if each in "\n\t" else harmless(each) for each in text))


def _saying(step: Callable[[str], None]) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        step(sentence)
        if not sys.stderr.isatty():
            _say(harmless(sentence), 0)

    return say


def _variable(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals and name not in os.environ:
        raise PolicyError("--env", f"there is no variable {name!r} here", f"write --env {name}=VALUE")
    return name, value if equals else os.environ[name]


# --- a program ---------------------------------------------------------------------------------------------------------


def _program(seen: Learning, argv: list[str], trim: bool) -> int:
    if not argv:
        raise _Usage("no program; write isolate-fn learn -- CMD")

    def act(box: Any) -> tuple[int, bytes, bytes]:
        given = sys.stdin if not rounds and _can_be_read(0) else None  # what was read is gone
        done = box.run(argv, stdin=given, capture_output=trim)
        for text in (done.stdout or b"", done.stderr or b"") if not rounds else ():
            _output("", text)
        rounds.append(None)
        return done.returncode, done.stdout, done.stderr

    rounds: list[None] = []
    try:
        code = seen.within(argv, act)[0]
    except subprocess.TimeoutExpired as over:
        return _say(f"{harmless(argv[0])}: its time of {over.timeout:g} seconds was over", EXIT_TIMEOUT)
    except (FileNotFoundError, PermissionError) as error:
        missing = isinstance(error, FileNotFoundError)
        return _say(f"{harmless(argv[0])}: {error.strerror}", EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE)
    if code:
        name = signal.Signals(-code).name if code < 0 else str(code)
        _say(f"{harmless(argv[0])} ended with {name}; the policy is of what it did until then", 0)
    return code if code >= 0 else EXIT_SIGNALLED - code


def _can_be_read(number: int) -> bool:
    try:
        return not os.isatty(number) and os.fstat(number) is not None
    except OSError:
        return False


# --- a function --------------------------------------------------------------------------------------------------------


def _function(seen: Learning, words: list[str], script: str | None) -> int:
    module, _, name = words[0].partition(":")
    function = _named(words[0])
    try:
        if script is None:
            arguments, named = _arguments(words[1:])
            result = seen.call(function, *arguments, **named)
            print(f"{words[0]} returned {harmless(repr(result))[:300]}", file=sys.stderr)
        else:
            with _learning_in_place(sys.modules[module], name, function, seen):
                runpy.run_path(script, run_name="__main__")
    except IsolationError:
        raise
    except Exception as error:
        text = harmless(str(error))[:300]
        return _say(f"{words[0]} raised {type(error).__name__}: {text}; the policy is of what it did until then", EXIT_FAILED)
    return 0


def _named(text: str) -> Any:
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise _Usage(f"{text!r} is not MODULE:FUNCTION; a program is written after --")
    here = absolute(os.curdir)
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does; isolates import from there as well
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise _Usage(f"{text}: {error}") from error
    return found


@contextlib.contextmanager
def _learning_in_place(module: Any, name: str, function: Any, seen: Learning) -> Iterator[None]:
    """Let whoever calls a function of a module call it under `learn`."""
    owner = module
    *above, last = name.split(".")
    for part in above:
        owner = getattr(owner, part)

    def learning(*arguments: Any, **named: Any) -> Any:
        return seen.call(function, *arguments, **named)

    setattr(owner, last, learning)
    try:
        yield
    finally:
        setattr(owner, last, function)


def _arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments: JSON, Python literals, anything else is text."""
    arguments, named = [], {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            named[name] = _value(value)
        else:
            arguments.append(_value(word))
    return arguments, named


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


# --- what is printed ---------------------------------------------------------------------------------------------------


def _print(seen: Seen, form: str) -> None:
    if form == "json":
        print(seen.json())
        return
    if form == "toml":
        print(seen.toml(), end="")
        return
    runs = "1 run" if seen.runs == 1 else f"{seen.runs} runs"
    print(f"# learned of {runs}; most used: {_peaks(seen)}")
    for flag in seen.flags:
        print(f"# {'!' if flag.kind == 'secret' else '-'} {flag}")
    if not seen.program:
        print(f"\n{seen.imports()}\n\n{seen.decorator()}")
    try:
        toml = "".join(line for line in seen.toml().splitlines(keepends=True) if not line.startswith("#"))
    except PolicyError as error:
        toml = f"# {error.field}: {harmless(error.problem)}\n"
    print(f"\n# as TOML\n{toml}", end="")


def _peaks(seen: Seen) -> str:
    sizes = {"memory": "memory", "disk": "on its own disk", "output": "output", "written": "written"}
    counts = {"processes": "processes", "open_files": "open files", "cpu_seconds": "s of processor time", "wall_seconds": "s"}
    parts = [f"{_size(seen.peaks[name])} {word}" for name, word in sizes.items() if seen.peaks.get(name)]
    return ", ".join(parts + [f"{seen.peaks[name]:g} {word}" for name, word in counts.items() if seen.peaks.get(name)])


def _size(count: float) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.0f} {unit}"
    return f"{count:.0f} B"


def _checked(text: str) -> Policy:
    """Return the policy to check: a file or a name, or that of a decorated function."""
    module, colon, name = text.partition(":")
    if colon and not module.endswith(".toml") and os.sep not in module:
        found = getattr(_named(f"{module}:{name}"), "policy", None)
        if not isinstance(found, Policy):
            raise _Usage(f"--check {text}: it is not a function decorated with @isolated")
        return found
    return policy_named(text)


def _check(seen: Seen, policy: Policy) -> int:
    found = seen.unused(policy)
    for sentence in found:
        print(harmless(sentence))
    if not found:
        print("every grant was used", file=sys.stderr)
    return EXIT_UNUSED if found else 0

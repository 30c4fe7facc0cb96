"""``isolate-fn run``: one program inside walls, from the shell.

Its input is the command's own. Its output comes through pipes: where it goes to a file or a pipe it is copied byte by
byte and not counted, on a terminal it is made harmless and counts for ``limits.output``. So the program never holds a
file or terminal of the caller's for writing.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import stat
import subprocess
import sys
import threading
from typing import IO, Any

from isolate_fn import Limits, Policy, ro, rw, sandbox
from isolate_fn.cli.policies import absolute, policy_named, said
from isolate_fn.errors import IsolationError, PolicyError

EXIT_USAGE = 2
EXIT_TIMEOUT = 124  # as timeout(1)
EXIT_ISOLATION = 125  # as docker-run(1), env(1): the wrapper itself failed
EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127  # as a shell
_SIGNALLED = 128
_CHUNK = 1 << 16


def run(options: argparse.Namespace) -> int:
    """Run the program; return the exit status."""
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        print("isolate-fn run: no program; write isolate-fn run -- CMD", file=sys.stderr)
        return EXIT_USAGE
    try:
        return _in_sandbox(_policy(options), argv)
    except subprocess.TimeoutExpired as over:
        print(f"isolate-fn run: {argv[0]}: its time of {over.timeout:g} seconds was over", file=sys.stderr)
        return EXIT_TIMEOUT
    except IsolationError as error:
        print(f"isolate-fn run: {said(error)}", file=sys.stderr)
        return EXIT_ISOLATION


def _policy(options: argparse.Namespace) -> Policy:
    base = policy_named(options.policy or "TOOLS")
    mounts = [make(absolute(path)) for make, paths in ((ro, options.ro), (rw, options.rw)) for path in paths]
    changes: dict[str, Any] = {"mounts": (*base.mounts, *mounts), "env": {**base.env, **_variables(options.env)}}
    if options.net:
        changes["network"] = True
    if options.timeout is not None:
        changes["timeout"] = options.timeout
    if options.memory is not None:
        kept = {name: getattr(base.limits, name) for name in Limits.__annotations__}
        changes["limits"] = Limits(**{**kept, "memory": options.memory})
    return Policy.from_options(base, **changes)


def _variables(given: list[str]) -> dict[str, str]:
    found = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals and name not in os.environ:
            raise PolicyError("--env", f"there is no variable {name!r} here", f"write --env {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def _in_sandbox(policy: Policy, argv: list[str]) -> int:
    _fill_standard_streams()
    lost: dict[int, OSError] = {}
    piped = [None if os.isatty(number) else subprocess.PIPE for number in (1, 2)]
    with sandbox(policy=policy) as box:
        given = _for_reading(0)
        try:
            program = box.popen(argv, stdin=given, stdout=piped[0], stderr=piped[1])
        except (FileNotFoundError, PermissionError) as error:
            print(f"isolate-fn run: {argv[0]}: {error.strerror}", file=sys.stderr)
            return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
        copies = [
            threading.Thread(target=_copy, args=(pipe, number, lost), daemon=True)
            for pipe, number in ((program.stdout, 1), (program.stderr, 2))
            if pipe is not None
        ]
        for copy in copies:
            copy.start()
        code = program.wait(policy.timeout)
        for copy in copies:
            copy.join()
    if lost:
        return _lost(argv[0], lost)
    return code if code >= 0 else _SIGNALLED - code


def _copy(pipe: IO[bytes], number: int, lost: dict[int, OSError]) -> None:
    """Copy until the program's end, or until no more can be written: then ours of the pipe goes, and the program gets SIGPIPE.

    Args:
        pipe: what the program writes to.
        number: where it goes.
        lost: gets the reason where it could not go there. That nobody reads any more is none: the reader wanted no more.
    """
    with pipe:
        while data := os.read(pipe.fileno(), _CHUNK):
            try:
                _write(number, data)
            except BrokenPipeError:
                return
            except OSError as error:
                lost[number] = error
                return


def _write(number: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(number, rest) :]
        except BlockingIOError:  # whoever shares it with us has made it O_NONBLOCK
            select.select([], [number], [])


def _lost(program: str, lost: dict[int, OSError]) -> int:
    """Say that output of the program went nowhere; return the status, whatever the program's was."""
    for number, error in lost.items():
        stream = {1: "output", 2: "errors"}[number]
        said = f"isolate-fn run: {program}: its {stream} could not be written: {error.strerror}; the rest is lost\n"
        with contextlib.suppress(OSError):  # standard error may be what cannot be written
            _write(2, said.encode(errors="backslashreplace"))
    return EXIT_ISOLATION


def _for_reading(number: int) -> int:
    """Return a descriptor of the same file that can only be read: a terminal's input is mostly open for writing as well."""
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return number
    try:
        again = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a socket: both ways are one
        return number
    if stat.S_ISREG(os.fstat(number).st_mode):
        os.lseek(again, os.lseek(number, 0, os.SEEK_CUR), os.SEEK_SET)
    return again


def _fill_standard_streams() -> None:
    """Put /dev/null where the caller has closed a standard stream: what is opened next would take its number otherwise."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)

"""A caller and a worker as plain processes: what the way in does needs no walls to be shown."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import isolate_fn

REPOSITORY = str(Path(next(iter(isolate_fn.__path__))).parent)

# Imported by the caller's scripts. `send` writes the call down as the parent would; `Isolated` is a decorator
# with the traits of ours that the way in relies on, and nothing else.
HARNESS = """
import functools, os, pickle, types
from isolate_fn._transport.calls import encode_call, function_part, function_reference, unbind

_known = set()

def send(function, *args, **kwargs):
    function, args, kwargs = unbind(function, args, kwargs)
    reference = function_reference(function)
    known = reference.function in _known
    _known.add(reference.function)
    part = b"" if known else function_part(reference)
    call = encode_call(reference, args, kwargs)
    with open(os.environ["CALLS"], "ab") as file:
        pickle.dump((part, call.arguments, [bytes(buffer) for buffer in call.buffers]), file)
    return reference, types.SimpleNamespace(payload=part + call.arguments, buffers=call.buffers)

class Isolated:
    __isolate_fn__ = True

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        raise AssertionError("the decorator was called, not the function behind it")

    def __get__(self, instance, owner=None):
        import types
        return self if instance is None else types.MethodType(self, instance)
"""

WORKER = """
import os, pickle, sys
sys.path[:] = sys.argv[1].split(os.pathsep)
from isolate_fn._transport.received import load_arguments, load_function
from isolate_fn.errors import CallRejected

function = None
with open(os.environ["CALLS"], "rb") as file:
    while file.peek(1):
        part, arguments, buffers = pickle.load(file)
        try:
            if part:
                function = load_function(part)
            args, kwargs = load_arguments(arguments, [bytearray(buffer) for buffer in buffers])
        except CallRejected as error:
            print("rejected", error.what, error.problem, error.remedy, sep=" | ")
            continue
        try:
            print(repr(function(*args, **kwargs)))
        except Exception as error:
            print(type(error).__name__, error)
"""


class Project:
    """A user's project in a temporary directory, with the modules that a test writes into it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.calls = directory / "calls"
        self.write("harness.py", HARNESS)
        self.write("worker.py", WORKER)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def call(self, program: str | list[str], *paths: Path) -> str:
        """Run the caller: a script's text, or arguments for the interpreter. Returns what it prints."""
        self.calls.unlink(missing_ok=True)
        if isinstance(program, str):
            program = [str(self.write("script.py", program))]
        return self._run(program, [self.directory, *paths])

    def serve(self, *paths: Path | str) -> str:
        """Run the worker on what the caller wrote. It imports from `paths`, by default from the project."""
        inside = [
            REPOSITORY,
            *(path for path in sys.path if "site-packages" in path),
            *map(str, paths or [self.directory]),
        ]
        standard = [path for path in sys.path if path and path != REPOSITORY and "site-packages" not in path]
        arguments = ["-I", "-S", str(self.directory / "worker.py"), os.pathsep.join([*inside, *standard])]
        return self._run(arguments, [])

    def both(self, program: str) -> str:
        """Run the caller, then the worker. Returns what the worker prints."""
        self.call(program)
        return self.serve()

    def _run(self, arguments: list[str], paths: list[Path]) -> str:
        environment = {
            "CALLS": str(self.calls),
            "PYTHONPATH": os.pathsep.join([*map(str, paths), REPOSITORY]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)

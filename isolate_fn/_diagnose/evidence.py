"""What the doctor's judgements rest on, gathered once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from isolate_fn._plan.remedies import Seen
from isolate_fn._runtime import refusal
from isolate_fn._runtime.executable import find_interpreter
from isolate_fn._sys import places
from isolate_fn._sys.features import Features, probe
from isolate_fn._sys.host_files import HostFiles
from isolate_fn.errors import Unsupported

_TRIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tries.py")
_SECONDS = 60.0


class Evidence(NamedTuple):
    """What was found out.

    Attributes:
        features: the probe's, narrowed by ``ISOLATE_FN_PRETEND``.
        files: the machine's files.
        places: where it runs.
        seen: what remedies go by.
        tries: what `isolate_fn._diagnose.tries` told, by name; empty where it could not be run.
        untried: why it could not.
        interpreter: the executable that isolates are started with, empty for none.
        no_interpreter: why there is none.
        temporary: the directory for temporary files, empty for none.
    """

    features: Features
    files: HostFiles
    places: tuple[places.Place, ...]
    seen: Seen
    tries: dict[str, Any]
    untried: str = ""
    interpreter: str = ""
    no_interpreter: Unsupported | None = None
    temporary: str = ""

    def tried(self, name: str) -> dict[str, Any]:
        """Return what a try told; one that failed for an unknown reason where it was not made."""
        told: dict[str, Any] = self.tries.get(name, {"ok": False, "call": "", "errno": 0, "text": self.untried})
        return told

    @property
    def namespaces(self) -> bool:
        """Whether isolates can have namespaces, as far as tries tell; without, they are of the engine 'landlock'."""
        tried = self.tried("user")["ok"] and self.tried("mounts")["ok"]
        return self.features.privileged or (self.features.userns and bool(tried))


def gather(files: HostFiles | None = None) -> Evidence:
    """Look at this machine.

    Args:
        files: its files; others only in tests.

    Raises:
        PolicyError: ``ISOLATE_FN_PRETEND`` names a feature that does not exist.
    """
    files = files or HostFiles()
    features = probe()
    interpreter, no_interpreter = "", None
    try:
        interpreter = find_interpreter()
    except Unsupported as error:
        no_interpreter = error
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        temporary = ""
    tries, untried = (
        _try(interpreter, features, temporary) if interpreter else ({}, "there is no interpreter to try with")
    )
    return Evidence(
        features=features,
        files=files,
        places=places.recognise(files),
        seen=refusal.look(files, interpreter=interpreter or sys.executable)._replace(privileged=features.privileged),
        tries=tries,
        untried=untried,
        interpreter=interpreter,
        no_interpreter=no_interpreter,
        temporary=temporary,
    )


def _try(interpreter: str, features: Features, temporary: str) -> tuple[dict[str, Any], str]:
    """Run the tries; return what they told, or why they could not be run."""
    paths = sorted({os.path.dirname(_TRIES), *([temporary] if temporary else [])})
    command = [interpreter, "-I", "-S", _TRIES, "host" if features.privileged else "own", *paths]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL, cwd="/",
            env={name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")},
        )  # fmt: skip
        return json.loads(told.stdout), ""
    except (OSError, subprocess.SubprocessError) as failure:
        return {}, f"a process to try it in could not be started: {failure}"
    except ValueError:
        lines = told.stderr.strip().splitlines() or [f"it ended with {told.returncode}"]
        return {}, f"the process that tries it failed: {lines[-1]}"


def named(number: int) -> str:
    """Return an errno for people: ``"EPERM, Operation not permitted"``."""
    return f"{errno.errorcode.get(number, number)}, {os.strerror(number)}"


def how(told: dict[str, Any]) -> str:
    """Say how a try failed."""
    if told.get("signal"):
        return f"the process that tried it was killed by signal {told['signal']}"
    if told.get("errno"):
        return f"{told['call'] or 'a call'}: {named(told['errno'])}"
    return str(told["text"])

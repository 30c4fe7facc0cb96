"""Processes outside that attacks are aimed at, and the simulated containers."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
for _path in (HERE, HERE.parent / "attacks"):
    if str(_path) not in sys.path:
        sys.path.append(str(_path))
if "support" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("support", HERE.parent / "support.py")
    sys.modules["support"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["support"])

from in_a_process import script  # noqa: E402 - from the directory that was added


@pytest.fixture(scope="session")
def outside() -> Iterator[dict[str, Any]]:
    """Give services of the host that every user may reach: files, TCP, UDP, a socket file, an abstract name."""
    directory = Path(tempfile.mkdtemp(prefix="landlock-", dir="/var/tmp"))
    directory.chmod(0o1777)
    tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    path, abstract = (socket.socket(socket.AF_UNIX) for _ in range(2))
    name = f"isolate-fn-{os.getpid()}"
    tcp.bind(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    path.bind(f"{directory}/socket")
    (directory / "socket").chmod(0o777)
    abstract.bind(f"\0{name}")
    for each in (tcp, path, abstract):
        each.listen(64)
    with tcp, udp, path, abstract:
        yield {
            "directory": str(directory),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": f"{directory}/socket",
            "abstract": f"@{name}",
        }
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def run_simulated(outside: dict[str, Any]) -> Callable[..., Any]:
    """Return what `program.py` tells from behind a simulation, in which each is run once."""
    kept: dict[tuple[str, str], Any] = {}

    def run(simulation: str, pretend: str = "") -> Any:
        if (simulation, pretend) not in kept:
            spec = json.dumps({**outside, "bare": not pretend})
            kept[simulation, pretend] = json.loads(script(HERE / "program.py", simulation, spec, pretend=pretend))
        return kept[simulation, pretend]

    return run

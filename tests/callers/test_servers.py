"""Web servers as people run them: gunicorn with processes and threads, loaded before and after its forks; uvicorn."""

from __future__ import annotations

import ast
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

APPLICATION = """
import os
from isolate_fn import isolated, sandbox

@isolated
def fresh(n):
    return n * 2, os.getpid() < 20

@isolated(reuse=True)
def warm(n):
    return n + 1

def use(n):
    with sandbox() as box:
        return fresh(n), warm(n), warm(n), box.call(len, "abc"), os.getpid()

def app(environ, start_response):
    body = repr(use(int(environ["PATH_INFO"][1:]))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    import asyncio
    if scope["type"] == "http":
        body = repr(await asyncio.to_thread(use, int(scope["path"][1:]))).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
"""

# What a master does before its forks: everything.
USED_BEFORE = """
def when_ready(server):
    import application
    assert application.use(1)[:4] == ((2, True), 2, 2, 3)
    server.log.warning("used before the forks")

def post_fork(server, worker):
    assert len(os.listdir("/proc/self/task")) == 1
import os
"""


class _Connection(http.client.HTTPConnection):
    """HTTP by a unix socket, which no other program on the machine can be using."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def ask(path: str, n: int) -> Any:
    with contextlib.closing(_Connection(path)) as connection:
        connection.request("GET", f"/{n}")
        response = connection.getresponse()
        body = response.read()
    assert response.status == 200, body
    return ast.literal_eval(body.decode())


@pytest.fixture
def serve(tmp_path: Path, environment: dict[str, str], watched: Callable[..., list[str]]) -> Iterator[Callable[..., str]]:
    """Start a server, ask it often and from many sides, stop it, see that nothing of it is left; return what it said."""
    def serve(*words: str, stop: int = signal.SIGTERM) -> str:
        path = os.path.join(short, "socket")
        (tmp_path / "application.py").write_text(APPLICATION)
        log = tmp_path / "log"
        with log.open("wb") as output:
            watcher = subprocess.Popen(
                watched("", *(word.replace("SOCKET", path) for word in words)),
                cwd=tmp_path, env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not answers(path):
                assert watcher.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            with ThreadPoolExecutor(6) as clients:
                got = list(clients.map(lambda n: ask(path, n), range(18)))
            server = int(Path(f"/proc/{watcher.pid}/task/{watcher.pid}/children").read_text().split()[0])
            os.kill(server, stop)
            assert watcher.wait(60) in (0, 128 + stop), log.read_text()  # uvicorn ends itself by the signal that it was sent
        finally:
            watcher.kill()
            watcher.wait()
        assert [each[:4] for each in got] == [((2 * n, True), n + 1, n + 1, 3) for n in range(18)]
        return log.read_text()

    with tempfile.TemporaryDirectory(prefix="served-", dir="/tmp") as short:  # unix(7): 107 characters at most
        yield serve


def answers(path: str) -> bool:
    try:
        ask(path, 0)
    except OSError:
        return False
    return True


@pytest.mark.needs("module:gunicorn")
@pytest.mark.parametrize(
    "options",
    ["-k sync -w 2", "-k sync -w 2 --preload", "-k gthread -w 2 --threads 3", "-k gthread -w 2 --threads 3 --preload"],
)
def test_gunicorn(serve: Callable[..., str], tmp_path: Path, options: str) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(USED_BEFORE)
    said = serve("-m", "gunicorn", "-b", "unix:SOCKET", *options.split(), "application:app")
    assert "used before the forks" in said
    assert "Traceback" not in said


@pytest.mark.needs("module:gunicorn")
def test_gunicorn_replaces_workers(serve: Callable[..., str]) -> None:
    said = serve("-m", "gunicorn", "-b", "unix:SOCKET", "-w", "2", "--max-requests", "3", "application:app", stop=signal.SIGINT)
    assert "Autorestarting worker" in said
    # SIGINT ends gunicorn's workers where they are, and where that is the end of an answer it writes a traceback of its own.
    assert "isolate_fn/" not in said


@pytest.mark.needs("module:uvicorn")
def test_uvicorn(serve: Callable[..., str]) -> None:
    said = serve("-m", "uvicorn", "--uds", "SOCKET", "--log-level", "warning", "application:asgi")
    assert "Traceback" not in said


def test_a_server_of_the_standard_library(run: Run, tmp_path: Path) -> None:
    """socketserver with a fork for each connection: what the parent keeps ready is not the children's."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "server.py").write_text(
        textwrap.dedent("""
        import socket, socketserver, threading
        import application
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(repr(application.use(int(self.rfile.readline()))[:4]).encode())
        class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
            pass
        application.use(1)
        with Server("socket", Handler) as server:
            for n in range(4):
                client = socket.socket(socket.AF_UNIX)
                client.connect("socket")
                client.sendall(b"%d\\n" % n)
                server.handle_request()
                print(client.makefile().read())
        """)
    )
    assert run("", "server.py").splitlines() == [f"(({2 * n}, True), {n + 1}, {n + 1}, 3)" for n in range(4)]

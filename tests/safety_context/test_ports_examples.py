"""The examples of extrasafe and pyextrasafe, ported: each has the name that it has there, and the loopback for a network."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest


def test_no_files_allow_stdout(ok: Any, run: Any) -> None:
    done = run("""
    SafetyContext().enable(SystemIO().allow_stdout().allow_stderr()).apply_to_all_threads()
    try:
        open("should_not_be_created", "w")
    except PermissionError as error:
        print("denied:", error.errno)
    print("we can print to stdout!", flush=True)
    print("we can print to stderr!", file=sys.stderr)
    """)
    assert (done.returncode, done.stdout) == (0, "denied: 1\nwe can print to stdout!\n"), done.stderr
    assert done.stderr == "we can print to stderr!\n"


def test_time(ok: Any) -> None:
    printed = ok("""
    import datetime, time
    SafetyContext().enable(SystemIO().allow_stdout(), Time().allow_gettime()).apply_to_current_thread()
    print(time.time() > 0, time.process_time() > 0, datetime.datetime.now().year > 2000)
    """)
    assert printed == "True True True\n"


def test_simple_example(holds: Any) -> None:
    """user-guide: a client that may read files."""
    holds("import socket; server = socket.create_server(('127.0.0.1', 0)); open('there', 'w').write('x')", """
    SafetyContext().enable(
        SystemIO().allow_open_readonly(), Networking().allow_start_tcp_clients().allow_running_tcp_clients()
    ).apply_to_current_thread()
    denied(lambda: open("/tmp/a_file", "w"))
    os.close(os.open("there", os.O_RDONLY))
    socket.create_connection(server.getsockname()).close()
    """)  # fmt: skip


def test_custom_ruleset(holds: Any) -> None:
    """user-guide: it means the type and compares the family; said right, and as the seed has it, seen to be wrong."""
    holds("import socket", """
    class MyRuleSet(RuleSet):
        def simple_rules(self):
            return ["reboot"]
        def conditional_rules(self):
            return {"socket": [Rule("socket", Arg(1, 32).masked(0xF) == socket.SOCK_STREAM)]}
    SafetyContext().enable(MyRuleSet()).apply_to_current_thread()
    assert native("reboot", 0, 0, 0, 0) in (errno.EINVAL, errno.EPERM)       # the kernel's own answer
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    denied(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    """)  # fmt: skip
    holds("import socket", """
    wrong = Custom("wrong", Rule("socket", Arg(0).masked(1) == 1))    # SOCK_STREAM is 1
    SafetyContext().enable(wrong).apply_to_current_thread()
    denied(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    assert native("socket", socket.AF_UNIX, socket.SOCK_DGRAM, 0) == 0
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_with_landlock(holds: Any) -> None:
    """user-guide."""
    printed = holds(
        "import socket; os.mkdir('a'); os.mkdir('b')",
        """
    files = SystemIO().allow_create_in_dir("a").allow_write_file("a")
    SafetyContext().enable(files).apply_to_current_thread()
    denied(lambda: open("b/file", "w"), errno.EACCES)
    with open("a/file", "w") as file:
        file.write("text")
    print("printed", flush=True)
    denied(lambda: socket.socket(type=socket.SOCK_DGRAM))
    """,
    )
    assert printed == "printed\n"


# A self-signed certificate for localhost, valid until 2126; its key is as public as this file.
CERTIFICATE = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxnbATkWezm6f2TNN
SBPRKGVpJzrpzhGY6wpGVHIVGt6hRANCAATB1vJNej3tp6E+Yl8cH9mZpcB+fHpB
m/51IcKuC9qpHB8HnsTeX/wif2Vl0W44Sz/kgx7H6abSEOw2rkHrNYJg
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUExaw3NLvqLkxXdwlTyFHNCzMVgwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjA3MjYzOFoYDzIxMjYxMDI5
MDcyNjM4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATB1vJNej3tp6E+Yl8cH9mZpcB+fHpBm/51IcKuC9qpHB8HnsTeX/wi
f2Vl0W44Sz/kgx7H6abSEOw2rkHrNYJgo28wbTAdBgNVHQ4EFgQUbxFzDu591/Qo
yNsiT4lo/4B2qj8wHwYDVR0jBBgwFoAUbxFzDu591/QoyNsiT4lo/4B2qj8wDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAJOV9dlIUr7Iucl4ghHM6S/x2WS1rhaXU23XzPBPJqivAiAb
m0hbUveixsAY6C/zb0wqaAfyjKdiOO+h7HdfY+DiKQ==
-----END CERTIFICATE-----
"""


@pytest.mark.needs("landlock>=3")
def test_simple_network(holds: Any) -> None:
    """A name is looked up and HTTPS is spoken with a server on the loopback; everything is set up under the rules."""
    before = """
    import http.client, http.server, ssl
    with open("both.pem", "w") as file:
        file.write(CERTIFICATE)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
        def log_message(self, *words): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); serving.load_cert_chain("both.pem")
    server.socket = serving.wrap_socket(server.socket, server_side=True)
    child = os.fork()
    if child == 0:
        server.handle_request()
        os._exit(0)
    """
    holds(f"CERTIFICATE = {CERTIFICATE!r}\n{textwrap.dedent(before)}", """
    sets = Networking().allow_start_tcp_clients().allow_start_udp_clients().allow_tls(), Threads().allow_create()
    files = SystemIO().allow_dns_files().allow_ssl_files().allow_read_path("both.pem")
    SafetyContext().enable(*sets, files, "wait4").apply_to_current_thread()
    trusting = ssl.create_default_context(cafile="both.pem")
    connection = http.client.HTTPSConnection("localhost", server.server_port, context=trusting, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()
    denied(lambda: open("/etc/passwd"), errno.EACCES)
    assert os.waitpid(child, 0)[1] == 0
    """)  # fmt: skip


def test_network_server(holds: Any) -> None:
    before = """
    import http.server, socket, urllib.request
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"hello seccomp")
        def log_message(self, *words): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(.05,))
    thread.start()
    """
    holds(before, """
    sets = Networking().allow_running_tcp_servers().allow_start_tcp_clients(), Threads().allow_create()
    SafetyContext().enable(*sets).apply_to_all_threads()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.server_port}/", timeout=20) as answer:
        assert answer.read() == b"hello seccomp"
    denied(lambda: socket.create_server(("127.0.0.1", 0)))
    server.shutdown()
    thread.join()
    """)  # fmt: skip


DATABASE = """
import queue, sqlite3
def database(orders, answers):
    '''Keeps the messages in a file with a write-ahead log, which is open before the rules are applied.'''
    open_one = sqlite3.connect("messages.db", check_same_thread=False)
    assert open_one.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    open_one.execute("create table messages(text)")
    open_one.commit()
    return open_one
def serve_orders(open_one, get, put):
    while (order := get()) is not None:
        if order == "list":
            put("\\n".join(row[0] for row in open_one.execute("select text from messages order by rowid")))
        else:
            open_one.execute("insert into messages values(?)", (order,))
            open_one.commit()
            put("kept")
"""


def test_server_with_database(holds: Any) -> None:
    """Two threads, each under the rules that its part needs: one has the network, the other the files."""
    before = DATABASE + textwrap.dedent("""
    import http.client, http.server
    orders, answers, started = queue.Queue(), queue.Queue(), queue.Queue()
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            orders.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = answers.get().encode()
            self.send_response(200); self.send_header("Content-Length", str(len(answer))); self.end_headers()
            self.wfile.write(answer)
        def log_message(self, *words): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    def web():
        SafetyContext().enable(Networking().allow_running_tcp_servers()).apply_to_current_thread()
        started.put(denied(lambda: open("messages.db")))
        server.serve_forever(.05)
    def keep():
        open_one = database(orders, answers)
        SafetyContext().enable(Sqlite(), Threads().allow_sleep()).apply_to_current_thread()
        started.put(denied(lambda: http.client.HTTPConnection("127.0.0.1", server.server_port).connect()))
        serve_orders(open_one, orders.get, answers.put)
        open_one.close()
    threads = [threading.Thread(target=run) for run in (web, keep)]
    for thread in threads:
        thread.start()
    assert started.get() and started.get()
    """)
    holds(before, """
    SafetyContext().enable(Networking().allow_start_tcp_clients()).apply_to_current_thread()
    def post(text):
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        client.request("POST", "/", text.encode())
        answer = client.getresponse().read().decode()
        client.close()
        return answer
    assert (post("hello"), post("extrasafe")) == ("kept", "kept")
    assert post("list") == "hello\\nextrasafe"
    orders.put(None)
    server.shutdown()
    for thread in threads:
        thread.join()
    """)  # fmt: skip


def test_ipc_server_with_database(holds: Any) -> None:
    """The same with two processes and unix datagram sockets."""
    before = DATABASE + textwrap.dedent("""
    import socket
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); ours.bind("ours")
    child = os.fork()
    if child == 0:
        open_one = database(None, None)
        theirs = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        theirs.bind("theirs")
        try:
            sets = Networking().allow_connect().allow_running_unix_servers(), Sqlite(), Threads().allow_sleep()
            SafetyContext().enable(*sets).apply_to_current_thread()
            theirs.connect("ours")
            theirs.send(b"ready")
            denied(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            def get():
                order = theirs.recv(1000).decode()
                return None if order == "end" else order
            serve_orders(open_one, get, lambda answer: theirs.send(answer.encode()))
            os._exit(0)
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(1)
    ours.settimeout(20)
    assert ours.recv(1000) == b"ready"
    """)
    holds(before, """
    sets = Networking().allow_connect().allow_running_unix_clients(), "wait4"
    SafetyContext().enable(*sets).apply_to_current_thread()
    ours.connect("theirs")
    def ask(order):
        ours.send(order.encode())
        return ours.recv(1000).decode()
    assert (ask("hello"), ask("extrasafe")) == ("kept", "kept")
    assert ask("list") == "hello\\nextrasafe"
    denied(lambda: open("messages.db"))
    ours.send(b"end")
    assert os.waitpid(child, 0)[1] == 0
    """)  # fmt: skip


# --- pyextrasafe -----------------------------------------------------------------------------------------------------

HELLO = """
import logging
thread = threading.Thread(target=print, args=("Hello from a thread.",))
thread.start()
thread.join()
SafetyContext().enable(BasicCapabilities(), SystemIO().allow_stdout().allow_stderr()).apply_to_all_threads()
thread = threading.Thread(target=print, args=("never",))
try:
    thread.start()
except Exception as error:
    print(type(error).__name__, error)
    {handle}
else:
    raise SystemExit("a thread was started")
print("Goodbye.")
"""


def test_hello_world(ok: Any) -> None:
    printed = ok(HELLO.format(handle="pass"))
    assert printed == "Hello from a thread.\nRuntimeError can't start new thread\nGoodbye.\n"


def test_hello_world_with_a_logged_traceback(run: Any) -> None:
    """With pyextrasafe this fails on CPython 3.13, which imports tokenize to show it."""
    done = run(HELLO.format(handle="logging.exception('Could not start')"))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Goodbye."), done.stderr
    assert "ERROR:root:Could not start" in done.stderr
    assert "RuntimeError: can't start new thread" in done.stderr


def test_its_reprs_and_length(ok: Any) -> None:
    """The words are this package's; what they say is the same."""
    ok("""
    context = SafetyContext()
    assert (repr(context), len(context), bool(context)) == ("<SafetyContext []>", 0, False)
    assert context.enable(BasicCapabilities(), SystemIO().allow_stdout().allow_file_read(3)) is context
    assert [type(each).__name__ for each in context] == ["BasicCapabilities", "SystemIO"]
    assert len(context) == 2 and "allow_file_read(3)" in repr(context)
    refused(PolicyError, lambda: context.enable(5))
    """)

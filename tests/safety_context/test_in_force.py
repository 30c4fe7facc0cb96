"""`SafetyContext`, applied: answers, threads, inheritance, stacking, and the report of what is in force."""

from __future__ import annotations

import signal
from typing import Any

import pytest

# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "code"),
    [("", 1), (".with_errno(errno.EACCES)", 13), (".with_errno(999)", 999), (".with_errno(4095)", 4095)],
)
def test_denied_calls_fail_with_the_errno(holds: Any, choice: str, code: int) -> None:
    holds("", f"""
    SafetyContext().enable("write"){choice}.apply_to_all_threads()
    assert native("getpgid", 0) == {code}
    assert native("clone3", 0, 0) == {code}                  # nobody permits clone: no reason to fall back
    assert native(2000) == errno.ENOSYS                      # newer than the tables
    """)  # fmt: skip


def test_enosys_where_libc_falls_back(holds: Any) -> None:
    holds("", """
    SafetyContext().enable(Threads().allow_create()).with_errno(errno.EACCES).apply_to_all_threads()
    assert native("clone3", 0, 0) == errno.ENOSYS
    """)  # fmt: skip


def test_kill_process(run: Any) -> None:
    done = run("""
    SafetyContext().enable("write").with_action(KILL_PROCESS).apply_to_all_threads()
    say("alive")
    try:
        os.getpgid(0)
    finally:
        say("not reached")
    """)
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, "alive\n")


def test_trap(run: Any) -> None:
    script = """
    hits = []
    if {handler}:
        signal.signal(signal.SIGSYS, lambda *_: hits.append(1))
    SafetyContext().enable("write").with_action(TRAP(7)).apply_to_all_threads()
    native("getpgid", 0)
    say(hits)
    """
    assert run(script.format(handler=True)).stdout == "[1]\n"
    assert run(script.format(handler=False)).returncode == -signal.SIGSYS


def test_log_permits(ok: Any) -> None:
    assert (
        ok("""
    done = SafetyContext().enable("write").with_action(LOG).apply_to_all_threads()
    say(done.seccomp, os.getpgid(0) > 0, open("/etc/passwd").readable())
    """)
        == "True True True\n"
    )


def test_notify_asks_a_supervisor(ok: Any) -> None:
    """The denied call returns what another process says."""
    assert (
        ok("""
    import fcntl, socket, struct
    RECV, SEND = 0xC0502100, 0xC0182101     # SECCOMP_IOCTL_NOTIF_*
    ours, theirs = socket.socketpair()
    if (child := os.fork()) == 0:
        sets = Networking().allow_running_unix_clients(), "write"
        done = SafetyContext().enable(*sets).with_action(NOTIFY).apply_to_current_thread()
        socket.send_fds(theirs, [b"x"], [done.listener])
        say("told", os.getpgid(5))
        os._exit(0)
    listener = socket.recv_fds(ours, 1, 1)[1][0]
    asked = fcntl.ioctl(listener, RECV, bytes(80))
    number, first = struct.unpack_from("=i", asked, 16)[0], struct.unpack_from("=Q", asked, 32)[0]
    assert (number, first) == (NUMBERS["getpgid"], 5), (number, first)
    fcntl.ioctl(listener, SEND, struct.pack("=QqiI", struct.unpack_from("=Q", asked)[0], 4711, 0, 0))
    assert os.waitpid(child, 0)[1] == 0
    """)
        == "told 4711\n"
    )


def test_notify_for_all_threads(holds: Any) -> None:
    holds("", """
    done = SafetyContext().enable("write", "kill").with_action(NOTIFY).apply_to_all_threads()
    assert done.listener >= 0 and done.threads == "all"
    """)  # fmt: skip


# --- threads ---------------------------------------------------------------------------------------------------------

OTHER = """
import queue
asked, answers = queue.Queue(), queue.Queue()
def work():
    while (action := asked.get()) is not None:
        try:
            answers.put(action())
        except BaseException as error:
            answers.put(error)
thread = threading.Thread(target=work, name="the other one")
thread.start()
def there(action):
    asked.put(action)
    return answers.get()
"""


def test_the_current_thread_only(holds: Any) -> None:
    holds(OTHER, """
    done = SafetyContext().enable("write").apply_to_current_thread()
    assert done.threads == "current"
    denied(lambda: open("f", "w"))
    assert there(lambda: open("f", "w").close()) is None
    """)  # fmt: skip


def test_all_threads(holds: Any) -> None:
    holds(OTHER, """
    done = SafetyContext().enable("write").apply_to_all_threads()
    assert done.threads == "all"
    denied(lambda: open("f", "w"))
    assert isinstance(there(lambda: open("f", "w")), PermissionError)
    """)  # fmt: skip


def test_a_thread_that_is_not_the_main_one(holds: Any) -> None:
    holds(OTHER, """
    assert there(SafetyContext().enable("write").apply_to_current_thread).threads == "current"
    open("f", "w").close()
    assert isinstance(there(lambda: open("f", "w")), PermissionError)
    assert there(SafetyContext().enable("write", "prctl", "seccomp").apply_to_all_threads).__class__ is PolicyError
    """)  # fmt: skip


def test_a_thread_with_a_filter_of_its_own(holds: Any) -> None:
    """TSYNC takes all threads or none, and the kernel names the one that stands in the way."""
    holds(OTHER, """
    assert there(SafetyContext().enable("write", SystemIO.everything()).apply_to_current_thread).seccomp
    error = refused(SetupError, SafetyContext().enable("write").apply_to_all_threads)
    assert error.thread == thread.native_id, error
    for word in (str(thread.native_id), "the other one", "filter of its own", "nothing is restricted"):
        assert word in str(error), error
    open("f", "w").close()
    assert status("Seccomp") == "0"
    SafetyContext().enable("write").apply_to_current_thread()     # as the remedy says
    denied(lambda: open("f", "w"))
    """)  # fmt: skip


def test_threads_and_processes_inherit(holds: Any) -> None:
    holds("", """
    sets = Threads().allow_create(), ForkAndExec(), Interpreter()
    SafetyContext().enable(*sets).apply_to_current_thread()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(native("getpgid", 0)))
    thread.start(); thread.join()
    assert seen == [errno.EPERM]
    if (child := os.fork()) == 0:
        os._exit(native("getpgid", 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EPERM
    code = "import os\\ntry: os.getpgid(0)\\nexcept OSError as e: os._exit(e.errno)"
    if (child := os.fork()) == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EPERM
    """)  # fmt: skip


# --- twice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["ERRNO(1)", "ERRNO(errno.ENOSYS)", "ERRNO(errno.EINVAL)", "KILL_PROCESS", "TRAP()"])
@pytest.mark.parametrize("threads", ["current_thread", "all_threads"])
def test_a_second_context_on_one_thread(holds: Any, action: str, threads: str) -> None:
    """Also where the first one kills: it is not the kernel that is asked."""
    holds("", f"""
    first = SafetyContext().enable("write").with_action({action})
    first.apply_to_{threads}()
    error = refused(PolicyError, first.apply_to_{threads})
    assert "this very context is in force" in str(error), error
    for second in (SafetyContext().enable("write"), SafetyContext().enable(SystemIO().allow_read_path("/"))):
        for apply in (second.apply_to_current_thread, second.apply_to_all_threads):
            error = refused(PolicyError, apply)
            assert "denies prctl(2)" in str(error) and repr(first) in str(error), error
            assert "into one context" in error.remedy
    """)  # fmt: skip


def test_a_thread_started_under_a_filter(holds: Any) -> None:
    """Of which it knows only from the kernel."""
    holds(OTHER, """
    SafetyContext().enable(Threads().allow_create(), "write").apply_to_current_thread()
    seen = []
    def late():
        seen.append(refused(SetupError, SafetyContext().enable("write").apply_to_current_thread))
    thread = threading.Thread(target=late)
    thread.start(); thread.join()
    assert seen[0].errno == errno.EPERM and "a filter denies it" in seen[0].remedy, seen
    """)  # fmt: skip


def test_a_second_context_where_the_first_permits_it(holds: Any) -> None:
    holds("", """
    SafetyContext().enable("write", "prctl", "seccomp", SystemIO.everything(), "getpgid").apply_to_current_thread()
    os.getpgid(0)
    SafetyContext().enable("write").apply_to_all_threads()
    assert native("getpgid", 0) == errno.EPERM               # only what both permit
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_landlock_after_a_filter(holds: Any) -> None:
    """Where the first permits the calls; where not, it says which call is denied."""
    holds("os.mkdir('a')", """
    landlock = Custom("landlock", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "prctl")
    SafetyContext().enable(landlock, SystemIO.everything()).apply_to_current_thread()
    SafetyContext().enable(SystemIO().allow_list_dir("a")).landlock_only().apply_to_current_thread()
    assert os.listdir("a") == []
    denied(lambda: os.listdir("."), errno.EACCES)
    """)  # fmt: skip
    holds(OTHER, """
    SafetyContext().enable(Threads().allow_create(), "prctl", SystemIO.everything()).apply_to_current_thread()
    seen = []
    def late():
        paths = SafetyContext().enable(SystemIO().allow_list_dir(".")).landlock_only()
        seen.append(refused(Unsupported, paths.apply_to_current_thread))
    thread = threading.Thread(target=late)
    thread.start(); thread.join()
    assert "denies landlock_create_ruleset(2)" in seen[0].found, seen
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_landlock_twice_takes_more_away(holds: Any) -> None:
    holds("os.mkdir('a'); os.mkdir('b')", """
    first = SafetyContext().enable(SystemIO().allow_list_dir("a"), Custom("b", LandlockRule("b", {"list_dir"}))).landlock_only()
    first.apply_to_current_thread()
    assert os.listdir("a") == os.listdir("b") == []
    assert "this very context" in str(refused(PolicyError, first.apply_to_current_thread))
    SafetyContext().enable(SystemIO().allow_list_dir("a")).landlock_only().apply_to_current_thread()
    assert os.listdir("a") == []
    denied(lambda: os.listdir("b"), errno.EACCES)
    """)  # fmt: skip


def test_one_context_on_several_threads(holds: Any) -> None:
    holds(OTHER, """
    context = SafetyContext().enable("write")
    assert there(context.apply_to_current_thread).seccomp
    assert context.apply_to_current_thread().seccomp
    denied(lambda: open("f", "w"))
    """)  # fmt: skip


# --- what is in force ------------------------------------------------------------------------------------------------


def test_the_report_of_a_filter(holds: Any) -> None:
    holds("", """
    from isolate_fn import Restrictions
    done = SafetyContext().enable("write").apply_to_all_threads()
    assert done == Restrictions(threads="all", seccomp=True, landlock_abi=0), done
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_the_report_of_landlock(holds: Any) -> None:
    holds("import re", """
    before = len(os.listdir("/proc/self/fd"))
    context = SafetyContext().enable(SystemIO().allow_read_path("/").allow_list_dir("/")).landlock_only()
    done = context.apply_to_current_thread()
    assert (done.threads, done.seccomp) == ("current", False)
    assert done.landlock_abi >= 3
    assert all(re.match(r"\\w+ needs Landlock ABI", sentence) for sentence in done.dropped)
    assert len(os.listdir("/proc/self/fd")) == before
    denied(lambda: open("f", "w"), errno.EACCES)
    assert status("Seccomp") == "0" and status("NoNewPrivs") == "1"
    """)  # fmt: skip


def test_what_gave_way_is_reported(holds: Any) -> None:
    holds("", """
    done = SafetyContext().enable(SystemIO().allow_stdout(), Networking().allow_running_tcp_clients()).apply_to_all_threads()
    assert any("Networking: write left out" in sentence for sentence in done.left_out), done
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_filter_and_landlock_together(holds: Any) -> None:
    holds("os.mkdir('a'); open('a/f', 'w').write('x'); open('g', 'w')", """
    done = SafetyContext().enable(SystemIO().allow_read_path("a")).apply_to_current_thread()
    assert done.seccomp and done.landlock_abi
    assert open("a/f").read() == "x"
    denied(lambda: open("g"), errno.EACCES)                   # Landlock
    denied(lambda: os.mkdir("h"))                             # the filter
    for flags in (os.O_WRONLY, os.O_RDONLY | os.O_TRUNC, os.O_RDWR):
        denied(lambda: os.open("a/f", flags), errno.EACCES, errno.EPERM)
    denied(lambda: os.truncate("a/f", 0), errno.EACCES, errno.EPERM)
    assert open("a/f").read() == "x"
    """)  # fmt: skip


def test_seccomp_only_leaves_paths_alone(holds: Any) -> None:
    holds("open('g', 'w')", """
    done = SafetyContext().enable(SystemIO().allow_read_path("/nowhere")).seccomp_only().apply_to_all_threads()
    assert not done.landlock_abi
    assert done.dropped == ("seccomp_only(): what SystemIO say of paths, ports and scopes is not enforced",), done
    open("g").close()
    denied(lambda: os.mkdir("h"))
    """)  # fmt: skip


@pytest.mark.needs("landlock>=4")
def test_ports(holds: Any) -> None:
    before = """
    import socket
    server, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    """
    holds(before, """
    port = server.getsockname()[1]
    sets = Networking().allow_start_tcp_clients().allow_connect_ports(port)
    done = SafetyContext().enable(sets).apply_to_current_thread()
    assert done.landlock_abi >= 4
    socket.create_connection(server.getsockname()).close()
    denied(lambda: socket.create_connection(other.getsockname()), errno.EACCES)
    """)  # fmt: skip


@pytest.mark.needs("landlock>=6")
def test_scopes(holds: Any) -> None:
    before = """
    import socket
    server = socket.socket(socket.AF_UNIX); server.bind(b"\\0isolate-fn-%d" % os.getpid()); server.listen()
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(writer)
        os.read(reader, 1)                   # until this process ends
        os._exit(0)
    """
    holds(before, """
    sets = Networking().allow_start_unix_clients().keep_abstract_sockets_inside(), Signals().allow_kill().keep_inside()
    SafetyContext().enable(*sets).apply_to_current_thread()
    client = socket.socket(socket.AF_UNIX)
    denied(lambda: client.connect(server.getsockname()))
    denied(lambda: os.kill(child, signal.SIGKILL))
    os.kill(os.getpid(), 0)
    """)  # fmt: skip


def test_executable_memory_can_be_taken_away(holds: Any) -> None:
    """`BasicCapabilities` can be tightened, which the seed does not allow."""
    before = "import mmap\nANYWHERE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS\n"
    before += "MAP = lambda protection: native('mmap', 0, 4096, protection, ANYWHERE, -1, 0)"
    context = "SafetyContext().enable({}).apply_to_all_threads()\nassert (MAP(3), MAP(5), MAP(7)) == {}"
    tight = 'Custom("data only", Rule("mmap", Arg(2, 32).masked(4) == 0), Rule("mprotect", Arg(2, 32).masked(4) == 0))'
    holds(before, context.format('"write"', (0, 0, 0)))
    holds(before, context.format(tight, (0, 1, 1)))
    holds(before, context.format("BasicCapabilities().without_executable_memory()", (0, 1, 1)))


def test_an_interpreter_without_a_script(holds: Any) -> None:
    """It imports from the working directory; and CPython 3.13 asks for that to explain an AttributeError."""
    holds("", """
    assert "" in sys.path
    SafetyContext().enable(BasicCapabilities()).apply_to_all_threads()
    assert not hasattr(os, "no_such_thing")
    try:
        import no_such_module
    except ImportError:
        pass
    """)  # fmt: skip


def test_a_script_needs_no_working_directory(run: Any, tmp_path: Any) -> None:
    (tmp_path / "script.py").write_text("""
import os
from isolate_fn import SafetyContext
from isolate_fn.rules import SystemIO
SafetyContext().enable(SystemIO().allow_stdout()).apply_to_all_threads()
assert not hasattr(os, "no_such_thing")
try:
    import no_such_module
except ImportError:
    pass
try:
    os.getcwd()
except PermissionError:
    print("denied", flush=True)
""")
    done = run("import runpy; os.execv(sys.executable, [sys.executable, 'script.py'])")
    assert (done.returncode, done.stdout) == (0, "denied\n"), done.stderr


@pytest.mark.needs("landlock>=3")
def test_landlock_for_all_threads_does_not_replace_that_of_another(holds: Any) -> None:
    """The kernel's TSYNC would: what the other thread had denied itself would be permitted to it again."""
    holds("os.mkdir('a'); os.mkdir('b')", """
    first = SafetyContext().enable(SystemIO().allow_list_dir("a")).landlock_only()
    wider = SafetyContext().enable(SystemIO().allow_list_dir(".")).landlock_only()
    go, checked, seen = threading.Event(), threading.Event(), []

    def other():
        first.apply_to_current_thread()
        go.set()
        checked.wait()
        seen.append(denied(lambda: os.listdir("b"), errno.EACCES))

    thread = threading.Thread(target=other)
    thread.start()
    go.wait()
    error = refused(PolicyError, wider.apply_to_all_threads)
    assert "another thread" in str(error), error
    assert untouched()
    checked.set()
    thread.join()
    assert seen == [True]
    """)  # fmt: skip

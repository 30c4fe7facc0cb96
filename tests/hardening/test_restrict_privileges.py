"""`restrict_privileges`: what an executed program can no longer gain, and what threads go on sharing."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from isolate_fn import restrict_privileges


def test_signature() -> None:
    signature = inspect.signature(restrict_privileges)
    assert [(p.name, p.kind.name, p.default) for p in signature.parameters.values()] == [
        ("unshare", "KEYWORD_ONLY", False)
    ]


def test_no_new_privs_for_this_thread_and_those_it_starts(script: Any) -> None:
    script("""
    gate, done = threading.Event(), threading.Event()
    older = threading.Thread(target=lambda: (done.set(), gate.wait()))
    older.start()
    done.wait()
    assert status("NoNewPrivs") == "0"
    assert restrict_privileges() is None
    assert status("NoNewPrivs") == "1"
    found = []
    newer = threading.Thread(target=lambda: found.append(status("NoNewPrivs", "thread-self")))
    newer.start()
    newer.join()
    assert found == ["1"]
    # Older threads are as they were, which the documentation says.
    assert status("NoNewPrivs", f"self/task/{older.native_id}") == "0"
    assert subprocess.run(["cat", "/proc/self/status"], capture_output=True).stdout.count(b"NoNewPrivs:\\t1") == 1
    gate.set()
    older.join()
    restrict_privileges()   # twice is not an error
    """)


@pytest.mark.needs("root", "interpreter")
def test_a_setuid_program_gains_nothing(script: Any) -> None:
    code = """
    import shutil, tempfile
    directory = tempfile.mkdtemp(prefix="isolate-fn-hardening-", dir="/var/tmp")
    try:
        os.chmod(directory, 0o755)
        shutil.copy("/usr/bin/id", directory + "/id")
        os.chmod(directory + "/id", 0o4755)
        def ask(restrict):
            if (child := os.fork()) == 0:
                os.setgroups([]); os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)
                if restrict:
                    restrict_privileges()
                out = subprocess.run([directory + "/id", "-u"], capture_output=True).stdout
                os._exit(int(out) == 0)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ask(False) == 1, "a setuid program is root's without the restriction"
        assert ask(True) == 0
    finally:
        shutil.rmtree(directory)
    """
    script(code)


@pytest.mark.needs("root")
def test_ambient_capabilities_are_gone(script: Any) -> None:
    script("""
    import ctypes, struct
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = struct.pack("=Ii", 0x20080522, 0), bytearray(24)
    libc.capget(header, (ctypes.c_char * 24).from_buffer(data))
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data)
    NET_RAW = 13
    assert libc.capset(header, struct.pack("=6I", low_e, low_p, low_i | 1 << NET_RAW, high_e, high_p, high_i)) == 0
    assert libc.prctl(47, 2, NET_RAW, 0, 0) == 0            # PR_CAP_AMBIENT_RAISE
    assert int(status("CapAmb"), 16) == 1 << NET_RAW
    restrict_privileges()
    assert int(status("CapAmb"), 16) == 0
    """)


SHARING = """
    import queue
    asked, answers = queue.Queue(), queue.Queue()
    def older():
        while (action := asked.get()) is not None:
            try:
                answers.put(action())
            except OSError as error:
                answers.put(error.errno)
    thread = threading.Thread(target=older)
    thread.start()
    asked.put(os.getcwd)
    home = answers.get()
    restrict_privileges({})
    opened = os.open("/dev/null", os.O_RDONLY)
    os.chdir("/")
    asked.put(lambda: os.read(opened, 1))
    read = answers.get()
    asked.put(os.getcwd)
    print(read, answers.get() == "/", home != "/")
    asked.put(None)
    thread.join()
"""


def test_threads_go_on_sharing_descriptors_and_directory(script: Any) -> None:
    assert script(SHARING.format("")).split() == ["b''", "True", "True"]


def test_unshared_when_asked_for(script: Any) -> None:
    """EBADF: the descriptor is the main thread's alone, and so is its working directory."""
    assert script(SHARING.format("unshare=True")).split() == ["9", "False", "True"]


def test_a_refusal_is_an_error(script: Any) -> None:
    """Under a filter that denies prctl(2) nothing is claimed that was not done."""
    script("""
    from isolate_fn import SafetyContext
    SafetyContext().enable("write").apply_to_current_thread()
    error = refused(SetupError, restrict_privileges)
    assert (error.call, error.errno) == ("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)", errno.EPERM), error
    assert isinstance(error.__cause__, PermissionError) and "before a SafetyContext" in str(error)
    error = refused(SetupError, lambda: restrict_privileges(unshare=True))
    assert error.call.startswith("unshare(") and error.errno == errno.EPERM, error
    """)

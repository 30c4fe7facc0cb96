"""Cases that follow from the defects of extrasafe: what it reports as done and is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from generate_rules_page import ORDER

from isolate_fn import Isolate, SafetyContext
from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn.errors import PolicyError
from isolate_fn.policy.rule_sets.builtin import Builtin
from isolate_fn.rules import Custom

Ok = Callable[[str], str]

#: A filter that answers one call with an errno, and lets all others through.
ANSWER = """
from isolate_fn._plan.seccomp import ALLOW as LET, Entry, SyscallPolicy, compile_filter, fail_with
from isolate_fn._sys import calls, this_process_calls
def answer(call, code):
    policy = SyscallPolicy.of({call: Entry((), fail_with(code))}, default=LET)
    this_process_calls.set_no_new_privs()
    calls.install_filter(compile_filter(policy, os.uname().machine), 0)
"""


@pytest.mark.needs("landlock>=3")
@pytest.mark.parametrize("code", ["EPERM", "E2BIG"])
@pytest.mark.parametrize("only", ["", ".landlock_only()"])
def test_a_restriction_that_fails_is_an_error(ok: Ok, code: str, only: str) -> None:
    """The seed throws the answer of landlock_restrict_self(2) away. E2BIG: too many of them are stacked already."""
    ok(f"""{ANSWER}
answer("landlock_restrict_self", errno.{code})
context = SafetyContext().enable(SystemIO().allow_read_path("/etc")){only}
try:
    context.apply_to_current_thread()
except SetupError as error:
    assert error.errno == errno.{code} and "landlock_restrict_self" in error.call, error
else:
    raise AssertionError("a failure is reported as success")
os.close(os.open("new", os.O_CREAT | os.O_WRONLY))       # and nothing is restricted
""")


def test_errno_0_would_be_success(ok: Ok) -> None:
    """There, a denied call then returns 0 and looks as if it had worked; too great an errno is cut off."""
    for code in (0, 5000, 70000, -1):
        with pytest.raises(PolicyError):
            SafetyContext().with_errno(code)
    ok(f"""
    SafetyContext().enable("write").with_errno({errno.ENOENT}).apply_to_all_threads()
    assert native("socket", 1, 1, 0) == errno.ENOENT
    """)


def test_a_socket_can_be_closed(ok: Ok) -> None:
    """No set of the seed's Networking permits close(2) or shutdown(2)."""
    ok("""
    one, two = socket.socketpair()
    SafetyContext().enable(Networking().allow_running_unix_clients()).apply_to_all_threads()
    with one:
        one.sendall(b"x")
        one.shutdown(socket.SHUT_WR)
    assert (two.recv(9), two.recv(9)) == (b"x", b"")
    two.close()
    """)


@pytest.mark.needs("landlock>=3")
def test_paths_are_what_they_are_when_it_is_applied(ok: Ok) -> None:
    """Symbolic links are followed, and relative paths start from the working directory, then and not before."""
    ok("""
    for name in ("there/one", "there/two"):
        os.makedirs(name)
        open(name + "/file", "w").write(name)
    os.symlink("one", "there/link")
    context = SafetyContext().enable(SystemIO().allow_read_path("link"))
    os.chdir("there")
    context.apply_to_current_thread()
    assert open("link/file").read() == open("one/file").read() == "there/one"
    denied(lambda: open("two/file"), errno.EACCES)
    """)


REACHING = """
process_vm_readv process_vm_writev ptrace process_madvise pidfd_getfd kcmp add_key request_key keyctl bpf
perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register kexec_load init_module finit_module
delete_module mount umount2 pivot_root chroot unshare setns open_by_handle_at reboot swapon swapoff quotactl
settimeofday clock_settime adjtimex acct syslog iopl ioperm personality
"""


@pytest.mark.parametrize("owner", ORDER, ids=lambda owner: owner.__name__)
def test_no_set_reaches_into_other_processes_or_the_kernel(owner: type[Builtin]) -> None:
    everything = owner.everything()
    permitted = {*everything.simple_rules(), *everything.conditional_rules()}
    assert not permitted & set(REACHING.split())
    # The names are right: each of them is one that the tables know.
    for call in REACHING.split():
        compile_rule_sets([Custom("known", call)])


@pytest.mark.needs("namespaces")
def test_a_name_of_an_isolate_is_no_path() -> None:
    """There it becomes a directory in /tmp, and one with a slash a panic."""
    before = set(os.listdir("/tmp"))
    assert Isolate("../a name/with slashes", lambda: print("hello")).run().stdout == b"hello\n"
    assert not [name for name in set(os.listdir("/tmp")) - before if "name" in name]

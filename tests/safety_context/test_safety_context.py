"""`SafetyContext`: collecting, what is refused before anything is applied, and what is in force afterwards."""

from __future__ import annotations

import errno
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from isolate_fn import SafetyContext
from isolate_fn.errors import ConflictingRules, PolicyError, Unsupported
from isolate_fn.rules import (
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    NOTIFY,
    Arg,
    BasicCapabilities,
    Custom,
    LandlockRule,
    Rule,
    RuleSet,
    SystemIO,
    Threads,
)

STDOUT = SystemIO().allow_stdout()
WRITE = Custom("JustWrite", "write")


# --- collecting ------------------------------------------------------------------------------------------------------


def test_enable_returns_the_context_itself() -> None:
    context = SafetyContext()
    assert context.enable(STDOUT) is context
    assert context.enable() is context
    assert context.with_errno(errno.EACCES) is context
    assert context.landlock_only() is context
    assert context.seccomp_only() is context
    assert context.require("read_file") is context


def test_length_truth_and_iteration() -> None:
    context = SafetyContext()
    assert (len(context), bool(context), list(context)) == (0, False, [])
    context.enable(STDOUT, "getpgid").enable(Threads())
    assert (len(context), bool(context)) == (3, True)
    assert list(context) == [STDOUT, "getpgid", Threads()]


def test_it_prints_as_what_it_holds() -> None:
    assert repr(SafetyContext()) == "<SafetyContext []>"
    context = SafetyContext().enable(BasicCapabilities(), SystemIO().allow_stdout().allow_file_read(3), "getpgid")
    assert (
        repr(context)
        == "<SafetyContext [BasicCapabilities(), SystemIO().allow_file_read(3).allow_stdout(), 'getpgid']>"
    )
    context.with_action(KILL_PROCESS).landlock_only().seccomp_only().require("truncate", "move")
    assert repr(context).endswith(
        "].with_action(KILL_PROCESS).landlock_only().seccomp_only().require('move', 'truncate')>"
    )


def test_it_can_be_pickled() -> None:
    context = SafetyContext().enable(STDOUT, "getpgid").with_errno(5)
    assert repr(pickle.loads(pickle.dumps(context))) == repr(context)


class Shaped:
    """Has the methods of a rule set and inherits nothing."""

    name = "shaped"

    def simple_rules(self) -> list[str]:
        return ["getpgid"]


def test_what_looks_like_a_rule_set_is_one() -> None:
    context = SafetyContext().enable(Shaped())  # type: ignore[arg-type]
    assert [entry.name for entry in context if isinstance(entry, RuleSet)] == ["shaped"]
    with pytest.raises(ConflictingRules) as caught:
        context.enable(Custom("mine", Rule("getpgid", Arg(0) == 0)))
    assert caught.value.sets == ("mine", "shaped")


@pytest.mark.parametrize("value", [3, None, 1.5, SystemIO, Rule("write"), ["write"], b"write", "no such call", "WRITE"])
def test_what_is_no_rule_set_is_refused(value: Any) -> None:
    context = SafetyContext().enable("getpgid")
    with pytest.raises(PolicyError) as caught:
        context.enable(STDOUT, value)
    assert caught.value.field.startswith("enable")
    assert caught.value.remedy
    assert list(context) == ["getpgid"], "none of them is enabled"


@pytest.mark.parametrize("code", [0, -1, 4096, 70000, True, "EPERM", None, 1.0])
def test_errnos_that_cannot_be(code: Any) -> None:
    with pytest.raises(PolicyError):
        SafetyContext().with_errno(code)


@pytest.mark.parametrize("action", [ALLOW, None, 1, "kill", ERRNO])
def test_actions_that_deny_nothing(action: Any) -> None:
    with pytest.raises(PolicyError, match="with_action"):
        SafetyContext().with_action(action)


def test_rights_that_do_not_exist() -> None:
    with pytest.raises(PolicyError, match="require"):
        SafetyContext().require("read")


# --- conflicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [STDOUT, WRITE], ids=["conditional first", "simple first"])
def test_a_conflict_names_both_sets_and_the_call(first: RuleSet) -> None:
    second = WRITE if first is STDOUT else STDOUT
    context = SafetyContext().enable(first)
    with pytest.raises(ConflictingRules) as caught:
        context.enable(Threads(), second)
    assert (caught.value.sets, caught.value.syscall) == (("SystemIO", "JustWrite"), "write")
    for word in ("`write`", "`SystemIO`", "`JustWrite`", "try: "):
        assert word in str(caught.value)
    assert list(context) == [first], "neither of them is enabled"
    context.enable(Threads())


def test_a_conflict_inside_one_set() -> None:
    with pytest.raises(ConflictingRules) as caught:
        SafetyContext().enable(Custom("both", "write", Rule("write", Arg(0) == 1)))
    assert (caught.value.sets, caught.value.syscall) == (("both", "both"), "write")


def test_a_path_in_two_sets() -> None:
    context = SafetyContext().enable(SystemIO().allow_read_path("/etc/hosts"))
    for same in ("/etc/hosts", "//etc/./hosts", "/etc/hosts/"):
        with pytest.raises(ConflictingRules, match="The same path") as caught:
            context.enable(Custom("mine", LandlockRule(same, {"read_file"})))
        assert caught.value.sets == ("SystemIO", "mine")
    context.enable(SystemIO().allow_read_path("/etc"))  # one inside the other is fine


def test_the_automatic_base_set_gives_way_and_an_explicit_one_does_not() -> None:
    tight = Custom("tight", Rule("mremap", Arg(0) == 1))
    SafetyContext().enable(tight)
    with pytest.raises(ConflictingRules) as caught:
        SafetyContext().enable(BasicCapabilities(), tight)
    assert caught.value.sets == ("tight", "BasicCapabilities")
    SafetyContext().enable(BasicCapabilities().without("mremap"), tight)


# --- refused when applied: the process is as it was ------------------------------------------------------------------


def test_an_empty_context() -> None:
    for apply in (SafetyContext().apply_to_current_thread, SafetyContext().apply_to_all_threads):
        with pytest.raises(PolicyError, match="no rules were enabled"):
            apply()


def test_nothing_left_of_it() -> None:
    with pytest.raises(PolicyError, match="leave nothing"):
        SafetyContext().enable(SystemIO().allow_read_path("/")).landlock_only().seccomp_only().apply_to_current_thread()
    for apply in ("apply_to_current_thread", "apply_to_all_threads"):
        with pytest.raises(PolicyError, match="leaves nothing"):
            getattr(SafetyContext().enable(STDOUT).landlock_only(), apply)()


@pytest.mark.parametrize(
    ("platform", "machine", "size", "found"),
    [
        ("darwin", "arm64", sys.maxsize, "darwin"),
        ("win32", "AMD64", sys.maxsize, "win32"),
        ("linux", "riscv64", sys.maxsize, "riscv64"),
        ("linux", "x86_64", 2**31 - 1, "a 32-bit Python on x86_64"),
    ],
)
def test_another_platform(monkeypatch: pytest.MonkeyPatch, platform: str, machine: str, size: int, found: str) -> None:
    from isolate_fn._api import safety_checks

    monkeypatch.setattr(safety_checks, "sys", SimpleNamespace(platform=platform, maxsize=size))
    monkeypatch.setattr(safety_checks.platform, "machine", lambda: machine)
    with pytest.raises(Unsupported) as caught:
        SafetyContext().enable(STDOUT).apply_to_current_thread()
    assert caught.value.found == found


def test_missing_paths_are_all_named(ok: Any) -> None:
    ok("""
    before = sorted(os.listdir("/proc/self/fd"))
    os.mkdir("there")
    sets = SystemIO().allow_read_path("/no/such/file").allow_list_dir("there").allow_create_dir("nowhere")
    mine = Custom("mine", LandlockRule("there/x", {"read_file"}), LandlockRule("/maybe", {"read_file"}, optional=True))
    error = refused(PolicyError, SafetyContext().enable(sets, mine).apply_to_current_thread)
    for text in ("'/no/such/file'", "'nowhere'", "'there/x'", "SystemIO", "mine", "No such file"):
        assert text in str(error), error
    assert "'there'" not in str(error) and "maybe" not in str(error)
    assert untouched()
    assert sorted(os.listdir("/proc/self/fd")) == before
    """)


@pytest.mark.needs("landlock>=3")
def test_optional_paths_are_reported(holds: Any) -> None:
    holds("os.mkdir('there'); open('there/f', 'w').write('x'); open('other', 'w')", """
    mine = Custom("mine", LandlockRule("/maybe", {"read_file"}, optional=True), LandlockRule("there", {"read_file"}))
    done = SafetyContext().enable(mine).landlock_only().apply_to_current_thread()
    assert done.left_out == ("/maybe of mine does not exist",), done
    assert open("there/f").read() == "x"
    denied(lambda: open("other"), errno.EACCES)
    """)  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_files_are_denied_also_where_every_optional_path_is_missing(holds: Any) -> None:
    holds("open('f', 'w')", """
    mine = Custom("mine", LandlockRule("/maybe", {"read_file"}, optional=True))
    SafetyContext().enable(mine).landlock_only().apply_to_current_thread()
    denied(lambda: open("f"), errno.EACCES)
    """)  # fmt: skip


def test_a_right_on_directories_for_a_file(ok: Any) -> None:
    ok("""
    open("file", "w").close()
    for made in (SystemIO().allow_list_dir("file"), SystemIO().allow_create_dir("file")):
        error = refused(PolicyError, SafetyContext().enable(made).apply_to_current_thread)
        assert "not a directory" in str(error) and "SystemIO" in str(error), error
    assert untouched()
    """)


def test_no_landlock(ok: Any) -> None:
    printed = ok("""
    paths = SystemIO().allow_read_path("/")
    for each in (SafetyContext().enable(paths), SafetyContext().enable(paths).landlock_only()):
        error = refused(Unsupported, each.apply_to_current_thread)
        assert "Landlock" in error.needs and "seccomp_only()" in error.remedy, error
        assert untouched()
    done = SafetyContext().enable(paths, "write").seccomp_only().apply_to_all_threads()
    assert (done.seccomp, done.landlock_abi) == (True, 0), done
    say("filtered")
    """, env={"ISOLATE_FN_PRETEND": "landlock=0"})  # fmt: skip
    assert printed == "filtered\n"


@pytest.mark.needs("landlock>=2")
def test_landlock_that_is_too_old(holds: Any) -> None:
    """Without the right to truncate, a file that may only be read can be emptied."""
    holds("open('f', 'w').write('x'); os.mkdir('d')", """
    context = SafetyContext().enable(SystemIO().allow_read_path(".")).landlock_only()
    error = refused(Unsupported, context.apply_to_current_thread)
    assert error.needs == "Landlock ABI 3 (Linux 6.2)" and error.found == "ABI 2", error
    assert "'truncate'" in error.feature and "require(" in error.remedy
    ports = SafetyContext().enable(Networking().allow_connect_ports(443))
    assert "ABI 4" in str(refused(Unsupported, ports.apply_to_current_thread))
    assert untouched()
    done = context.require("read_file", "list_dir").apply_to_current_thread()
    assert done.landlock_abi == 2
    assert any("TRUNCATE" in sentence for sentence in done.dropped), done
    os.truncate("f", 0)                    # which is what it says
    denied(lambda: os.listdir("d"), errno.EACCES)
    """, env={"ISOLATE_FN_PRETEND": "landlock=2"})  # fmt: skip


@pytest.mark.needs("landlock>=3")
def test_what_is_required_by_name(ok: Any) -> None:
    ok("""
    context = SafetyContext().enable(SystemIO().allow_read_path("/")).require("ioctl_device")
    error = refused(Unsupported, context.apply_to_current_thread)
    assert "Linux 6.10" in error.needs, error
    assert untouched()
    """, env={"ISOLATE_FN_PRETEND": "landlock=3"})  # fmt: skip


def test_landlock_for_all_threads_before_anything_is_applied(ok: Any) -> None:
    ok("""
    for context in (
        SafetyContext().enable(SystemIO().allow_read_path("/")),
        SafetyContext().enable(SystemIO().allow_read_path("/")).landlock_only(),
        SafetyContext().enable("write", Networking().allow_connect_ports(1)),
    ):
        error = refused(Unsupported, context.apply_to_all_threads)
        assert "Landlock does not support syncing to all threads" in str(error), error
        assert "ABI 8" in error.needs and "apply_to_current_thread()" in error.remedy, error
    assert untouched()
    """, env={"ISOLATE_FN_PRETEND": "landlock=7"})  # fmt: skip


def test_orders_for_all_threads_where_landlock_can() -> None:
    """On ABI 8: every step with its flag for all threads, and a rehearsal before Landlock."""
    from isolate_fn._api import safety_apply, safety_checks
    from isolate_fn._plan.rule_sets import compile_rule_sets

    compiled = compile_rule_sets([SystemIO().allow_read_path("/")])
    opened = safety_checks.Opened({"/": 77}, frozenset(), ())
    landlock, dropped = safety_apply._landlock_orders(compiled, opened, 8)
    orders = safety_apply._orders(compiled, b"program!", landlock, opened, all_threads=True)
    assert (orders.flags, orders.restrict_flags, orders.rehearsal_flags) == (1, 8, 1)
    assert orders.beneath == (77,)
    assert orders.rehearsal == b"\x06\0\0\0\0\0\xff\x7f", "one instruction: allow"
    alone = safety_apply._orders(compiled, b"program!", landlock, opened, all_threads=False)
    assert (alone.flags, alone.restrict_flags, alone.rehearsal) == (0, 0, b"")
    assert all("RESOLVE_UNIX" in sentence for sentence in dropped)


LIKE_AN_EMULATOR = """
from isolate_fn._plan.seccomp import ALLOW as LET, SyscallPolicy, compile_filter, Entry, fail_with, Rule as R
from isolate_fn._sys import calls, this_process_calls
from isolate_fn.policy.conditions import Arg
asking = R((Arg(0, 32).one_of(21),), fail_with(PRCTL))     # PR_GET_SECCOMP
policy = SyscallPolicy.of({"seccomp": Entry((), fail_with(SECCOMP)), "prctl": Entry((asking,), LET)}, default=LET)
this_process_calls.set_no_new_privs()
calls.install_filter(compile_filter(policy, os.uname().machine), 0)
"""


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_no_filters_as_under_an_emulator(ok: Any, code: int) -> None:
    """What qemu-user and Rosetta answer; here a filter plays them."""
    like = LIKE_AN_EMULATOR.replace("PRCTL", str(errno.EINVAL)).replace("SECCOMP)", f"{code})")
    ok(f"""{like}
error = refused(Unsupported, SafetyContext().enable(SystemIO().allow_stdout()).apply_to_all_threads)
assert error.found == "{errno.errorcode[code]}" and "CONFIG_SECCOMP_FILTER" in error.needs, error
for word in ("qemu-user", "Rosetta", "landlock_only()"):
    assert word in error.remedy, error
""")


def test_a_filter_that_is_in_force_denies_seccomp(ok: Any) -> None:
    ok(LIKE_AN_EMULATOR.replace("PRCTL", str(errno.EPERM)).replace("SECCOMP)", f"{errno.EPERM})") + """
error = refused(SetupError, SafetyContext().enable("write", SystemIO().allow_read_path("/")).apply_to_current_thread)
assert error.errno == errno.EPERM and "a filter denies it" in error.remedy, error
""")  # fmt: skip


def test_an_answer_that_the_kernel_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    from isolate_fn._sys import this_process_calls

    monkeypatch.setattr(this_process_calls, "knows_action", lambda verdict: False)
    with pytest.raises(Unsupported, match="notify"):
        SafetyContext().enable(STDOUT).with_action(NOTIFY).apply_to_current_thread()


def test_too_long_a_filter(ok: Any) -> None:
    ok("""
    long = [Custom(f"s{n}", Rule("getpgid", Arg(0) == 3 * n, Arg(1) > 5 * n)) for n in range(500)]
    error = refused(PolicyError, SafetyContext().enable(*long).apply_to_current_thread)
    assert "4096" in str(error), error
    assert untouched()
    """)

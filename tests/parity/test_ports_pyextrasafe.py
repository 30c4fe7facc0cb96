"""What pyextrasafe 0.1.0a1 shows and documents, as tests: it has one of its own, which test_ports_examples.py ports.

Its rules of one's own are commented out in every release; here they work as its documentation has them.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from check_generated import GENERATORS
from generate_rules_page import ORDER

import isolate_fn
from isolate_fn import Isolate, SafetyContext, errors, rules
from isolate_fn.errors import PolicyError
from isolate_fn.rules import (
    BasicCapabilities,
    Compare,
    CompareOp,
    Custom,
    ForkAndExec,
    Networking,
    Rule,
    RuleSet,
    SystemIO,
    Threads,
    Time,
    sysno,
)

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "typing" / "rules.py"
Ok = Callable[[str], str]

ALL = """
ExtraSafeError RuleSet SafetyContext BasicCapabilities ForkAndExec Networking SystemIO Threads Time
lock_pid_file restrict_privileges
"""


def test_its_names_are_here() -> None:
    """Those of its `__all__`, under the same names; the error is the base of a whole tree of them."""
    for name in ALL.split():
        if name == "ExtraSafeError":
            assert issubclass(errors.IsolationError, Exception)
        else:
            assert hasattr(rules, name) or hasattr(isolate_fn, name), name
    assert isolate_fn.__version__


def test_how_its_sets_print() -> None:
    """As the call that makes them, instead of names of flags."""
    assert repr(BasicCapabilities()) == "BasicCapabilities()"
    assert repr(ForkAndExec()) == "ForkAndExec()"
    networking = Networking().allow_start_unix_servers().allow_running_tcp_clients()
    assert repr(networking) == "Networking().allow_running_tcp_clients().allow_start_unix_servers()"
    assert repr(Threads().allow_sleep().allow_create()) == "Threads().allow_create().allow_sleep()"
    assert repr(Time().allow_gettime()) == "Time().allow_gettime()"
    files = SystemIO().allow_file_write(7).allow_file_read(5).allow_file_read(3).allow_file_read(5).allow_stdout()
    assert repr(files) == ("SystemIO().allow_file_read(3).allow_file_read(5).allow_file_write(7).allow_stdout()"), (
        "descriptors sorted, each once"
    )


def test_what_it_refuses_by_type() -> None:
    for value in (3, None, object()):
        with pytest.raises(PolicyError) as caught:
            SafetyContext().enable(value)  # type: ignore[arg-type]
        assert isinstance(caught.value, ValueError)
    with pytest.raises(PolicyError, match="illegal fileno"):
        SystemIO().allow_file_read(-1)
    with pytest.raises(PolicyError, match="not a file descriptor"):
        SystemIO().allow_file_write("3")  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="illegal fileno"):
        SystemIO().allow_file_write(2**40)


def test_the_base_class_and_builtin_sets_can_be_inherited_from() -> None:
    """There, neither can: RuleSet() has no constructor and builtin sets are final."""
    assert tuple(RuleSet().simple_rules()) == ()

    class Quiet(SystemIO):
        pass

    assert Quiet().allow_stdout().name == "Quiet"


def test_a_context_keeps_the_value_that_was_enabled() -> None:
    """There, changing a set after enable() changes what is applied; here nothing changes a set."""
    writes = SystemIO().allow_stdout()
    context = SafetyContext().enable(writes)
    wider = writes.allow_stderr()
    assert list(context) == [writes]
    assert wider not in list(context)


def test_iterating_tells_how_many_are_left() -> None:
    context = SafetyContext().enable(Time(), Threads(), "getpgid")
    left = iter(context)
    assert next(left) == Time()
    assert left.__length_hint__() == 2  # type: ignore[attr-defined]
    assert list(left) == [Threads(), "getpgid"]


def test_basic_capabilities_alone(ok: Ok) -> None:
    """Its empty context is this one; here an empty one is an error, because nobody means it."""
    ok("""
    SafetyContext().enable(BasicCapabilities()).apply_to_all_threads()
    assert os.getpid() > 0
    denied(lambda: os.open("/etc/passwd", os.O_RDONLY))
    """)


def test_everything_reads_and_writes_files(ok: Ok) -> None:
    """There, everything() also sets the flags that restrict: nothing but standard input can be read."""
    ok("""
    SafetyContext().enable(SystemIO.everything()).apply_to_all_threads()
    with open("file", "w+") as file:
        file.write("text")
        file.seek(0)
        assert file.read() == "text"
    assert open("/etc/passwd").read()
    """)


def test_writing_is_not_silently_cut_to_stdout(ok: Ok) -> None:
    """There, allow_write().allow_stdout() writes to standard output only, without a word."""
    ok("""
    file = os.open("file", os.O_CREAT | os.O_WRONLY)
    SafetyContext().enable(SystemIO().allow_write().allow_stdout()).apply_to_all_threads()
    assert os.write(file, b"x") == 1
    """)


# --- Custom, Rule, Compare, CompareOp --------------------------------------------------------------------------------

OWN = """
own = Custom().add_simple(sysno["getpgid"]).add_conditional(
    Rule(sysno["socket"], [
        Compare(0, CompareOp.Equal, socket.AF_UNIX),
        Compare(1, CompareOp.MaskedEqual(0xF), socket.SOCK_DGRAM),
    ])
)
"""
TUPLES = """
own = Custom().add_simple("getpgid").add_conditional(
    ("socket", [(0, "==", socket.AF_UNIX), (1, CompareOp.MaskedEqual(0xF), socket.SOCK_DGRAM)])
)
"""


@pytest.mark.parametrize("own", [OWN, TUPLES], ids=["objects", "tuples"])
def test_rules_as_its_documentation_has_them(ok: Ok, own: str) -> None:
    """Also: the first conditional rule for a call counts. In its source it is lost."""
    ok(f"""{own}
SafetyContext().enable(own).apply_to_all_threads()
assert os.getpgid(0) > 0
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
denied(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
denied(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
denied(lambda: os.getsid(0))
""")


OPERATORS = [
    ("CompareOp.NotEqual", (6, 8, -1)),
    ("CompareOp.Less", (6,)),
    ("CompareOp.LessOrEqual", (6, 7)),
    ("CompareOp.Equal", (7,)),
    ("CompareOp.GreaterEqual", (7, 8, -1)),
    ("CompareOp.Greater", (8, -1)),
    ("CompareOp.MaskedEqual(7)", (7, -1)),
]


@pytest.mark.parametrize(("op", "permitted"), OPERATORS, ids=[op for op, _ in OPERATORS])
def test_every_operator_in_the_kernel(ok: Ok, op: str, permitted: tuple[int, ...]) -> None:
    """getppid(2) ignores its arguments; -1 is a register full of ones, the greatest value there is."""
    ok(f"""
    SafetyContext().enable(Custom("own", Rule("getppid", [Compare(0, {op}, 7)]))).apply_to_all_threads()
    seen = tuple(value for value in (6, 7, 8, -1) if native("getppid", value) == 0)
    assert seen == {permitted}, seen
    """)


def test_an_unknown_call_is_refused() -> None:
    with pytest.raises(KeyError):
        sysno["no such call"]
    with pytest.raises(PolicyError, match="is a number"):
        Custom().add_simple(2)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="no_such_call"):
        SafetyContext().enable(Custom().add_simple("no_such_call"))


def test_custom_sorts_out_repetitions() -> None:
    made = Custom().add_simple("reboot").add_simple("reboot", "sync")
    assert made.name == "custom"
    assert made.simple_rules() == ("reboot", "sync")
    first, second = Rule("open", [Compare(0, "==", 1)]), Rule("open", [Compare(0, "==", 2)])
    assert made.add_conditional(first).add_conditional(second, first).conditional_rules() == {"open": (first, second)}
    assert repr(Compare(0, CompareOp.Equal, 3)) == "Compare(0, CompareOp.Equal, 3)"


# --- types -----------------------------------------------------------------------------------------------------------


def methods() -> set[str]:
    """Every public method of the sets, the context and the builder."""
    found = set()
    for owner in (*ORDER, SafetyContext, Isolate, Custom, Rule):
        for name, member in inspect.getmembers(owner):
            if not name.startswith("_") and callable(member):
                found.add(name)
    return found


def test_a_sample_names_every_public_method() -> None:
    """Its type stubs refuse every correct call of enable(), lack a method and misspell another."""
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(SAMPLE.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert methods() <= called


def test_the_sample_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}", "--follow-imports=silent", str(SAMPLE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_checks_are_in_the_continuous_check() -> None:
    """black, mypy and sphinx -W there; and here, that no generated page is stale."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("ruff check", "mypy", "sphinx-build -q -W", "tools/check_generated.py"):
        assert f"\n    {command}" in script or f"\n    python {command}" in script, command
    for page in ("syscall_numbers", "rules_page", "parity_page"):
        assert f"tools/generate_{page}.py" in GENERATORS

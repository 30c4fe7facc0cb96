"""`isolate-fn explain`: what it prints, what it understands, and that it evaluates nothing of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import isolate_fn
from isolate_fn import explain, rules
from isolate_fn.cli import main
from isolate_fn.cli.expressions import NotARuleSet, read_rule_set
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.rules import Arg, Custom, LandlockRule, PortRule, Rule, SystemIO, Threads

# --- expressions ------------------------------------------------------------------------------------------------

EXPRESSIONS = [
    ("SystemIO.nothing().allow_stdout()", SystemIO.nothing().allow_stdout()),
    ("SystemIO().allow_stdout().allow_stderr()", SystemIO().allow_stdout().allow_stderr()),
    ("SystemIO.everything()", SystemIO.everything()),
    ("  Threads  ", Threads()),
    ("Threads().allow_sleep().yes_really()", Threads().allow_sleep()),
    ("SystemIO().allow_file_read(3)", SystemIO().allow_file_read(3)),
    ("SystemIO().allow_read_path('/etc')", SystemIO().allow_read_path("/etc")),
    ("write", "write"),
    ("'write'", "write"),
    ('Custom("mine", "reboot")', Custom("mine", "reboot")),
    ('Custom("m", Rule("socket", Arg(0) == 2))', Custom("m", Rule("socket", Arg(0) == 2))),
    ('Custom("m", Rule("socket", (Arg(1) & 0xF) == 1))', Custom("m", Rule("socket", (Arg(1) & 0xF) == 1))),
    ('Custom("m", Rule("socket", Arg(1, bits=32) != -1))', Custom("m", Rule("socket", Arg(1, bits=32) != -1))),
    ('Custom("m", Rule("kill", Arg(0, 32).signed() > -1))', Custom("m", Rule("kill", Arg(0, 32).signed() > -1))),
    ('Custom("m", Rule("read", Arg(0) < 1 << 3))', Custom("m", Rule("read", Arg(0) < 8))),
    ('Custom("m", Rule("read", (0, ">=", 3)))', Custom("m", Rule("read", Arg(0) >= 3))),
    ('Custom("m", Rule("read", Arg(0) <= 3, need=True))', Custom("m", Rule("read", Arg(0) <= 3, need=True))),
    ('Custom("m", LandlockRule("/etc", ["read_file"]))', Custom("m", LandlockRule("/etc", ["read_file"]))),
    (
        'Custom("m", LandlockRule("/etc", access.read_path() | access.list_dir()))',
        Custom("m", LandlockRule("/etc", ["read_file", "list_dir"])),
    ),
    ('Custom("m", PortRule(443, {"connect_tcp"}))', Custom("m", PortRule(443, {"connect_tcp"}))),
]


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_expressions(text: str, value: object) -> None:
    assert read_rule_set(text) == value


REFUSED = [
    ("__import__('os').system('true')", "__import__"),
    ("open('/etc/passwd')", "open"),
    ("eval('1')", "eval"),
    ("SystemIO().__class__", "__class__"),
    ("SystemIO.__subclasses__()", "__subclasses__"),
    ("SystemIO.nothing.__globals__", "__globals__"),
    ("SystemIO().name.format(1)", ".format is not"),
    ("'{0.__class__}'.format(Arg(0))", ".format is not"),
    ("access.annotations.compiler_flag", ".compiler_flag is not a public attribute"),
    ("access.__builtins__", "__builtins__"),
    ("(lambda: SystemIO())()", "lambda"),
    ("[SystemIO() for x in (1,)]", "more than names"),
    ("SystemIO() if 1 else 2", "more than names"),
    ("SystemIO(*(1,))", "more than names"),
    ("Custom('m', **{})", "** is not understood"),
    ("Custom('m', Rule('read', 1 < Arg(0) < 3))", "more than names"),
    ("Custom('m', Rule('read', Arg(0) < 1 << 10**9))", "more than names"),
    ("Custom('m', Rule('read', Arg(0) < 1 << 1000000))", "shifts go from 0 to 63"),
    ("f'{SystemIO}'", "more than names"),
    ("(x := SystemIO())", "more than names"),
    ("1", "is not a rule set"),
    ("SystemIO.everything", "call it"),
    ("Arg(0) == 1", "is not a rule set"),
    ("Rule('read')", "is not a rule set"),
    ("SystemIO.nothing(1)", "SystemIO.nothing(1): "),
    ("SystemIO..nothing()", "not an expression"),
    ("SystmIO", "did you mean SystemIO?"),
    ("Systm.everything()", "has no 'Systm'"),
    ("SystemIO().allow_stdot()", "did you mean allow_stdout"),
    ("os", "os"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED[:-1], ids=[text for text, _ in REFUSED[:-1]])
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(NotARuleSet) as refusal:
        read_rule_set(text)
    assert message in str(refusal.value)


def test_a_name_in_lower_case_is_a_system_call_and_no_module() -> None:
    assert read_rule_set("os") == "os"
    with pytest.raises(PolicyError, match="no system call is named 'os'"):
        explain("os")


def test_every_public_rule_set_can_be_named() -> None:
    sets = [name for name in rules.__all__ if isinstance(getattr(rules, name), type)]
    for name in sets:
        if issubclass(getattr(rules, name), rules.RuleSet) and name != "RuleSet":
            assert isinstance(read_rule_set(name), rules.RuleSet)


# --- what it prints ---------------------------------------------------------------------------------------------


def test_the_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--bpf", "--arch", "x86_64", "SystemIO.nothing().allow_stdout()", "reboot"]) == 0
    said = capsys.readouterr().out

    assert "  SystemIO().allow_stdout()\n  reboot\n  BasicCapabilities(), added by itself\n" in said
    assert "Permitted by:\n  SystemIO: write" in said
    assert "low32(arg0) == 0x1 -> allow    # SystemIO" in said
    assert " reboot " in said
    assert "Program for x86_64, " in said
    assert "     0  load architecture\n" in said
    assert "(x32)" in said
    assert all(len(line) <= 120 for line in said.splitlines())


def test_without_bpf_there_is_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "reboot"]) == 0
    assert "Program for" not in capsys.readouterr().out


def test_the_other_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--bpf", "--arch", "aarch64", "BasicCapabilities.nothing()", "open", "openat"]) == 0
    said = capsys.readouterr().out

    assert "Permitted, but aarch64 has no such call:\n  open\n" in said
    assert "0xc00000b7 (aarch64)" in said
    assert "x32" not in said.partition("Program for")[2]


def test_landlock_and_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [
        'Custom("Mine", LandlockRule("/etc", ["read_file", "truncate"]), PortRule(443, ["connect_tcp"]))',
        "Signals().keep_inside()",
        'Custom("NoCode", Rule("mmap", Arg(2, 32).has_none(4)))',
    ]
    assert main(["explain", *sets]) == 0
    said = capsys.readouterr().out

    assert "/etc: read_file, truncate (all since Landlock ABI 3)    # Mine\n" in said
    assert "every other path: nothing\n" in said
    assert "port 443: connect_tcp (all since Landlock ABI 4)    # Mine\n" in said
    assert "stays inside: signal (Landlock ABI 6)\n" in said
    assert "BasicCapabilities: mmap left out, because NoCode restricts mmap\n" in said


def test_a_decorated_function(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explained_module.py").write_text(
        "from isolate_fn import isolated\n\n"
        "@isolated(on_denied='kill')\ndef parse(x):\n    return x\n\nclass Holder:\n    inner = parse\n"
        "def plain(): pass\n"
    )
    monkeypatch.chdir(tmp_path)

    for name in ("parse", "Holder.inner"):
        assert main(["explain", "--bpf", f"explained_module:{name}"]) == 0
        said = capsys.readouterr().out
        assert "Base filter of every worker:" in said
        assert "every other call -> kill process" in said
        assert "Program for" in said
    for name, message in (("plain", "not a function decorated"), ("missing", "missing"), ("parse.x.y", "y")):
        assert main(["explain", f"explained_module:{name}"]) == 2
        assert message in capsys.readouterr().err
    assert main(["explain", "no_such_module:f"]) == 2
    assert "no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sets", "status", "message"),
    [
        (["wriet"], 1, "did you mean 'write'"),
        (["SystemIO().allow_stdout()", "write"], 1, "`write` from RuleSet `SystemIO`"),
        (["Custom('m', Rule('read', Arg(9) == 1))"], 1, "arguments 0 to 5"),
        (["SystmIO"], 2, "did you mean SystemIO?"),
    ],
)
def test_mistakes(sets: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *sets]) == status
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [["explain"], ["explain", "--arch", "riscv64", "read"]])
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


# --- the function behind it -------------------------------------------------------------------------------------


def test_explain_of_values() -> None:
    one = explain(SystemIO().allow_stdout(), machine="x86_64")

    assert one == explain([SystemIO().allow_stdout()], machine="x86_64")
    assert "every other call -> errno EPERM" in one
    assert "every other call -> kill process" in explain([], default=rules.KILL_PROCESS)
    assert "Base filter" in explain(isolate_fn.Policy())
    with pytest.raises(PolicyError, match="no tables for 'riscv64'"):
        explain([], machine="riscv64")
    with pytest.raises(PolicyError, match="is not a rule set"):
        explain(len)
    with pytest.raises(ConflictingRules):
        explain(["write", SystemIO().allow_stdout()])

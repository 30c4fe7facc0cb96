"""Unit tests and doctests of the Rust crate extrasafe, ported: each has the name that it has there."""

from __future__ import annotations

import ast
import ctypes
import errno
from pathlib import Path

import pytest

from isolate_fn._plan.rule_sets import compile_rule_sets
from isolate_fn._sys import libc
from isolate_fn.errors import PolicyError
from isolate_fn.rules import Arg, Compare, CompareOp, Custom, Rule

SYS = Path(libc.__file__).parent
HIGH = 1 << 40


def permitted(rule: Rule, *arguments: int) -> bool:
    """Ask the compiled filter, on both architectures."""
    policy = compile_rule_sets([Custom("mine", rule)]).policy
    answers = {
        str(policy.decide(machine, rule.syscall, (*arguments, *[0] * (6 - len(arguments)))))
        for machine in ("x86_64", "aarch64")
    }
    assert len(answers) == 1
    return answers == {"allow"}


# --- macros: seccomp_arg_filter!(arg0 <= 10) is Arg(0) <= 10 ----------------------------------------------------------


def test_comparison_le() -> None:
    assert (Arg(0) <= 10) == Compare(0, CompareOp.Le, 10).condition
    rule = Rule("getpgid", Arg(0) <= 10)
    assert [permitted(rule, value) for value in (9, 10, 11, HIGH)] == [True, True, False, False]


def test_comparison_lt() -> None:
    assert (Arg(1) < 10) == Compare(1, CompareOp.Lt, 10).condition
    rule = Rule("getpgid", Arg(1) < 10)
    assert [permitted(rule, 0, value) for value in (9, 10, 11, HIGH)] == [True, False, False, False]


def test_comparison_ge() -> None:
    assert (Arg(2) >= 5) == Compare(2, CompareOp.Ge, 5).condition
    rule = Rule("getpgid", Arg(2) >= 5)
    assert [permitted(rule, 0, 0, value) for value in (4, 5, 6, HIGH)] == [False, True, True, True]


def test_comparison_gt() -> None:
    assert (Arg(3) > 200) == Compare(3, CompareOp.Gt, 200).condition
    rule = Rule("getpgid", Arg(3) > 200)
    assert [permitted(rule, 0, 0, 0, value) for value in (199, 200, 201, HIGH)] == [False, False, True, True]


def test_comparison_eq() -> None:
    assert (Arg(4) == 0) == Compare(4, CompareOp.Eq, 0).condition
    rule = Rule("getpgid", Arg(4) == 0)
    assert [permitted(rule, 0, 0, 0, 0, value) for value in (0, 1, HIGH)] == [True, False, False]


def test_comparison_ne() -> None:
    assert (Arg(5) != 80) == Compare(5, CompareOp.Ne, 80).condition
    rule = Rule("getpgid", Arg(5) != 80)
    assert [permitted(rule, 0, 0, 0, 0, 0, value) for value in (80, 79, 80 + HIGH)] == [False, True, True]


def test_comparison_mask() -> None:
    assert (Arg(2) & 0x1337 == 0x37) == Compare(2, CompareOp.MaskedEq(0x1337), 0x37).condition
    rule = Rule("getpgid", Arg(2) & 0x1337 == 0x37)
    assert [permitted(rule, 0, 0, value) for value in (0x37, 0x37 | 0x8, 0x1337, 0x36)] == [True, True, False, False]


# --- doctests --------------------------------------------------------------------------------------------------------


def test_doctest_seccomp_argument_filter() -> None:
    """new(), new64() and new32(): a field, an operator, a value, and how many of the bits count."""
    assert (Arg(0) == 10) == (Arg(0, 64) == 10) == Compare(0, CompareOp.Eq, 10).condition
    narrow = Rule("socket", Arg(0, 32) == 10)
    assert permitted(narrow, 10)
    assert permitted(narrow, 10 + HIGH)
    assert not permitted(Rule("socket", Arg(0, 64) == 10), 10 + HIGH)
    with pytest.raises(PolicyError, match="no argument 6"):  # there, an error only when it is applied
        Arg(6)


def test_doctest_seccomp_arg_filter() -> None:
    rule = Rule("socket", Arg(0) == 2).and_condition(Arg(1) & 0xF == 1)
    assert permitted(rule, 2, 1)
    assert not permitted(rule, 2, 2)
    assert not permitted(rule, 10, 1)


# --- isolate_sys -----------------------------------------------------------------------------------------------------


def test_fail_negative() -> None:
    """A failing call raises an error that names the call, and says why."""
    close = libc.bind("close", ctypes.c_int)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        close(-1)
    assert (caught.value.errno, caught.value.filename) == (errno.EBADF, "close")


def test_fail_null() -> None:
    """The seed has a second check for calls that return pointers; here none is bound, which is what this holds fast."""
    bound = set()
    for path in SYS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("bind"):
                bound |= {ast.unparse(word.value) for word in node.keywords if word.arg == "restype"}
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_restype_":
                bound |= {ast.unparse(node.value)}  # of what is declared without another
    assert bound == {"Int", "Long"}

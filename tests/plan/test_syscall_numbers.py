"""The generated tables: known numbers, both directions, and that the generator still writes what is there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isolate_fn._sys import numbers

TOOL = Path(__file__).resolve().parents[2] / "tools" / "generate_syscall_numbers.py"

KNOWN = [  # name, x86_64, aarch64
    ("read", 0, 63),
    ("getpid", 39, 172),
    ("clone", 56, 220),
    ("fork", 57, None),
    ("open", 2, None),
    ("openat", 257, 56),
    ("newfstatat", 262, 79),
    ("mmap", 9, 222),
    ("fadvise64", 221, 223),
    ("sync_file_range", 277, 84),
    ("seccomp", 317, 277),
    ("uretprobe", 335, None),
    ("clone3", 435, 435),
    ("memfd_secret", 447, 447),
    ("mseal", 462, 462),
    ("open_tree_attr", 467, 467),
    ("rseq_slice_yield", 471, 471),
]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_syscall_numbers", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "x86_64", "aarch64"), KNOWN)
def test_known_numbers(name: str, x86_64: int | None, aarch64: int | None) -> None:
    assert numbers.table("x86_64").get(name) == x86_64
    assert numbers.table("aarch64").get(name) == aarch64


@pytest.mark.parametrize("machine", numbers.MACHINES)
def test_names_and_numbers_are_one_to_one(machine: str) -> None:
    table, names = numbers.table(machine), numbers.names(machine)

    assert len(table) == len(names) > 300
    assert all(table[name] == number for number, name in names.items())
    assert max(names) == 471


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        numbers.table("x86_64")["read"] = 1  # type: ignore[index]


def test_no_table_for_other_architectures() -> None:
    with pytest.raises(KeyError):
        numbers.table("riscv64")


def test_is_known_looks_at_every_architecture() -> None:
    assert numbers.is_known("fork")
    assert numbers.is_known("openat")
    assert not numbers.is_known("opennat")


def test_the_generator_writes_what_is_there(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if not (generator.GENERIC_HEADER.exists() and any(path.exists() for path in generator.X86_64_HEADERS)):
        pytest.skip("no kernel headers: install the package linux-libc-dev")

    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_table_is_reported(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "x86_64.py"
    table.write_text("NUMBERS = {}\n")
    monkeypatch.setattr(generator, "generate", lambda: {table: "NUMBERS = {'read': 0}\n"})

    assert generator.main(["--check"]) == 1
    assert "x86_64.py is out of date" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


HEADER = """
#define __NR_io_setup 0
__SYSCALL(__NR_io_setup, sys_io_setup)
#define __NR3264_fcntl 25
#ifdef __ARCH_WANT_RENAMEAT
#define __NR_renameat 38
#endif
#if defined(__ARCH_WANT_TIME32_SYSCALLS) || __BITS_PER_LONG != 32
#define __NR_ppoll 73
#else
#define __NR_never 1000
#endif
#if __BITS_PER_LONG == 64 && !defined(__SYSCALL_COMPAT)
#define __NR_fcntl __NR3264_fcntl
#else
#define __NR_fcntl64 __NR3264_fcntl
#endif
"""


def test_reading_a_header_with_conditionals(generator: ModuleType) -> None:
    assert generator.read_header(HEADER) == {"io_setup": 0, "ppoll": 73, "fcntl": 25}
    assert generator.read_header(HEADER, frozenset({"__ARCH_WANT_RENAMEAT"}))["renameat"] == 38


def test_a_condition_it_does_not_know_is_an_error_and_not_a_guess(generator: ModuleType) -> None:
    with pytest.raises(generator.HeaderError, match="cannot evaluate"):
        generator.read_header("#if LINUX_VERSION > 5\n#define __NR_read 0\n#endif\n")


def test_header_and_supplement_must_agree(generator: ModuleType) -> None:
    header = {"set_mempolicy_home_node": 450, "mseal": 463}
    with pytest.raises(generator.HeaderError, match="mseal"):
        generator._merge(header, generator.SUPPLEMENT)


def test_calls_newer_than_the_supplement_are_left_out(
    generator: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = generator._merge({"set_mempolicy_home_node": 450, "brand_new": 9999}, generator.SUPPLEMENT)

    assert "brand_new" not in merged
    assert "brand_new (9999) is newer" in capsys.readouterr().err


def test_the_tables_are_imported_when_asked_for() -> None:
    code = (
        "import sys; from isolate_fn._sys import numbers; "
        "assert 'isolate_fn._sys.numbers.x86_64' not in sys.modules; numbers.table('aarch64'); "
        "assert 'isolate_fn._sys.numbers.x86_64' not in sys.modules"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, cwd=TOOL.parents[1])

"""Write isolate_fn/_sys/numbers/{x86_64,aarch64}.py from the kernel's own headers.

Run it where the headers are installed (Debian package ``linux-libc-dev``):

    python tools/generate_syscall_numbers.py            # rewrite the tables
    python tools/generate_syscall_numbers.py --check    # exit 1 when a table is not what would be written

The output depends on nothing but the headers' syscall numbers: no date, no host, no package version. Headers
of any release from Linux 6.1 on give the same files, because SUPPLEMENT names what later kernels added and
everything beyond it is left out (with a note on stderr, so that somebody extends it).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "isolate_fn" / "_sys" / "numbers"

X86_64_HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
)
GENERIC_HEADER = Path("/usr/include/asm-generic/unistd.h")

#: What arch/arm64/include/uapi/asm/unistd.h defines before it includes <asm-generic/unistd.h>.
AARCH64_WANTS = frozenset(
    {
        "__ARCH_WANT_RENAMEAT",
        "__ARCH_WANT_NEW_STAT",
        "__ARCH_WANT_SET_GET_RLIMIT",
        "__ARCH_WANT_TIME32_SYSCALLS",
        "__ARCH_WANT_SYS_CLONE3",
        "__ARCH_WANT_MEMFD_SECRET",
    }
)

#: Calls newer than Linux 6.1, on every architecture under the same number.
SUPPLEMENT = (
    ("cachestat", 451),  # Linux 6.5
    ("fchmodat2", 452),  # Linux 6.6
    ("map_shadow_stack", 453),  # Linux 6.6
    ("futex_wake", 454),  # Linux 6.7
    ("futex_wait", 455),  # Linux 6.7
    ("futex_requeue", 456),  # Linux 6.7
    ("statmount", 457),  # Linux 6.8
    ("listmount", 458),  # Linux 6.8
    ("lsm_get_self_attr", 459),  # Linux 6.8
    ("lsm_set_self_attr", 460),  # Linux 6.8
    ("lsm_list_modules", 461),  # Linux 6.8
    ("mseal", 462),  # Linux 6.10
    ("setxattrat", 463),  # Linux 6.13
    ("getxattrat", 464),  # Linux 6.13
    ("listxattrat", 465),  # Linux 6.13
    ("removexattrat", 466),  # Linux 6.13
    ("open_tree_attr", 467),  # Linux 6.15
    ("file_getattr", 468),  # Linux 6.17
    ("file_setattr", 469),  # Linux 6.17
    ("listns", 470),  # Linux 6.19
    ("rseq_slice_yield", 471),  # Linux 7.0
)
X86_64_SUPPLEMENT = (
    ("uretprobe", 335),  # Linux 6.11; entered by the kernel's own trampolines only
    ("uprobe", 336),  # Linux 6.18; likewise
)
NEWEST = max(number for _, number in SUPPLEMENT)

_DEFINE = re.compile(r"#\s*define\s+__NR(3264)?_(\w+)\s+(\w+)")
_CONDITION = re.compile(r"#\s*(if|ifdef|ifndef|else|endif)\b(.*)")
#: Defines in asm-generic/unistd.h that are limits and not calls.
_NOT_CALLS = frozenset({"syscalls", "arch_specific_syscall", "sync_file_range2"})


class HeaderError(Exception):
    """The headers do not say what this generator was written for."""


def _holds(expression: str, defined: frozenset[str]) -> bool:
    """Evaluate one ``#if`` line for a 64-bit architecture: ``||`` over ``&&`` over single tests."""
    text = re.sub(r"/\*.*?\*/", "", expression)
    return any(all(_test(term.strip(), defined) for term in part.split("&&")) for part in text.split("||"))


def _test(term: str, defined: frozenset[str]) -> bool:
    macro = re.fullmatch(r"(!?)\s*defined\s*\(?\s*(\w+)\s*\)?", term)
    if macro:
        return (macro[2] in defined) != bool(macro[1])
    bits = re.fullmatch(r"__BITS_PER_LONG\s*(==|!=)\s*(\d+)", term)
    if bits:
        return (int(bits[2]) == 64) == (bits[1] == "==")
    raise HeaderError(f"cannot evaluate #if {term!r}")


def _say(message: str) -> None:
    sys.stderr.write(f"{Path(__file__).name}: {message}\n")


def _active_lines(text: str, defined: frozenset[str]) -> Iterator[str]:
    """Yield the lines that survive the conditionals."""
    macros = set(defined)
    stack: list[bool] = []
    for line in text.splitlines():
        condition = _CONDITION.match(line)
        if condition is None:
            if all(stack):
                yield line
                plain = re.match(r"#\s*define\s+(\w+)", line)
                if plain:
                    macros.add(plain[1])
            continue
        word, rest = condition[1], condition[2]
        if word == "endif":
            stack.pop()
        elif word == "else":
            stack[-1] = not stack[-1]
        elif word == "if":
            stack.append(_holds(rest, frozenset(macros)))
        else:
            stack.append((rest.split()[0] in macros) == (word == "ifdef"))


def read_header(text: str, defined: frozenset[str] = frozenset()) -> dict[str, int]:
    """Return the calls that a header defines.

    Args:
        text: the content of asm/unistd_64.h or asm-generic/unistd.h.
        defined: macros that are defined before the header is read.
    """
    literal: dict[str, int] = {}
    found: dict[str, int] = {}
    for line in _active_lines(text, defined):
        match = _DEFINE.match(line)
        if match is None or match[2] in _NOT_CALLS:
            continue
        wide, name, value = match[1], match[2], match[3]
        if value.isdigit():
            literal[f"__NR{wide or ''}_{name}"] = int(value)
            if not wide:
                found[name] = int(value)
        elif value in literal:  # the closing block: #define __NR_fcntl __NR3264_fcntl
            found[name] = literal[value]
        else:
            raise HeaderError(f"__NR_{name} is {value}, which is not defined")
    return found


def _merge(header: dict[str, int], supplement: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """Add the calls that are newer than the header; complain where both know a call and differ."""
    if "set_mempolicy_home_node" not in header:
        raise HeaderError("headers older than Linux 6.1: install a newer linux-libc-dev")
    for name, number in header.items():
        if number > NEWEST:
            _say(f"note: {name} ({number}) is newer than the supplement; left out")
    merged = {name: number for name, number in header.items() if number <= NEWEST}
    for name, number in supplement:
        if merged.setdefault(name, number) != number:
            raise HeaderError(f"{name} is {merged[name]} in the header and {number} in the supplement")
    numbers = list(merged.values())
    if len(set(numbers)) != len(numbers):
        raise HeaderError("two names share a number")
    return merged


def render(machine: str, source: str, numbers: dict[str, int]) -> str:
    """Return the text of one generated module."""
    lines = [
        f'"""System call numbers of {machine}, from <{source}> and its supplement up to Linux 7.x.',
        "",
        "Generated by tools/generate_syscall_numbers.py; do not edit.",
        '"""',
        "",
        "NUMBERS: dict[str, int] = {",
        *(f'    "{name}": {number},' for name, number in sorted(numbers.items(), key=lambda item: item[1])),
        "}",
        "",
    ]
    return "\n".join(lines)


def generate() -> dict[Path, str]:
    """Read the installed headers and return path -> content of every generated file."""
    x86_64_header = next((path for path in X86_64_HEADERS if path.exists()), None)
    if x86_64_header is None or not GENERIC_HEADER.exists():
        raise HeaderError("kernel headers not found: install the package linux-libc-dev")
    x86_64 = _merge(read_header(x86_64_header.read_text()), SUPPLEMENT + X86_64_SUPPLEMENT)
    aarch64 = _merge(read_header(GENERIC_HEADER.read_text(), AARCH64_WANTS), SUPPLEMENT)
    return {
        OUTPUT / "x86_64.py": render("x86_64", "asm/unistd_64.h", x86_64),
        OUTPUT / "aarch64.py": render("aarch64", "asm-generic/unistd.h", aarch64),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the tables, or with ``--check`` compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a table is out of date")
    options = parser.parse_args(arguments)
    try:
        files = generate()
    except HeaderError as error:
        _say(str(error))
        return 2
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if options.check:
            _say(f"{path.name} is out of date; run this without --check")
        else:
            path.write_text(files[path])
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

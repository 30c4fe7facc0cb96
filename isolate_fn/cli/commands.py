"""What ``isolate-fn`` understands. Each subcommand is one function that returns the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from isolate_fn import __version__

EXIT_USAGE = 2  # argparse's own status for a wrong command line
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse and carry out a command line; see `isolate_fn.cli.main`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: isolate-fn demo | head
        return _silently()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isolate-fn", description="Run one Python function inside its own Linux sandbox."
    )
    parser.add_argument("--version", action="version", version=f"isolate-fn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="hostile files, once unprotected in a throwaway process and once isolated",
        description="Feed hostile files to real software twice: unprotected, in a throwaway process with a "
        "decoy secret in a temporary directory, and isolated. Prints what each did.",
        epilog="Exit status: 0 when nothing got out of the isolates, 1 otherwise.",
    )
    demo.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    demo.add_argument("--only", action="append", metavar="NAME", help="run this case only; can be repeated")
    demo.add_argument("--list", action="store_true", help="print the names of the cases and end")
    demo.add_argument("--offline", action="store_true", help="download nothing; use what is already there")
    _add_explain(commands)
    return parser


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="what rule sets, or a function's policy, do to system calls",
        description="Print what every system call is answered under rule sets, and on request the seccomp program. "
        "Nothing is enforced.",
        epilog="Rule sets are values of isolate_fn.rules in Python's notation, such as "
        "'SystemIO.nothing().allow_stdout()' or Threads; a plain name such as write is that system call.",
    )
    explain.add_argument("subjects", nargs="+", metavar="SET", help="a rule set, or MODULE:FUNCTION")
    explain.add_argument("--bpf", action="store_true", help="print the program, one instruction a line")
    explain.add_argument(
        "--arch", choices=("x86_64", "aarch64"), help="for this architecture (default: this machine's)"
    )


def _demo(options: argparse.Namespace) -> int:
    from isolate_fn.cli import demo
    from isolate_fn.cli.cases import CASES

    if options.list:
        for case in CASES:
            print(f"{case.name:{demo.NAME_WIDTH}}  {case.title}")
        return 0
    unknown = sorted(set(options.only or ()) - {case.name for case in CASES})
    if unknown:
        print(f"isolate-fn demo: no case named {', '.join(unknown)}; --list prints them", file=sys.stderr)
        return EXIT_USAGE
    return demo.run(only=options.only, as_json=options.json, offline=options.offline)


def _explain(options: argparse.Namespace) -> int:
    from isolate_fn.cli import explain

    return explain.run(options)


def _silently() -> int:
    # The interpreter flushes stdout at exit and would report the broken pipe once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


_COMMANDS = {"demo": _demo, "explain": _explain}

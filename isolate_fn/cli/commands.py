"""What ``isolate-fn`` understands. Each subcommand is one function that returns the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from isolate_fn import __version__
from isolate_fn.cli.output import NotWritten, output

EXIT_USAGE = 2  # argparse's own status for a wrong command line
EXIT_NOT_WRITTEN = 125  # as `isolate-fn run`
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT
_POLICY = "a TOML file, FILE:NAME for one of several in it, a preset such as TOOLS, or a name in pyproject.toml here or above"


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse and carry out a command line; see `isolate_fn.cli.main`."""
    try:
        with output():
            return _command(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except NotWritten as failure:
        print(f"isolate-fn: the output could not be written: {failure}", file=sys.stderr)
        return EXIT_NOT_WRITTEN


def _command(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    return _COMMANDS[options.command](options)


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
        epilog="Exit status: 0 when nothing got out of the isolates, 1 otherwise, 125 when that could not be written.",
    )
    demo.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    demo.add_argument("--only", action="append", metavar="NAME", help="run this case only; can be repeated")
    demo.add_argument("--list", action="store_true", help="print the names of the cases and end")
    demo.add_argument("--offline", action="store_true", help="download nothing; use what is already there")
    _add_run(commands)
    _add_explain(commands)
    _add_learn(commands)
    _add_selftest(commands)
    _add_doctor(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run a program inside a sandbox",
        usage="isolate-fn run [--ro P] [--rw P] [--net] [--policy F] [...] -- CMD [ARG ...]",
        description="Run a program inside its own sandbox. It sees the system's programs and libraries and what is granted "
        "here, starts in an empty directory, and has no network, and of the environment PATH, HOME, TMPDIR, PWD, language and "
        "time zone. Without --policy the preset TOOLS holds.",
        epilog="Exit status: that of the program; 128+N when signal N ended it; 124 when its time was over; 125 when a limit "
        "ended it, its output could not be written, or it could not be isolated; 126 or 127 when it is not executable or not "
        "there.",
    )
    run.add_argument("--ro", action="append", default=[], metavar="P", help="show this file or directory, read-only")
    run.add_argument("--rw", action="append", default=[], metavar="P", help="show it writable")
    run.add_argument("--net", action="store_true", help="the host's network")
    run.add_argument("--policy", metavar="F", help=_POLICY)
    run.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable, or copy it")
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="kill it then")
    run.add_argument("--memory", metavar="SIZE", help="such as 512M")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD", help="the program and its arguments")


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="what this machine offers to isolated calls, what is wrong, and how to mend it",
        description="Look at this machine, try in throwaway processes what only a try can tell, and make one isolated "
        "call. Changes nothing.",
        epilog="Exit status: 0 when the call was isolated, 1 otherwise, 125 when that could not be written.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    doctor.add_argument("--problems", action="store_true", help="leave out what is as it should be")


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="what a function, a policy or rule sets permit",
        usage="isolate-fn explain [MODULE:FUNCTION | --policy F | SET ...] [--json | --html] [--program] [--bpf] [--arch ARCH]",
        description="Print what a function or policy may read, write, reach, run and use, which walls stand, its file tree and "
        "what its filter answers; of rule sets, what every system call is answered. Nothing is run and nothing enforced.",
        epilog="Rule sets are values of isolate_fn.rules in Python's notation, such as "
        "'SystemIO.nothing().allow_stdout()' or Threads; a plain name such as write is that system call.",
    )
    explain.add_argument("subjects", nargs="*", metavar="SUBJECT", help="MODULE:FUNCTION, or rule sets")
    explain.add_argument("--policy", metavar="F", help=_POLICY)
    explain.add_argument("--program", action="store_true", help="explain programs of a sandbox block, not functions")
    form = explain.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print one JSON document")
    form.add_argument("--html", dest="form", action="store_const", const="html", help="print one page with a picture")
    explain.add_argument("--bpf", action="store_true", help="print the filter's program, one instruction a line")
    explain.add_argument(
        "--arch", choices=("x86_64", "aarch64"), help="the filter for this architecture (default: this machine's)"
    )
    explain.set_defaults(form="text", refuse=explain.error)


def _add_learn(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from isolate_fn.cli.learn_options import add

    add(commands)


def _add_selftest(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "selftest",
        help="attack this very machine's isolation, and print which promises hold",
        description="Attack this machine's isolation as code inside an isolate would, grouped by promise. Where that is "
        "harmless each attack is then made without walls, in a throwaway process, to show that it works at all.",
        epilog="Verdicts: held; BROKEN; moot, where an attack fails without walls too and so shows nothing; n/a, where this "
        "machine lacks what the attack needs. Exit status: 0 when nothing is broken, 1 when something is or isolation does "
        "not work here, 2 for a wrong command line, 125 when that could not be written.",
    )
    parser.add_argument("--json", metavar="FILE", help="write one JSON document there; - for stdout, in place of the table")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit's XML there; - for stdout, in place of the table")
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="WHAT", help="promises, by number or name, or ids of attacks"
    )
    parser.add_argument("--list", action="store_true", help="print the attacks and end")
    parser.add_argument(
        "--without", action=argparse.BooleanOptionalAction, default=True, help="make the attacks without walls, too (default)"
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
    if not options.subjects and not options.policy:
        options.refuse("name a function, a policy or rule sets")
    from isolate_fn.cli import explain

    return explain.run(options)


def _learn(options: argparse.Namespace) -> int:
    from isolate_fn.cli import learn

    return learn.run(options)


def _selftest(options: argparse.Namespace) -> int:
    from isolate_fn.cli import selftest

    return selftest.run(options)


def _doctor(options: argparse.Namespace) -> int:
    from isolate_fn.cli import doctor

    return doctor.run(as_json=options.json, problems=options.problems)


def _run(options: argparse.Namespace) -> int:
    from isolate_fn.cli import run

    return run.run(options)


_COMMANDS = {"demo": _demo, "doctor": _doctor, "explain": _explain, "learn": _learn, "run": _run, "selftest": _selftest}

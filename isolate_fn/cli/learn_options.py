"""The options of ``isolate-fn learn``."""

from __future__ import annotations

import argparse

_EPILOG = (
    "Inside, the host's files can be read, but for those with secrets, which are refused and flagged; programs can be started; "
    "nothing of the host's can be changed, and there is no network without --net. Where it wants to change files it is run "
    "again with temporary copies of their directories. What it prints goes to stderr. Exit status: 0; with --check 1 when the "
    "policy grants what no run used; that of the program, or 1 for an exception, when it failed; 2 for a wrong command line; "
    "124 when its time was over; 125 when it could not be isolated; 128+N when signal N ended this command."
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    learn = commands.add_parser(
        "learn",
        help="run something inside the walls with everything to look at, and print the smallest policy for it",
        usage="isolate-fn learn [options] -- CMD [ARG ...] | [options] MODULE:FUNCTION [ARG ...] | [options] --merge FILE ...",
        description="Run a program, or call a function with arguments (JSON, Python literals, or text; NAME=VALUE by name), "
        "see what it uses, and print the smallest policy under which it works, as a decorator and as TOML.",
        epilog=_EPILOG,
    )
    learn.add_argument("--net", action="store_true", help="the host's network can be reached; without it attempts are recorded")
    learn.add_argument("--rw", action="append", default=[], metavar="P", help="let it really write to this directory")
    learn.add_argument("--scratch", action="append", default=[], metavar="P", help="let it write to a temporary copy of this one")
    learn.add_argument("--allow", action="append", default=[], metavar="P", help="let it read this file or directory of secrets")
    learn.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable, or copy it")
    learn.add_argument("--timeout", type=float, metavar="SECONDS", help="kill it then")
    learn.add_argument("--script", metavar="FILE", help="run this script, outside, which calls the function")
    learn.add_argument("--trim", action="store_true", help="try without each grant, and leave out what it does not need")
    learn.add_argument("--merge", action="append", default=[], metavar="FILE", help="take in what was saved; can be repeated")
    learn.add_argument("--save", metavar="FILE", help="save what was seen")
    learn.add_argument(
        "--check", metavar="POLICY", help="print what POLICY (as for run, or MODULE:FUNCTION's own) grants and no run used"
    )
    form = learn.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print one JSON document")
    form.add_argument("--toml", dest="form", action="store_const", const="toml", help="print the policy as TOML alone")
    learn.add_argument("what", nargs=argparse.REMAINDER, metavar="-- CMD | MODULE:FUNCTION ...", help="what to run")
    learn.set_defaults(form="text")

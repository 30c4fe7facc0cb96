"""``isolate-fn explain``: what rule sets, or a function's policy, do to system calls."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from isolate_fn import explain
from isolate_fn.cli.expressions import NotARuleSet, read_rule_set
from isolate_fn.errors import PolicyError

EXIT_WRONG = 1
EXIT_USAGE = 2


def run(options: argparse.Namespace) -> int:
    """Print the explanation of what the command line names; return the exit status."""
    try:
        subjects = [_subject(text) for text in options.subjects]
        sets = [subject for subject in subjects if not hasattr(subject, "policy")]
        texts = [explain(subject, **_options(options)) for subject in subjects if hasattr(subject, "policy")]
        if sets or not texts:
            texts.append(explain(sets, **_options(options)))
    except NotARuleSet as error:
        print(f"isolate-fn explain: {error}", file=sys.stderr)
        return EXIT_USAGE
    except PolicyError as error:
        print(f"isolate-fn explain: {error.field}: {error.problem}\n  try: {error.remedy}", file=sys.stderr)
        return EXIT_WRONG
    print("\n".join(texts), end="")
    return 0


def _options(options: argparse.Namespace) -> dict[str, Any]:
    return {"machine": options.arch, "bpf": options.bpf}


def _subject(text: str) -> Any:
    """Return a rule set or a name, or for MODULE:FUNCTION the decorated function."""
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return read_rule_set(text)
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NotARuleSet(f"{text}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not hasattr(found, "policy"):
        raise NotARuleSet(f"{text} is not a function decorated with @isolated")
    return found

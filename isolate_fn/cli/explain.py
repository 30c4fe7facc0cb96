"""``isolate-fn explain``: what a function, a policy or rule sets permit."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from isolate_fn import Policy, explain
from isolate_fn.cli import painting
from isolate_fn.cli.expressions import NotARuleSet, read_rule_set
from isolate_fn.cli.policies import absolute, policy_named, said
from isolate_fn.errors import PolicyError, Unsupported

EXIT_WRONG = 1
EXIT_USAGE = 2


def run(options: argparse.Namespace) -> int:
    """Print the explanation of what the command line names; return the exit status."""
    try:
        subjects = [_subject(text) for text in options.subjects]
        subjects += [policy_named(options.policy)] if options.policy else []
        policies = [subject for subject in subjects if _has_policy(subject)]
        sets = [subject for subject in subjects if not _has_policy(subject)]
        if options.form != "text" and (sets or len(policies) != 1):
            raise NotARuleSet(f"--{options.form} is for one function or policy")
        texts = [explain(subject, **_options(options)) for subject in policies]
        if sets or not texts:
            texts.append(explain(sets, machine=options.arch, bpf=options.bpf))
    except NotARuleSet as error:
        print(f"isolate-fn explain: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (PolicyError, Unsupported) as error:
        print(f"isolate-fn explain: {said(error)}", file=sys.stderr)
        return EXIT_WRONG
    painting.show("\n".join(texts), plain=options.form != "text")
    return 0


def _has_policy(subject: Any) -> bool:
    return isinstance(subject, Policy) or hasattr(subject, "policy")


def _options(options: argparse.Namespace) -> dict[str, Any]:
    return {"machine": options.arch, "bpf": options.bpf, "program": options.program, "form": options.form}


def _subject(text: str) -> Any:
    """Return a rule set or a name, or for MODULE:FUNCTION the decorated function."""
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return read_rule_set(text)
    here = absolute(os.curdir)
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does; it stays, because an isolate would import from there as well
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NotARuleSet(f"{text}: {error}") from error
    if not hasattr(found, "policy"):
        raise NotARuleSet(f"{text} is not a function decorated with @isolated")
    return found

"""A policy in words, in the form that was asked for."""

from __future__ import annotations

import json
from typing import Any

from isolate_fn.errors import Unsupported
from isolate_fn.policy import checks

FORMS = ("text", "json", "html")


def check_form(form: object) -> None:
    """Refuse a form that there is not.

    Raises:
        PolicyError: it is none of `FORMS`.
    """
    checks.one_of("form", form, *FORMS)


def in_words(subject: Any, listing: str, *, program: bool, form: str) -> str:
    """Return what a policy permits.

    Args:
        subject: whose policy; see `isolate_fn._diagnose.scene.scene_of`.
        listing: what its filter answers, which goes last.
        program: of programs in a sandbox block.
        form: one of `FORMS`.
    """
    from isolate_fn._diagnose.effective import effective  # rule sets are explained without all this
    from isolate_fn._diagnose.scene import scene_of
    from isolate_fn._diagnose.text import text_lines

    try:
        said = effective(scene_of(subject, program=program))
    except Unsupported as cause:
        if form != "text":
            raise
        return f"Here a call of it would raise Unsupported:\n  {cause}\n\n{listing}"
    if form == "json":
        return json.dumps({**said.as_dict(), "filter": listing.splitlines()}, indent=1, ensure_ascii=False) + "\n"
    if form == "html":
        from isolate_fn._diagnose.page import page

        return page(said, listing)
    return "\n".join((*text_lines(said), "", listing))

"""What was denied during a call, put where its caller looks: the report, notes on the exception, logging.

Light: what makes text of denials is imported where there are some.
"""

from __future__ import annotations

import sys

from isolate_fn._runtime.report import Denial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.isolate import Isolate
    from isolate_fn._runtime.prepared import Prepared

_MOST_MISSING = 64
_SIGNS_OF_FILES = ("SSLError", "SSLCertVerificationError", "gaierror", "ZoneInfoNotFoundError", "Error", "RemoteError")
"""Names of exceptions beside OSError and ImportError that a file which is not mounted may be behind."""


def denied_in(isolate: Isolate, prepared: Prepared) -> tuple[Denial, ...] | None:
    """Return what was denied in an isolate so far; None where that is not recorded."""
    if not prepared.plan.listen:
        return tuple(isolate.missing) or None
    if not (isolate.denials or isolate.missing):
        return ()
    from isolate_fn._runtime.denied import denials

    return denials(isolate, prepared)


def explain(error: BaseException, isolate: Isolate, prepared: Prepared) -> None:
    """Write on an exception of a call what was denied while it ran, and what would permit it.

    Args:
        error: raised by the function, or the reason why there is no answer.
        isolate: where it ran.
        prepared: what that was made from.
    """
    if prepared.terms.on_denied != "report":
        return
    isolate.hear_all()
    absent: list[Denial] = []
    from isolate_fn._runtime.chain import chain

    if any(map(_may_be_about_a_file, chain(error))):
        from isolate_fn._runtime.missing import missing

        absent = missing(error, prepared)
        isolate.missing += [each for each in absent if each not in isolate.missing][: _MOST_MISSING - len(isolate.missing)]
    if isolate.news or absent:
        from isolate_fn._runtime import denied

        if absent:
            denied.log(absent, prepared)
        denied.note(error, absent + denied.taken(isolate, prepared))


def notice(isolate: Isolate, prepared: Prepared) -> None:
    """Log what was denied during a call that ended well; without effect where nothing was."""
    if "logging" not in sys.modules:  # nobody listens
        isolate.news.clear()
    elif isolate.news:
        from isolate_fn._runtime.denied import taken

        taken(isolate, prepared)


def _may_be_about_a_file(error: BaseException) -> bool:
    return isinstance(error, (OSError, ImportError)) or type(error).__name__ in _SIGNS_OF_FILES

"""Whether this process is an isolate's: it can make no isolates of its own, so no policy decides anything there."""

from __future__ import annotations

import sys


def inside() -> bool:
    """True inside an isolate; only its worker has this module imported."""
    serve = sys.modules.get("isolate_fn._runtime.serve")
    return serve is not None and bool(serve.serving)

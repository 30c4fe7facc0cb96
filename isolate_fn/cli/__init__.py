"""The command line: ``isolate-fn``. Built from the public names of isolate_fn only."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit status.
    """
    # Imported here because the demo's functions are imported inside isolates, through this package.
    from isolate_fn.cli import commands

    return commands.run(arguments)

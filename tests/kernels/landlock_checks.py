"""What the checks of Landlock share: their registry, contexts and rules in short, and files."""

from __future__ import annotations

import socket
from collections.abc import Callable

from throwaway import Skipped, refused

from isolate_fn import Restrictions, SafetyContext
from isolate_fn.errors import Unsupported
from isolate_fn.rules import Custom, LandlockRule, RuleSet

Check = Callable[[int], None]
CHECKS: dict[str, Check] = {}
#: Rights on files that came after the first version, with their ABI: a context with paths says which of them are missing.
LATER = {"ACCESS_FS_TRUNCATE": 3, "ACCESS_FS_IOCTL_DEV": 5, "ACCESS_FS_RESOLVE_UNIX": 9}


def check(since: int = 0, before: int = 99) -> Callable[[Check], Check]:
    """Note a check, by its docstring, for the kernels that have at least and less than these ABIs."""

    def note(function: Check) -> Check:
        def bounded(abi: int) -> None:
            if abi < since:
                raise Skipped(f"needs Landlock ABI {since}, this kernel has {abi or 'none'}")
            if abi >= before:
                raise Skipped(f"is about Landlock before ABI {before}, this kernel has {abi}")
            function(abi)

        assert function.__doc__
        CHECKS[function.__doc__] = bounded
        return function

    return note


def context(abi: int, *sets: RuleSet | str) -> SafetyContext:
    """Return a context with sets that name paths; before ABI 3 it must be told to do without the right to truncate."""
    made = SafetyContext().enable(*sets)
    return made if abi >= LATER["ACCESS_FS_TRUNCATE"] else made.require("read_file")


def rights(path: str, *words: str) -> Custom:
    """Return a set that permits this with one path, and nothing else."""
    return Custom(f"{path} {words}", LandlockRule(path, words))


def only(abi: int, *sets: RuleSet) -> Restrictions:
    """Put this process under the Landlock rules of these sets."""
    return context(abi, *sets).landlock_only().apply_to_current_thread()


def refused_without(abi: int, word: str, needed: int) -> None:
    """Where the right is missing, requiring it is refused."""
    asked = SafetyContext().enable(rights(".", "read_file")).require(word)
    refused(Unsupported, asked.apply_to_current_thread, word, f"Landlock ABI {needed}", f"ABI {abi}")


def write(path: str, text: str = "x") -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def reach(path: str | bytes) -> int:
    """Connect to a unix socket; return the errno."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path)

"""What was seen, as plain values: paths, addresses, and remarks on what is not granted."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = ("secret", "code", "broad", "network", "private", "refused", "odd", "more")


@dataclass(frozen=True)
class Flag:
    """Something that was used and is not granted, or is granted and needs a look.

    Attributes:
        kind: ``"secret"`` (a file with keys, tokens or passwords), ``"code"`` (a place from which the caller imports or
            runs), ``"broad"`` (a directory with everything in it), ``"network"`` (an address that was not to be reached),
            ``"private"`` (a host file where isolates have a place of their own), ``"refused"`` (a change that was not made),
            ``"odd"`` (a name that is no text), ``"more"`` (there was more than is recorded).
        subject: the path or address, made safe to print.
        text: what it is about, in a sentence.
        granted: it is in the policy, because that was asked for.
    """

    kind: str
    subject: str
    text: str
    granted: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}" if self.subject else self.text


@dataclass
class Touched:
    """What was done with one path.

    Attributes:
        what: of ``"read"``, ``"listed"``, ``"looked"``, ``"run"``, ``"written"``, ``"changed"``, ``"missing"``,
            ``"secret"``, ``"secret read"``.
        real: the path without links.
        kind: ``"file"``, ``"directory"`` or ``"other"``.
        detail: more of it.
    """

    what: set[str] = field(default_factory=set)
    real: str = ""
    kind: str = ""
    detail: str = ""

    def merge(self, other: Touched) -> None:
        """Take in what another run did with it."""
        self.what |= other.what
        self.real = self.real or other.real
        self.kind = self.kind or other.kind
        self.detail = self.detail or other.detail

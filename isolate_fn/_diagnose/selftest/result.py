"""A finished selftest, and its forms for other programs: JSON, and JUnit's XML."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

from isolate_fn._diagnose.selftest.attack import Attack
from isolate_fn._diagnose.selftest.verdict import BROKEN, HELD, MOOT, NOT_APPLICABLE, NOT_PROMISED, Finding
from isolate_fn._runtime.report import Enforcement
from isolate_fn.errors import IsolationError

VERDICTS = (HELD, BROKEN, MOOT, NOT_APPLICABLE, NOT_PROMISED)


@dataclass(frozen=True)
class SelfTest:
    """What `isolate_fn.selftest` found.

    Attributes:
        findings: one for each attack, in the order of the catalogue: ``attack`` (with ``id``, ``promise``, ``title``, ``held``
            and ``known``), ``verdict`` (``"held"``, ``"broken"``, ``"moot"``, ``"not applicable"`` or ``"not promised"``),
            ``detail``, ``without`` (``"works"``, ``"fails"`` or ``"not tried"``), ``without_detail`` and ``seconds``.
        enforcement: what the isolates under attack were behind; None where there was none.
        error: why isolation does not work here; None where it does.
        seconds: how long all of it took.
    """

    findings: tuple[Finding, ...]
    enforcement: Enforcement | None
    error: IsolationError | None
    seconds: float

    @staticmethod
    def catalogue() -> tuple[Attack, ...]:
        """Return all attacks, in order."""
        from isolate_fn._diagnose.selftest.catalogue import ATTACKS

        return ATTACKS

    @staticmethod
    def promises() -> dict[int, tuple[str, str]]:
        """Return name and text of each promise, by its number."""
        from isolate_fn._diagnose.selftest.catalogue import PROMISES

        return {each.number: (each.name, each.text) for each in PROMISES}

    @property
    def held(self) -> bool:
        """Whether isolation works here and no attack broke what this machine's engine promises."""
        return self.error is None and not any(finding.verdict == BROKEN for finding in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """How many attacks came to each verdict."""
        counted = Counter(finding.verdict for finding in self.findings)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def machine(self) -> dict[str, Any]:
        """Say where this was: versions, kernel, user, and what the isolates were behind."""
        system = os.uname()
        found: dict[str, Any] = {
            "isolate_fn": sys.modules["isolate_fn"].__version__, "python": sys.version.split()[0], "kernel": system.release,
            "machine": system.machine,
            "user": os.geteuid(), "pretend": os.environ.get("ISOLATE_FN_PRETEND", ""),
        }  # fmt: skip
        if self.enforcement is not None:
            found |= {
                "engine": self.enforcement.engine, "layers": list(self.enforcement.layers),
                "landlock_abi": self.enforcement.landlock_abi, "dropped": list(self.enforcement.dropped),
                "properties": list(self.enforcement.properties), "differences": list(self.enforcement.differences),
            }  # fmt: skip
        return found

    def to_json(self) -> str:
        """Return one JSON document."""
        document: dict[str, Any] = {
            "held": self.held,
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            **self.machine(),
        }
        document["error"] = None if self.error is None else {"type": type(self.error).__name__, "text": str(self.error)}
        document["attacks"] = [_words(finding) for finding in self.findings]
        return json.dumps(document, indent=2)

    def to_junit(self) -> str:
        """Return the XML that continuous integration systems read as JUnit's.

        A broken promise is a failure, a moot attack and one that is not applicable are skipped, and where isolation does
        not work at all there is one test with an error.
        """
        import xml.etree.ElementTree as ElementTree

        root = ElementTree.Element("testsuites", name="isolate-fn selftest", time=f"{self.seconds:.3f}")
        if self.error is not None:
            suite = ElementTree.SubElement(
                root, "testsuite", name="isolation", tests="1", errors="1", failures="0", skipped="0"
            )
            case = ElementTree.SubElement(suite, "testcase", classname="selftest", name="isolation works here")
            ElementTree.SubElement(case, "error", message=_printable(str(self.error)))
        for number, (name, text) in self.promises().items():
            findings = [finding for finding in self.findings if finding.attack.promise == number]
            if findings:
                _suite(root, f"{name}: {text}", findings)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _words(finding: Finding) -> dict[str, Any]:
    attack = finding.attack
    return {
        "id": attack.id, "promise": attack.promise, "title": attack.title, "counts_as_held": attack.held, "known": attack.known,
        "verdict": finding.verdict, "detail": finding.detail, "without": finding.without,
        "without_detail": finding.without_detail, "seconds": round(finding.seconds, 3),
    }  # fmt: skip


def _suite(root: Any, name: str, findings: list[Finding]) -> None:
    import xml.etree.ElementTree as ElementTree

    count = Counter(finding.verdict for finding in findings)
    suite = ElementTree.SubElement(
        root, "testsuite", name=name, tests=str(len(findings)), failures=str(count[BROKEN]), errors="0",
        skipped=str(count[MOOT] + count[NOT_APPLICABLE] + count[NOT_PROMISED]),
    )  # fmt: skip
    for finding in findings:
        group, _, title = finding.attack.id.partition(".")
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"selftest.{group}", name=title, time=f"{finding.seconds:.3f}"
        )
        message = _printable(f"{finding.attack.title}: {finding.detail}")
        if finding.verdict == BROKEN:
            ElementTree.SubElement(case, "failure", message=message)
        elif finding.verdict != HELD:
            ElementTree.SubElement(case, "skipped", message=_printable(f"{finding.verdict}: {finding.detail}"))


def _printable(text: str) -> str:
    """Leave out what XML cannot hold: what came back from an isolate may hold anything."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)

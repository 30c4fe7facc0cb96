"""What `learn` has seen: kept, merged, written to a file and read again, and turned into a policy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from isolate_fn._diagnose.learn.findings import Flag, Touched
from isolate_fn.errors import PolicyError
from isolate_fn.policy.policy import Policy

_FORMAT = 1


class Seen:
    """What one or more runs did, and the smallest policy that permits it.

    Two are merged by ``|``: the policy of the merged one permits what either did.

    Args:
        base: options that the policy starts from, such as those of a decorated function.
        program: programs were run, and not functions called.

    Attributes:
        runs: how many runs there were.
        paths: what was done with each path, by its absolute name.
        addresses: (host, port, how) -> whether it could be reached.
        calls: how often each system call was made that was looked at.
        peaks: most of ``"memory"`` (bytes), ``"cpu_seconds"``, ``"wall_seconds"``, ``"processes"``, ``"open_files"``,
            ``"disk"`` (bytes on the isolate's own file system), ``"inodes"``, ``"output"`` (bytes), ``"written"`` (bytes in
            temporary copies) of any one run.
    """

    def __init__(self, base: Policy | None = None, *, program: bool = False) -> None:
        self.base = base if base is not None else Policy()
        self.program = program
        self.runs = 0
        self.paths: dict[str, Touched] = {}
        self.addresses: dict[tuple[str, int, str], bool] = {}
        self.calls: dict[str, int] = {}
        self.peaks: dict[str, float] = {}
        self.said: set[str] = set()
        self.shown: frozenset[str] = frozenset()
        self.homes: set[str] = set()  # modules of the functions
        self._made: tuple[Any, tuple[Policy, list[Flag]]] | None = None
        self.needless: set[str] | None = None  # places that were used and are not needed; None where nobody tried

    # --- what it comes to ------------------------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """The smallest policy under which what was seen works."""
        return self._both()[0]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Remarks on what was used and is not granted, or is granted and needs a look."""
        return tuple(self._both()[1])

    @property
    def programs(self) -> tuple[str, ...]:
        """Paths of what was executed."""
        return self._with({"run"})

    @property
    def read(self) -> tuple[str, ...]:
        """Paths that were read, executed or listed."""
        return self._with({"read", "run", "listed", "secret read"})

    @property
    def written(self) -> tuple[str, ...]:
        """Paths that were written, made, renamed or taken away, or would have been."""
        return self._with({"written", "changed"})

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths that were looked for and never found."""
        return tuple(path for path, touched in sorted(self.paths.items()) if touched.what == {"missing"})

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Paths with secrets that were asked for."""
        return self._with({"secret", "secret read"})

    def _with(self, kinds: set[str]) -> tuple[str, ...]:
        return tuple(path for path, touched in sorted(self.paths.items()) if touched.what & kinds)

    def decorator(self) -> str:
        """Return the policy as a line to write above a function: ``@isolated(...)``."""
        from isolate_fn._diagnose.learn.writing import decorator

        return decorator(self.policy, self._home)

    def imports(self) -> str:
        """Return the import lines that `decorator` needs."""
        from isolate_fn._diagnose.learn.writing import imports

        return imports(self.policy, self._home)

    def toml(self) -> str:
        """Return the policy as TOML, with remarks as comments; `Policy.from_toml` reads it."""
        from isolate_fn._diagnose.learn.writing import toml

        return toml(*self._both())

    def _both(self) -> tuple[Policy, list[Flag]]:
        """Return policy and remarks, made once for what is known: the host's files are looked at for it."""
        whats = sum(len(touched.what) for touched in self.paths.values())
        needless = None if self.needless is None else frozenset(self.needless)
        known = (self.base, self.program, self.runs, len(self.paths), whats, len(self.addresses), len(self.said), needless)
        if self._made is None or self._made[0] != known:
            from isolate_fn._diagnose.learn.needs import policy_of

            self._made = (known, policy_of(self))
        return self._made[1]

    def unused(self, policy: Policy) -> tuple[str, ...]:
        """Return a sentence for each grant of a policy that no run has used.

        Mounts, ``network=True`` and leave to start programs are looked at; limits and single rule sets are not.

        Args:
            policy: which one.
        """
        from isolate_fn._diagnose.learn.unused import unused

        return unused(policy, self)

    # --- taking in, merging ----------------------------------------------------------------------------------------------

    def take(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Take in what a spawner has told of one isolate."""
        calls: dict[str, int] = {}
        for each in messages:
            if "path" in each:
                touched = Touched({each["what"]}, each["real"], each["kind"], each["detail"])
                self.paths.setdefault(each["path"], Touched()).merge(touched)
            elif "host" in each:
                key = (each["host"], each["port"], each["how"])
                self.addresses[key] = self.addresses.get(key, False) or each["reached"]
            elif "peak" in each:
                self.peak(each["peak"], each["value"])
            elif "said" in each:
                self.said.add(each["said"])
            elif "calls" in each:
                calls.update(each["calls"])
        for name, count in calls.items():
            self.calls[name] = self.calls.get(name, 0) + count

    def peak(self, name: str, value: float) -> None:
        """Take in the most of something."""
        self.peaks[name] = max(self.peaks.get(name, 0), value)

    def __or__(self, other: Seen) -> Seen:
        """Return what either has seen."""
        if not isinstance(other, Seen):
            return NotImplemented
        if self.program != other.program:
            raise PolicyError("learn", "runs of programs and of functions need different policies", "merge one kind")
        merged = Seen(self.base if self.base != Policy() else other.base, program=self.program)
        for each in (self, other):
            merged.add(each)
        return merged

    def add(self, other: Seen) -> None:
        """Take in what another has seen."""
        self.runs += other.runs
        for path, touched in other.paths.items():
            self.paths.setdefault(path, Touched()).merge(touched)
        for key, reached in other.addresses.items():
            self.addresses[key] = self.addresses.get(key, False) or reached
        for name, count in other.calls.items():
            self.calls[name] = self.calls.get(name, 0) + count
        for name, value in other.peaks.items():
            self.peak(name, value)
        if not self.runs - other.runs:
            self.needless = other.needless
        elif other.runs:
            self.needless = None if self.needless is None or other.needless is None else self.needless & other.needless
        self.said |= other.said
        self.shown |= other.shown
        self.homes |= other.homes

    @property
    def _home(self) -> str:
        return next(iter(self.homes)) if len(self.homes) == 1 else ""

    # --- as a file -------------------------------------------------------------------------------------------------------

    def json(self) -> str:
        """Return all of it, the policy included, as one JSON document; `load` reads it."""
        policy, flags = self._both()
        from isolate_fn._diagnose.learn.writing import decorator

        document = {
            "learned": _FORMAT,
            "program": self.program,
            "runs": self.runs,
            "policy": policy.to_toml(),
            "decorator": decorator(policy, self._home),
            "flags": [vars(flag) for flag in flags],
            "paths": {
                path: {"what": sorted(each.what), "real": each.real, "kind": each.kind, "detail": each.detail}
                for path, each in sorted(self.paths.items())
            },
            "addresses": [[*key, reached] for key, reached in sorted(self.addresses.items())],
            "calls": dict(sorted(self.calls.items())),
            "peaks": dict(sorted(self.peaks.items())),
            "said": sorted(self.said),
            "shown": sorted(self.shown),
            "needless": None if self.needless is None else sorted(self.needless),
        }
        return json.dumps(document, indent=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as `json` returns it."""
        with open(path, "w", encoding="ascii") as file:
            file.write(self.json() + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Seen:
        """Read what `save` has written.

        Raises:
            PolicyError: it is no such file.
            OSError: it cannot be read.
        """
        try:
            with open(path, encoding="ascii") as file:
                return _seen_of(json.load(file))
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            problem = f"{os.fspath(path)!r} is not what learn has saved ({type(wrong).__name__}: {wrong})"
            raise PolicyError("learn", problem, "save one with --save FILE") from None


def _seen_of(document: dict[str, Any]) -> Seen:
    if document["learned"] != _FORMAT:
        raise ValueError(f"format {document['learned']!r}")
    seen = Seen(program=bool(document["program"]))
    seen.runs = int(document["runs"])
    for path, each in document["paths"].items():
        seen.paths[path] = Touched(set(each["what"]), str(each["real"]), str(each["kind"]), str(each["detail"]))
    seen.addresses = {(str(host), int(port), str(how)): bool(reached) for host, port, how, reached in document["addresses"]}
    seen.calls = {name: int(count) for name, count in document["calls"].items()}
    seen.peaks = {name: value + 0 for name, value in document["peaks"].items()}
    seen.said, seen.shown = set(document["said"]), frozenset(document["shown"])
    seen.needless = None if document["needless"] is None else set(document["needless"])
    return seen

"""The whole of what a call may do, as one value."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping

from isolate_fn._frozen import dataclass
from isolate_fn.errors import PolicyError

from . import checks, conflicts
from .limits import Limits
from .mounts import Mount, _destination
from .network import Network
from .tokens import Danger
from .values import FrozenDict, Value, unknown_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Host
    from .rule_sets.base import RuleSet

Output = str | Callable[[str, bytes], object]

PROPERTIES = ("filesystem", "network", "processes", "syscalls")


@dataclass(frozen=True, init=False, repr=False)
class Policy(Value):
    """What a call may do. Everything that is not allowed here is denied; ``Policy()`` is the strictest.

    Args:
        mounts: mount words, in order; a bare path is `ro` of it.
        network: False for none, True for the host's, or a `Network` of single destinations.
        rules: rule sets of `isolate_fn.rules`, or plain names of system calls: then nothing else is permitted. None for
            what the other options need.
        limits: how much it may use.
        timeout: seconds of wall clock for one call, from the moment it is sent to the isolate, whose walls stand by
            then; None for no end. Building an isolate takes milliseconds and is given up after a minute.
        env: variables inside, in place of or beside those that every isolate has (PATH, LANG, HOME, TMPDIR, PWD).
        cwd: absolute path of the working directory inside, writable.
        returns: classes, or ``(class, encode, decode)`` triples, that a result may contain beside the builtin
            ones.
        raises: exception classes that come through as themselves.
        preload: modules that isolates have imported before the call arrives.
        reuse: False for a new isolate per call, True for one that serves until it dies, N for one that serves
            N calls.
        prewarm: isolates kept ready after the first call.
        idle_timeout: seconds after which unused ones are gone.
        fresh_exec: an exec per call instead of a fork: own address layout, slower.
        output: ``"relay"``, ``"capture"``, ``"discard"``, or a callable that gets ``(stream, bytes)``.
        on_denied: ``"report"``, ``"errno"`` or ``"kill"``: what a denied system call does. Calls that libraries try and do
            without (``socket``, ``setxattr`` and others, listed in docs/denials.md) fail with their errno where others kill.
        require: the properties that must hold: any of ``"filesystem"``, ``"network"``, ``"processes"``,
            ``"syscalls"``. None for all of them.
        accept: the weakenings of `isolate_fn.dangerous` that are accepted.
        expose: host functions that can be called from inside, by name; `Host` gives one limits.
        name: a name for reports; that of the function if left out.

    Raises:
        PolicyError: a value has the wrong type or is out of range; ConflictingRules where two contradict each
            other.
    """

    mounts: tuple[Mount, ...]
    network: bool | Network
    rules: tuple[RuleSet | str, ...] | None
    limits: Limits
    timeout: float | None
    env: FrozenDict[str, str]
    cwd: str
    returns: tuple[Any, ...]
    raises: tuple[type[Exception], ...]
    preload: tuple[str, ...]
    reuse: bool | int
    prewarm: int
    idle_timeout: float
    fresh_exec: bool
    output: Output
    on_denied: str
    require: frozenset[str] | None
    accept: tuple[type[Danger], ...]
    expose: FrozenDict[str, Callable[..., Any] | Host] | None
    name: str | None

    def __init__(
        self,
        *,
        mounts: Iterable[Mount | str | os.PathLike[str]] = (),
        network: bool | Network = False,
        rules: Iterable[RuleSet | str] | RuleSet | str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value, safe to share
        timeout: float | None = None,
        env: Mapping[str, str] = FrozenDict(),
        cwd: str | os.PathLike[str] = "/work",
        returns: Iterable[Any] = (),
        raises: Iterable[type[Exception]] = (),
        preload: Iterable[str] = (),
        reuse: bool | int = False,
        prewarm: int = 1,
        idle_timeout: float = 60,
        fresh_exec: bool = False,
        output: Output = "relay",
        on_denied: str = "report",
        require: Collection[str] | None = None,
        accept: Iterable[type[Danger]] = (),
        expose: Mapping[str, Callable[..., Any] | Host] | None = None,
        name: str | None = None,
    ) -> None:
        self._keep(
            mounts=conflicts.check_mounts(mounts),
            network=_network(network),
            rules=None if rules is None else _check_rules(rules),
            limits=_limits(limits),
            timeout=None if timeout is None else checks.seconds("timeout", timeout),
            env=checks.text_pairs("env", env),
            cwd=_destination("cwd", cwd),
            returns=_returns(returns),
            raises=_raises(raises),
            preload=_preload(preload),
            reuse=_reuse(reuse),
            prewarm=checks.number_of("prewarm", prewarm, minimum=0, maximum=1024),
            idle_timeout=checks.seconds("idle_timeout", idle_timeout),
            fresh_exec=checks.boolean("fresh_exec", fresh_exec),
            output=output
            if callable(output)
            else checks.one_of("output", output, "relay", "capture", "discard"),
            on_denied=checks.one_of("on_denied", on_denied, "report", "errno", "kill"),
            require=_require(require),
            accept=_accept(accept),
            expose=checks.functions("expose", expose),
            name=None if name is None else _name(name),
        )
        conflicts.check_accept(self.accept, self.require)

    def _show(self, name: str) -> str:
        value = getattr(self, name)
        if isinstance(value, frozenset):
            # A set prints in an order that changes from process to process.
            return f"{{{', '.join(map(repr, sorted(value)))}}}" if value else "()"
        if isinstance(value, tuple) and value and all(isinstance(entry, type) for entry in value):
            return f"({', '.join(entry.__qualname__ for entry in value)}{',' if len(value) == 1 else ''})"
        return repr(value)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], name: str | None = None) -> Policy:
        """Read a policy from a TOML file; see docs/policies.md for its keys.

        What it names of Python (``returns``, ``raises``, ``expose``) is imported: such a file decides what runs here.
        Inside an isolate, where no policy decides anything, a file that is not mounted is read as ``Policy()``.

        Args:
            path: of the file. Of a ``pyproject.toml`` the table ``[tool.isolate_fn]`` is read.
            name: which policy of a file that has several, in tables ``[policies.NAME]``.

        Raises:
            PolicyError: the file cannot be read, or a key or value in it is wrong; names file, line and key, and the
                nearest key that exists. Nothing in the file is passed over.
        """
        from .toml.read import from_file

        return from_file(path, name)

    def to_toml(self, table: str = "") -> str:
        """Return the policy as TOML, which `from_toml` makes an equal one of; options left at their defaults are left out.

        Args:
            table: head of its table, such as ``"tool.isolate_fn.policies.thumbnails"``; a file of its own if left out.

        Raises:
            PolicyError: a class or function in it has no name by which it could be found again: a lambda, something local.
        """
        from .toml.write import to_text

        return to_text(self, table)

    @classmethod
    def from_options(cls, base: Policy | str | None = None, /, **options: Any) -> Policy:
        """Make a policy from another one and the options that override it.

        Args:
            base: the policy to start from; None for ``Policy()``; a text for the preset of that name, or for
                ``[tool.isolate_fn.policies.NAME]`` of the pyproject.toml nearest to the calling code's file.
            **options: the options of `isolated`; each replaces the base's value as a whole.

        Raises:
            PolicyError: an option does not exist (the nearest one is named) or has a wrong value.
        """
        if isinstance(base, str):
            from .toml.find import policy_or_none_inside

            base = policy_or_none_inside(base)
        kept = {} if base is None else _options_of(base)
        for name in options:
            if name in Limits.__annotations__ and name not in cls.__annotations__:
                hint = f"it is a limit: write limits=Limits({name}=...)"
                raise unknown_option(name, name, tuple(cls.__annotations__), hint)
        return cls(**{**kept, **options})


def _options_of(base: object) -> dict[str, Any]:
    if not isinstance(base, Policy):
        remedy = "pass a Policy, such as isolate_fn.presets.COMPUTE"
        raise PolicyError("policy", f"{checks.show(base)} is not a Policy", remedy)
    return {name: getattr(base, name) for name in Policy.__annotations__}


def _limits(value: object) -> Limits:
    if not isinstance(value, Limits):
        raise PolicyError(
            "limits", f"{checks.show(value)} is not a Limits", 'write limits=Limits(memory="512M")'
        )
    return value


def _network(value: object) -> bool | Network:
    if isinstance(value, Network):
        return value
    if isinstance(value, (list, tuple, set, frozenset)) or (isinstance(value, str) and ":" in value):
        remedy = (
            "single destinations are network=Network(connect=[...]), which this version cannot enforce: use False, or True for "
            "the host's whole network"
        )
        raise PolicyError("network", f"{checks.show(value)} is not a bool", remedy)
    return checks.boolean("network", value)


def _returns(value: object) -> tuple[Any, ...]:
    entries = checks.items("returns", value, "(MyClass,)")
    for index, entry in enumerate(entries):
        triple = isinstance(entry, tuple) and len(entry) == 3 and all(map(callable, entry[1:]))
        if not isinstance(entry[0] if triple else entry, type):
            remedy = "name the class itself, or (class, encode, decode)"
            raise PolicyError(f"returns[{index}]", f"{checks.show(entry)} is not a class", remedy)
    return entries


def _raises(value: object) -> tuple[type[Exception], ...]:
    entries = checks.items("raises", value, "(MyError,)")
    for index, entry in enumerate(entries):
        if not isinstance(entry, type) or not issubclass(entry, Exception):
            remedy = "name a subclass of Exception"
            raise PolicyError(f"raises[{index}]", f"{checks.show(entry)} is not an Exception class", remedy)
        if issubclass(entry, (StopIteration, StopAsyncIteration)):
            remedy = "leave it out: raised in the parent it would end a loop instead of reporting an error"
            raise PolicyError(f"raises[{index}]", f"{entry.__name__} is control flow", remedy)
    return entries


def _reuse(value: object) -> bool | int:
    if isinstance(value, bool):
        return value
    # One call is what False means, while ``1 == True`` would make it equal to a policy of the opposite meaning.
    return False if checks.number_of("reuse", value) == 1 else checks.number_of("reuse", value)


def _preload(value: object) -> tuple[str, ...]:
    entries = checks.items("preload", value, '("numpy",)')
    for index, entry in enumerate(entries):
        if not isinstance(entry, str) or not all(part.isidentifier() for part in entry.split(".")):
            remedy = 'use its absolute name, such as "numpy" or "PIL.Image"'
            raise PolicyError(
                f"preload[{index}]", f"{checks.show(entry)} is not the name of a module", remedy
            )
    return entries


def _require(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    entries = checks.items("require", value, '{"filesystem"}')
    for entry in entries:
        checks.one_of("require", entry, *PROPERTIES)
    return frozenset(entries)


def _accept(value: object) -> tuple[type[Danger], ...]:
    entries = checks.items("accept", value, "(TrustResult,)")
    for index, entry in enumerate(entries):
        if not isinstance(entry, type) or not issubclass(entry, Danger) or entry is Danger:
            remedy = "name a class of isolate_fn.dangerous itself, such as TrustResult"
            raise PolicyError(f"accept[{index}]", f"{checks.show(entry)} is not a known weakening", remedy)
    # A set in meaning, kept sorted so that equal policies compare equal.
    return tuple(sorted(set(entries), key=lambda token: token.__name__))


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 200:
        remedy = "use a printable, non-empty str of at most 200 characters"
        raise PolicyError("name", f"{checks.show(value)} is not a name", remedy)
    return value


def _check_rules(rules: Any) -> tuple[RuleSet | str, ...]:
    from .rule_sets.base import check_rule_sets  # most policies have none

    return check_rule_sets("rules", rules)

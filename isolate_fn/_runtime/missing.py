"""What an exception of isolated code says is missing, looked for outside: it is there, and only not mounted?

Done by the caller, after the call, for exceptions alone, so that calls that end well pay nothing. The exception is the
isolate's word. A path in it is looked at (lstat(2), nothing is opened) and shown to whoever reads the caller's errors;
the isolate never learns the answer. A path that looks like a secret, or leads to one, or to a directory that holds too
much of everything, is named, and no option that would grant it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator

from isolate_fn._plan.mounts import is_within
from isolate_fn._plan.sensitive import by_name, is_broad
from isolate_fn._runtime.report import Denial
from isolate_fn._sys import constants as k
from isolate_fn._transport.text import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.prepared import Prepared

_SHOWS_ABSENCE = (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EROFS)
_MOST_PATH, _MOST_LINKS = 1024, 8
_KERNELS = ("/proc", "/sys")
_PASSING = ("/var/tmp", "/var/cache", "/run", "/var/run", "/dev/shm", "/tmp")
_CERTIFICATES = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/usr/share/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust")
_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts")
_LOCALES = ("/usr/lib/locale", "/usr/share/locale")
_ZONES = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone")
# Each quantifier within one line and bounded: the text is hostile, and what backtracks over all of it takes minutes.
_LINE = re.compile(r'^ {0,64}File "([^"\n]{1,1200})", line (\d{1,9})\b', re.MULTILINE | re.ASCII)
_INNER = (os.path.dirname(os.__file__) + "/", os.path.dirname(os.path.dirname(__file__)) + "/", "<frozen ")


def missing(error: BaseException, prepared: Prepared) -> list[Denial]:
    """Return what an exception was raised for and exists outside, each with the mount that would show it inside.

    Args:
        error: of an isolated call, with its context.
        prepared: what the isolate was made from.
    """
    seen = _Seen(prepared)
    found: list[Denial] = []
    for each in _chain(error):
        for path, fix in _wanted(each, seen):
            place = _location(error)
            denial = Denial(syscall="open", path=visible(path, _MOST_PATH), errno=seen.answer, location=place, fix=fix)
            if denial.path not in [known.path for known in found]:
                found.append(denial)
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__context__


def _wanted(error: BaseException, seen: _Seen) -> Iterator[tuple[str, str]]:
    """Yield path and fix of what one exception may be about."""
    if isinstance(error, ImportError):
        yield from _module(error.name, seen)
    elif isinstance(error, OSError) and error.errno in _SHOWS_ABSENCE and error.filename is not None:
        yield from _file(error.filename, seen)
    elif _kind(error).endswith("gaierror"):
        if seen.own_network:
            yield "/etc/resolv.conf", "network=True"
    else:
        places = tuple(each for each in _places(error, seen.environment) if os.path.lexists(each) and not seen.inside(each))
        outer = [each for each in places if not any(is_within(each, above) for above in places)]
        if outer:
            yield outer[0], _mounts(*map(_ro, outer))


def _module(name: object, seen: _Seen) -> Iterator[tuple[str, str]]:
    if type(name) is not str or not name.isidentifier():
        return
    from importlib.machinery import PathFinder

    try:
        spec = PathFinder.find_spec(name, sys.path)
    except Exception:  # a finder of somebody's
        return
    if spec is None:
        return
    places = [os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin] if spec.origin else [
        *(spec.submodule_search_locations or ())
    ]  # fmt: skip
    places = [os.path.abspath(each) for each in places if os.path.lexists(each)]
    if places and not all(map(seen.inside, places)):
        # The working directory may be on the path, and any directory in it is a module then.
        yield places[0], "" if any(map(_is_withheld, places)) else _mounts(*map(_ro, places))


def _file(name: object, seen: _Seen) -> Iterator[tuple[str, str]]:
    text = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
    if not text or len(text) > _MOST_PATH or not _possible(text):
        return
    if not (seen.mounts or text.startswith("/")):
        return  # of a directory that nobody else sees
    path = os.path.normpath(os.path.join(seen.cwd, text))
    outside = path if text.startswith("/") else os.path.abspath(text)
    if path in ("/", *_KERNELS) or any(is_within(path, each) for each in _KERNELS) or seen.inside(path):
        return
    state = _state(outside)
    if state is not None and (text.startswith("/") or path != outside):
        if _is_withheld(outside):
            yield outside, ""
        elif stat.S_ISCHR(state):
            yield outside, _mounts(f"dev({_quoted(outside)})")
        else:
            yield outside, _mounts(_ro(outside) if path == outside else f"ro({_quoted(outside)}, {_quoted(path)})")
    elif state is None and seen.mounts and text.startswith("/") and not by_name(path):
        yield from _directory_of(path, seen)


def _is_withheld(path: str) -> bool:
    """Tell whether no option is named that would grant a path: wherever its links lead."""
    real = os.path.realpath(path)
    return bool(by_name(path) or by_name(real)) or is_broad(real)


def _possible(path: str) -> bool:
    """Tell whether a text can be a path at all."""
    try:
        return b"\0" not in os.fsencode(path)
    except ValueError:  # lone surrogates that stand for no byte
        return False


def _directory_of(path: str, seen: _Seen) -> Iterator[tuple[str, str]]:
    """A file that is nowhere may be one to be made, where that is usual: anywhere else it is only missing."""
    above = os.path.dirname(path)
    state = _state(above)
    if state is None or not stat.S_ISDIR(state) or seen.inside(above) or by_name(above):
        return
    if any(above == each or is_within(above, each) for each in _PASSING):
        yield above, _mounts(f"tmpfs({_quoted(above)})")


def _places(error: BaseException, environment: dict[str, str]) -> tuple[str, ...]:
    """Return places of the system that an exception without a path is about, known by its class and text.

    Args:
        error: it.
        environment: variables inside.
    """
    kind = _kind(error)
    text, stack = _text(error), _stack(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or (isinstance(error, OSError) and "load_verify_locations" in stack):
        import ssl

        own = ssl.get_default_verify_paths()
        given = [each for each in (own.cafile, own.capath, own.openssl_cafile, own.openssl_capath) if each]
        return tuple(dict.fromkeys((*given, *_CERTIFICATES)))
    if "cannot open resource" in text:
        data = (environment.get("XDG_DATA_HOME", ""), *environment.get("XDG_DATA_DIRS", "").split(":"))
        return (*(f"{each}/fonts" for each in data if each.startswith("/")), *_FONTS)
    if kind.endswith("locale.Error") or "unsupported locale setting" in text:
        return tuple(filter(None, (environment.get("LOCPATH"), *_LOCALES)))
    if kind.endswith("ZoneInfoNotFoundError"):
        return tuple(filter(None, (*environment.get("PYTHONTZPATH", "").split(":"), *_ZONES)))
    return ()


def _kind(error: BaseException) -> str:
    return str(getattr(error, "type_name", "")) or f"{type(error).__module__}.{type(error).__qualname__}"


def _text(error: BaseException) -> str:
    """Return what an exception says; nothing where its arguments, which are the isolate's, have no text, as a huge int."""
    try:
        return str(error)
    except Exception:
        return ""


class _Seen:
    """What an isolate sees.

    Args:
        prepared: what it was made from.
    """

    def __init__(self, prepared: Prepared) -> None:
        plan = prepared.whole_plan
        self.mounts = plan.engine != "landlock"  # without mounts, files lie where they lie, and opening them is denied
        self.answer = errno.ENOENT if self.mounts else errno.EACCES
        self.cwd = plan.cwd
        self.environment = dict(prepared.spawner.environment)
        self.own_network = bool(plan.namespaces & k.CLONE_NEWNET)
        self._shown = [order.destination for order in plan.mounts if order.kind in ("bind", "copy", "file", "device")]

    def inside(self, path: str) -> bool:
        """Tell whether a path, or what it links to, lies in something that is mounted."""
        real = os.path.realpath(os.path.dirname(path))
        return any(
            each == shown or is_within(each, shown)
            for each in (path, os.path.join(real, os.path.basename(path)))
            for shown in self._shown
        )


def _state(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _stack(error: BaseException) -> str:
    """Return the isolate's traceback."""
    if error.__cause__ is not None:
        return str(error.__cause__)
    traceback: object = getattr(error, "traceback", None)
    return traceback if isinstance(traceback, str) else ""


def _location(error: BaseException) -> str | None:
    """Return the innermost line of the user's that the isolate's traceback names."""
    text = _stack(error)
    lines = [(visible(file, 300), line) for file, line in _LINE.findall(text[: 1 << 16])]
    own = [each for each in lines if not each[0].startswith(_INNER) or "site-packages" in each[0]]
    return ":".join((own or lines)[-1]) if lines else None


def _mounts(*words: str) -> str:
    return f"mounts=[{', '.join(words)}]"


def _ro(path: str) -> str:
    return f"ro({_quoted(path)})"


def _quoted(path: str) -> str:
    """Write text as Python does, in double quotes, whatever odd characters are in it."""
    return '"' + "".join(map(_escaped, path)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    code = ord(character)
    return character if 32 <= code < 127 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


__all__ = ["missing"]

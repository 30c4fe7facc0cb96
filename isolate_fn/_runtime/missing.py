"""What an exception of isolated code says is missing, looked for outside: it is there, and only not mounted?

Done by the caller, after the call, for exceptions alone, so that calls that end well pay nothing. The exception is the
isolate's word. A path in it is looked at (lstat(2), and for what was to be written the names in a directory; no file is
opened) and shown to whoever reads the caller's errors; the isolate never learns the answer. A path that looks like a
secret, or leads to one, or to a directory that holds too much of everything, is named, and no option that would grant it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator

from isolate_fn._plan.mounts import ResolvedSource, code_reason, is_within, writable_instead
from isolate_fn._plan.orders import MountOrder
from isolate_fn._plan.sensitive import by_name, is_broad
from isolate_fn._runtime.chain import chain, part_of, stack_of, writes
from isolate_fn._runtime.report import Denial
from isolate_fn._runtime.sources import code_of, code_roots
from isolate_fn._sys import constants as k
from isolate_fn._transport.text import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from isolate_fn._runtime.prepared import Prepared

_INSTEAD = "in place of "
_SHOWS_ABSENCE = (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EROFS)
_MOST_PATH = 1024
_KERNELS = ("/proc", "/sys")
_TEMPORARY = ("/var/tmp", "/dev/shm", "/tmp")
_PASSING = (*_TEMPORARY, "/var/cache", "/run", "/var/run")
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
    stack = stack_of(error)
    for each in chain(error):
        part = part_of(stack, _text(each), outermost=each is error)
        for path, fix in _wanted(each, part, seen):
            place = _location(part) or _location(stack)
            code = errno.EROFS if fix.startswith(_INSTEAD) and seen.mounts else seen.answer
            denial = Denial(syscall="open", path=visible(path, _MOST_PATH), errno=code, location=place, fix=fix)
            if denial.path not in [known.path for known in found]:
                found.append(denial)
    return found


def _wanted(error: BaseException, part: str, seen: _Seen) -> Iterator[tuple[str, str]]:
    """Yield path and fix of what one exception, with its part of the traceback, may be about."""
    if isinstance(error, ImportError):
        yield from _module(error.name, seen)
    elif isinstance(error, OSError) and error.errno in _SHOWS_ABSENCE and error.filename is not None:
        program = _program(error.filename, part, seen)
        yield from _file(program or error.filename, seen, changes=error.errno == errno.EROFS or (not program and writes(part)))
    elif _kind(error).endswith("gaierror"):
        if seen.own_network:
            yield "/etc/resolv.conf", "network=True"
    else:
        places = _places(error, part, seen.environment)
        places = tuple(each for each in places if os.path.lexists(each) and not seen.inside(each))
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


def _program(name: object, part: str, seen: _Seen) -> str:
    """Return where on the host a program lies that was to be started by its bare name; empty for none."""
    text = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
    if "/" in text or "in Popen._execute_child" not in part or not _possible(text):
        return ""
    found = shutil.which(text[:_MOST_PATH], path=seen.environment.get("PATH", os.defpath)) or ""
    return found if found.startswith("/") else ""


def _file(name: object, seen: _Seen, *, changes: bool) -> Iterator[tuple[str, str]]:
    """Yield a file that an exception names.

    Args:
        name: as it does.
        seen: by the isolate.
        changes: it was to be written or made, as far as can be told.
    """
    text = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
    if not text or len(text) > _MOST_PATH or not _possible(text):
        return
    if not (seen.mounts or text.startswith("/")):
        return  # of a directory that nobody else sees
    path = os.path.normpath(os.path.join(seen.cwd, text))
    outside = path if text.startswith("/") else os.path.abspath(text)
    if path in ("/", *_KERNELS) or any(is_within(path, each) for each in _KERNELS):
        return
    if seen.inside(path):
        yield from _read_only(path, seen) if changes else ()
        return
    state = _state(outside)
    if state is not None and (text.startswith("/") or path != outside):
        inside = "" if path == outside else f", {_quoted(path)}"
        if _is_withheld(outside) or (changes and _is_code(outside)):
            yield outside, ""
        elif stat.S_ISCHR(state):
            yield outside, _mounts(f"dev({_quoted(outside)})")
        else:
            yield outside, _mounts(f"{'rw' if changes else 'ro'}({_quoted(outside)}{inside})")
    elif state is None and text.startswith("/") and not by_name(path):
        yield from _directory_of(path, seen, changes=changes)


def _read_only(path: str, seen: _Seen) -> Iterator[tuple[str, str]]:
    """Yield what was to be written below a granted mount that is read-only; nothing else that is shown is ever writable."""
    order = seen.grant_of(path)
    if order is None or order.kind != "bind" or not order.read_only:
        return
    real = order.source + path.removeprefix(order.destination)
    if not (_is_withheld(real) or _is_withheld(order.source) or _is_code(order.source)):
        yield path, writable_instead(order)


def _is_code(path: str) -> bool:
    """Tell whether `rw` of a path would be refused, because this program may run what is written there."""
    real = os.path.realpath(path)
    kind = "directory" if os.path.isdir(real) else "file"
    return bool(code_reason(ResolvedSource(real, kind, code_of(real, kind)), code_roots()))


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


def _directory_of(path: str, seen: _Seen, *, changes: bool) -> Iterator[tuple[str, str]]:
    """A file that is nowhere may be one to be made, where that is usual or was tried: anywhere else it is only missing."""
    above = os.path.dirname(path)
    state = _state(above)
    if state is None or not stat.S_ISDIR(state) or seen.inside(above) or by_name(above):
        return
    theirs = changes and any(is_within(above, each) for each in _TEMPORARY)  # somebody made it outside, to find things there
    if any(above == each or is_within(above, each) for each in _PASSING) and not theirs:
        if seen.mounts:  # without, there are no such places but the private directory
            yield above, _mounts(f"tmpfs({_quoted(above)})")
    elif changes and not _is_withheld(above):
        yield above, "" if _is_code(above) else _mounts(f"rw({_quoted(above)})")


def _places(error: BaseException, part: str, environment: dict[str, str]) -> tuple[str, ...]:
    """Return places of the system that an exception without a path is about, known by its class and text.

    Args:
        error: it.
        part: of the traceback.
        environment: variables inside.
    """
    kind = _kind(error)
    text = _text(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or (isinstance(error, OSError) and "load_verify_locations" in part):
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
        self._granted = [order for order in plan.mounts if order.granted]
        self._shown = [order.destination for order in plan.mounts if order.kind in ("bind", "copy", "file", "device")]

    def inside(self, path: str) -> bool:
        """Tell whether a path, or what it links to, lies in something that is mounted."""
        real = os.path.realpath(os.path.dirname(path))
        return any(
            each == shown or is_within(each, shown)
            for each in (path, os.path.join(real, os.path.basename(path)))
            for shown in self._shown
        )

    def grant_of(self, path: str) -> MountOrder | None:
        """Return the granted mount that a path lies in, of several the innermost."""
        around = [each for each in self._granted if path == each.destination or is_within(path, each.destination)]
        return max(around, key=lambda order: len(order.destination), default=None)


def _state(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None


def _location(text: str) -> str | None:
    """Return the innermost line of the user's that a traceback of the isolate's names."""
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

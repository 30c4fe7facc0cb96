"""The demo's cases: which file, which function, which policy. One entry reads as one claim."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import isolate_fn
from isolate_fn import Limits, ro
from isolate_fn.cli import fetch, samples, victims
from isolate_fn.cli.fetch import Unavailable
from isolate_fn.cli.samples import Workspace
from isolate_fn.errors import Crashed, IsolationError, LimitExceeded, RemoteError, TimedOut

Options = Mapping[str, Any]


class Case(NamedTuple):
    """One thing to try on both sides.

    Attributes:
        name: for ``--only``.
        title: what the file tries.
        victim: name of the function in `isolate_fn.cli.victims`.
        prepare: makes the files in a workspace; returns the function's arguments. Raises `Unavailable`.
        options: of ``isolated()``, besides the directory of the inputs.
        attack: False for honest files, which have to work on both sides.
        needs: modules and programs.
        isolated_run: another way to run the isolated side than one call of the function.
        leaked: looks for the secret in what the function wrote; returns what it found, or "".
        timeout: seconds the unprotected side gets.
    """

    name: str
    title: str
    victim: str
    prepare: Callable[[Workspace, bool], Sequence[Any]]
    options: Options = MappingProxyType({})
    attack: bool = True
    needs: tuple[str, ...] = ()
    isolated_run: Callable[[Workspace, Sequence[Any]], str] | None = None
    leaked: Callable[[Workspace], str] | None = None
    timeout: float = 10.0

    def missing(self) -> str:
        """What it needs and is not installed, with the way to install it; "" if nothing."""
        for need in self.needs:
            if need in _PACKAGES:
                if importlib.util.find_spec(need) is None:
                    return f"{_PACKAGES[need]} is not installed: pip install {_PACKAGES[need]}"
            elif shutil.which(need) is None:
                return f"{need} is not installed: apt-get install {need}"
        return ""


_PACKAGES = {"PIL": "pillow", "lxml": "lxml", "yaml": "pyyaml"}


def run_isolated(case: Case, space: Workspace, arguments: Sequence[Any]) -> str:
    """Run one case's isolated side: the same function, decorated."""
    if case.isolated_run is not None:
        return case.isolated_run(space, arguments)
    options = {"mounts": [ro(space.inputs)], "prewarm": 0, "output": "discard", **case.options}
    for library in arguments[1:]:
        options["mounts"] = [*options["mounts"], ro(library)]
    function = isolate_fn.isolated(**options)(getattr(victims, case.victim))
    try:
        return str(function(*arguments))
    finally:
        function.close()


def _decode_each_isolated(space: Workspace, arguments: Sequence[Any]) -> str:
    """One isolate per picture: what breaks one does not touch the next."""
    function = isolate_fn.isolated(
        mounts=[ro(space.inputs)], timeout=5, limits=Limits(memory="512M"), prewarm=1, output="discard"
    )(victims.all_layers)
    counts: Counter[str] = Counter()
    try:
        for path in arguments[0]:
            try:
                function(path)
                counts["decoded"] += 1
            except (TimedOut, LimitExceeded):
                counts["stopped at a limit"] += 1
            except Crashed:
                counts["crashed alone"] += 1
            except IsolationError as error:
                if not isinstance(error, RemoteError):
                    raise
                counts["refused"] += 1  # by an exception of Pillow's own
            except Exception:  # by one of Python's
                counts["refused"] += 1
    finally:
        function.close()
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def _tool_isolated(space: Workspace, arguments: Sequence[Any]) -> str:
    """Run the program in a sandbox; its output is fetched out of the isolate's own file system."""
    inside = "/work/result"
    (argv,) = arguments
    target = argv[-1]
    with isolate_fn.sandbox(mounts=[ro(space.inputs)], output="discard") as box:
        done = box.run([*argv[:-1], inside], capture_output=True, timeout=30)
        if done.returncode == 0:
            Path(target).write_bytes(box.get(inside))
    return victims.describe_tool(done.returncode, done.stderr, target)


def _photograph(space: Workspace, offline: bool) -> Sequence[Any]:
    source = fetch.pillow_images(offline=offline) / "hopper.jpg"
    return [shutil.copy(source, space.inputs)]


def _fuzzer_files(space: Workspace, offline: bool) -> Sequence[Any]:
    paths = sorted(fetch.pillow_images(offline=offline).iterdir())
    return [[str(shutil.copy(path, space.inputs)) for path in paths if path.name != "hopper.jpg"]]


def _crashing_layers(space: Workspace, offline: bool) -> Sequence[Any]:
    library = fetch.vulnerable_pillow(offline=offline)
    picture = fetch.pillow_images(offline=offline) / "psd-oob-write.psd"
    return [shutil.copy(picture, space.inputs), str(library)]


def _made(make: Callable[[Workspace], Path]) -> Callable[[Workspace, bool], Sequence[Any]]:
    return lambda space, offline: [str(make(space))]


_FFMPEG = ("ffmpeg", "-nostdin", "-loglevel", "error", "-y")
_ONE_FRAME = ("-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24")


def _transcode(space: Workspace, offline: bool) -> Sequence[Any]:
    codecs = ("-c:v", "mpeg4", "-c:a", "aac", "-f", "mp4")
    return [[*_FFMPEG, "-i", str(samples.clip(space)), *codecs, str(space.work / "result")]]


def _play(space: Workspace, offline: bool) -> Sequence[Any]:
    return [[*_FFMPEG, "-i", str(samples.playlist(space)), *_ONE_FRAME, str(space.work / "result")]]


def _draw(space: Workspace, offline: bool) -> Sequence[Any]:
    font = next(Path("/usr/share/fonts").rglob("*.ttf"), None)
    if font is None:
        raise Unavailable("no TrueType font is installed: apt-get install fonts-dejavu-core")
    caption = f"drawtext=textfile={space.secret}:fontfile={font}:fontcolor=white:fontsize=20"
    source = ("-f", "lavfi", "-i", "color=black:size=320x64")
    return [[*_FFMPEG, *source, "-vf", caption, *_ONE_FRAME, str(space.work / "result")]]


def _private_colour(space: Workspace) -> str:
    wanted = bytes.fromhex(space.token[-6:])
    found = _result(space)[:3]
    # Video stores colours with less precision than the three bytes we gave.
    near = len(found) == 3 and all(abs(a - b) <= 12 for a, b in zip(wanted, found, strict=True))
    return "the private video is in the output" if near else ""


def _letters(space: Workspace) -> str:
    return "the secret's letters are in the picture" if any(value > 128 for value in _result(space)) else ""


def _result(space: Workspace) -> bytes:
    path = space.work / "result"
    return path.read_bytes() if path.exists() else b""


CASES = (
    Case(
        "thumbnail",
        "an honest photograph, to be scaled down",
        "thumbnail",
        _photograph,
        attack=False,
        needs=("PIL",),
    ),
    Case(
        "fuzzer-images",
        "pictures that crashed earlier versions of Pillow, with the installed one",
        "decode_each",
        _fuzzer_files,
        needs=("PIL",),
        isolated_run=_decode_each_isolated,
        timeout=90,
    ),
    Case(
        "crash-image",
        f"a PSD file that makes Pillow {fetch.PILLOW_VULNERABLE} write out of bounds",
        "all_layers",
        _crashing_layers,
    ),
    Case(
        "picture-bomb",
        "a PNG of a few kilobytes and 169 million pixels",
        "thumbnail",
        _made(samples.picture_bomb),
        {"limits": Limits(memory="256M")},
        needs=("PIL",),
    ),
    Case(
        "xml-entity",
        "XML that includes a local file (XXE), with lxml",
        "read_xml",
        _made(samples.external_entity),
        needs=("lxml",),
    ),
    Case(
        "laughs-lxml",
        "billion laughs: entities that expand to gigabytes, with lxml",
        "read_xml",
        _made(samples.billion_laughs),
        {"limits": Limits(memory="256M"), "timeout": 10},
        needs=("lxml",),
    ),
    Case(
        "laughs-expat",
        "billion laughs, with the standard library's expat",
        "read_xml_with_expat",
        _made(samples.billion_laughs),
        {"limits": Limits(memory="256M"), "timeout": 10},
    ),
    Case(
        "yaml",
        "YAML that runs a shell command",
        "read_yaml",
        _made(samples.yaml_command),
        needs=("yaml",),
    ),
    Case("pickle", "a pickle that runs Python code", "read_pickle", _made(samples.pickled_code)),
    Case(
        "zip-bomb",
        "an archive of 1 MB that unpacks to 200 MB",
        "unpack_zip",
        _made(samples.zip_bomb),
        {"limits": Limits(rootfs_size="32M")},
    ),
    Case("tar-climb", "an archive with a member ../outside/planted", "unpack_tar", _made(samples.climbing_tar)),
    Case(
        "regex",
        "a text that a regular expression never finishes with",
        "looks_like_name",
        _made(samples.long_name),
        {"timeout": 2},
        timeout=4,
    ),
    Case(
        "transcode",
        "an honest video, to be transcoded by ffmpeg",
        "run_tool",
        _transcode,
        attack=False,
        needs=("ffmpeg",),
        isolated_run=_tool_isolated,
        timeout=30,
    ),
    Case(
        "ffmpeg-playlist",
        "a playlist named upload.mp4 that plays a private video of the host",
        "run_tool",
        _play,
        needs=("ffmpeg",),
        isolated_run=_tool_isolated,
        leaked=_private_colour,
        timeout=30,
    ),
    Case(
        "ffmpeg-drawtext",
        "an ffmpeg filter that draws a local file into the picture",
        "run_tool",
        _draw,
        needs=("ffmpeg",),
        isolated_run=_tool_isolated,
        leaked=_letters,
        timeout=30,
    ),
)

assert all(re.fullmatch(r"[a-z-]+", case.name) for case in CASES)

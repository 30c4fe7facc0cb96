"""What the demo downloads, once, into the user's cache: other people's crash files are not ours to ship.

Pillow's source distribution holds the images that once crashed it; an older Pillow still crashes on some.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

PILLOW_SOURCE = "13.0.0"
PILLOW_SOURCE_SHA256 = "cdcd1ba258178f7356d74170c9a81ba4eab6a5d55748bc402a5a2a6fe6be3510"

# The last one that writes out of bounds on the psd-oob-write files (CVE-2026-25990).
PILLOW_VULNERABLE = "12.0.0"

# Seconds. The source distribution is 47 MB.
_PATIENCE = 300

# A real photograph, and the files that fuzzers and attackers made.
_WANTED = re.compile(
    r"/Tests/images/(hopper\.jpg|(crash|oom|timeout|ossfuzz)-[^/]*|[^/]*(oob|overrun|overflow|bomb)[^/]*\.\w+)$"
)


class Unavailable(Exception):
    """Something that a case needs is not there; the text says what, and becomes the case's row."""


def pillow_images(*, offline: bool = False) -> Path:
    """Directory with the images of Pillow's tests.

    Args:
        offline: do not download.

    Raises:
        Unavailable: they are not cached and could not be downloaded.
    """
    return _cached(f"pillow-{PILLOW_SOURCE}-images", _download_images, offline=offline)


def vulnerable_pillow(*, offline: bool = False) -> Path:
    """Directory with an importable Pillow that still has a known memory error.

    Args:
        offline: do not download.

    Raises:
        Unavailable: it is not cached and could not be installed, for instance because there is no wheel of it
            for this interpreter.
    """
    name = f"pillow-{PILLOW_VULNERABLE}-{sys.implementation.cache_tag}"
    return _cached(name, _install_vulnerable, offline=offline)


def _cached(name: str, fill: Callable[[Path], None], *, offline: bool) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolate_fn"
    final = base / name
    if final.is_dir():
        return final
    if offline:
        raise Unavailable(f"{name} has not been downloaded yet, and --offline forbids it")
    try:
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base) as scratch:
            fresh = Path(scratch) / "fresh"
            fresh.mkdir()
            fill(fresh)
            # Renamed when complete, so that an interrupted download is not taken for a finished one.
            fresh.rename(final)
    except OSError as error:
        if not final.is_dir():  # else another demo was faster
            raise Unavailable(f"{name} could not be stored in {base}: {error.strerror}") from error
    return final


def _download_images(target: Path) -> None:
    source = target.with_name("source")
    _pip("download", "--no-deps", "--no-binary", "pillow", "--dest", str(source), f"pillow=={PILLOW_SOURCE}")
    (archive,) = source.glob("*.tar.gz")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != PILLOW_SOURCE_SHA256:
        raise Unavailable(f"{archive.name} has the SHA-256 {found}, not the one expected")
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isfile() and _WANTED.search(member.name):
                content = opened.extractfile(member)
                assert content is not None  # for a regular file there is one
                (target / Path(member.name).name).write_bytes(content.read())


def _install_vulnerable(target: Path) -> None:
    _pip(
        *("install", "--no-deps", "--only-binary", ":all:", "--no-compile"),
        *("--target", str(target), f"pillow=={PILLOW_VULNERABLE}"),
    )


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip {arguments[0]} took longer than {_PATIENCE} s") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"pip {arguments[0]} {arguments[-1]} failed: {reason}")

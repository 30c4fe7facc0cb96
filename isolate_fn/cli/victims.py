"""What an application does with files it did not make: ordinary functions, none of them knows of isolation.

The demo calls each of them twice, with the same file: unprotected in a throwaway process, and isolated. The
unsafe options in here are the ones that people set.

Everything is imported inside the functions: each side loads only the library it shows.
"""

from __future__ import annotations

import os
from typing import Any


def thumbnail(path: str) -> str:
    """Scale a picture down, as every site does with what is uploaded."""
    import io

    from PIL import Image

    with Image.open(path) as picture:
        original = f"{picture.width}x{picture.height} {picture.format}"
        small = picture.convert("RGB")
        small.thumbnail((64, 64))
    target = io.BytesIO()
    small.save(target, "PNG")
    return f"{original} became {small.width}x{small.height} PNG of {target.tell()} bytes"


def all_layers(path: str, library: str = "") -> str:
    """Decode every layer or frame of a picture, with the Pillow in `library` where one is given."""
    import sys
    import warnings

    if library:
        sys.path.insert(0, library)
    import PIL
    from PIL import Image

    warnings.simplefilter("ignore")
    with Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        # Formats with layers count them from 1, with 0 or the start for the merged picture.
        for number in range(frames + 1):
            try:
                picture.seek(number)
            except EOFError:
                continue
            picture.load()
    return f"Pillow {PIL.__version__} decoded {frames} frames"


def decode_each(paths: list[str]) -> str:
    """Decode one picture after the other in one process, as a worker of a web server does."""
    counts: dict[str, int] = {}
    for path in paths:
        try:
            all_layers(path)
            outcome = "decoded"
        except Exception:  # whatever the decoder says of a broken file
            outcome = "refused"
        counts[outcome] = counts.get(outcome, 0) + 1
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def read_xml(path: str) -> str:
    """Parse XML with lxml and entities resolved, the default until lxml 5 and still a common setting."""
    from lxml import etree

    tree = etree.parse(path, etree.XMLParser(resolve_entities=True, huge_tree=True))
    return "".join(tree.getroot().itertext())[:200]


def read_xml_with_expat(path: str) -> str:
    """Parse XML with the standard library."""
    from xml.etree import ElementTree

    return "".join(ElementTree.parse(path).getroot().itertext())[:200]  # noqa: S314 - that is the point


def read_yaml(path: str) -> str:
    """Load YAML with the loader that knows Python's objects."""
    import yaml

    with open(path, encoding="utf-8") as file:
        return repr(yaml.unsafe_load(file))[:200]


def read_pickle(path: str) -> str:
    """Load a model, a cache, a session: something pickled."""
    import pickle

    with open(path, "rb") as file:
        return repr(pickle.load(file))[:200]  # noqa: S301 - that is the point


def unpack_zip(path: str) -> str:
    """Unpack an archive into the working directory."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        archive.extractall()
        return f"unpacked {sum(entry.file_size for entry in archive.infolist())} bytes"


def unpack_tar(path: str) -> str:
    """Unpack an archive into the working directory, trusting it: the default until Python 3.14."""
    import tarfile

    trusting: Any = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(path) as archive:
        archive.extractall(**trusting)  # noqa: S202 - that is the point
        return f"unpacked {', '.join(archive.getnames())}"


def looks_like_name(path: str) -> str:
    """Check a form field with a regular expression that backtracks without end."""
    import re

    with open(path, encoding="utf-8") as file:
        return str(re.fullmatch(r"(\w+\s?)+", file.read()) is not None)


def run_tool(argv: list[str]) -> str:
    """Call a program that writes its last argument, as applications do, and say how it ended."""
    import subprocess

    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return describe_tool(done.returncode, done.stderr, argv[-1])


def describe_tool(returncode: int, stderr: bytes, output: str) -> str:
    """Say how a program ended, in one line: how much it wrote, or its last complaint."""
    if returncode:
        lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
        return f"failed with status {returncode}: {os.path.basename(lines[-1])}"
    return f"made a file of {os.path.getsize(output)} bytes" if os.path.exists(output) else "made no file"

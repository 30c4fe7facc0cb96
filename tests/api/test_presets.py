"""Each ready policy does its job on a sample with the real library, and denies what it should while it succeeds without.

The functions come by value, as from a notebook, so that what they import is imported inside, under the preset's rules.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from isolate_fn import Policy, isolated, presets, sandbox
from isolate_fn.errors import LimitExceeded

pytestmark = pytest.mark.needs("namespaces")

PILLOW = pytest.mark.needs("module:PIL")
LXML = pytest.mark.needs("module:lxml")
PYPDF = pytest.mark.needs("module:pypdf")
FFMPEG = pytest.mark.needs("tool:ffmpeg")

QUIET = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
CLIP = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x48:rate=5", "-f", "lavfi", "-i", "sine=duration=1"]


def under(preset: Policy, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return isolated(policy=preset, prewarm=0, **options)(function)(*arguments)


# --- what they are for --------------------------------------------------------------------------------


def thumbnail(data: bytes, kind: str) -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((16, 16))
        small.save(target, kind)
    return target.getvalue()


@PILLOW
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "PPM", "TGA", "JPEG2000", "AVIF"])
def test_images_decodes_and_encodes(kind: str) -> None:
    from PIL import Image, features

    module = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}.get(kind, "pil")
    if not features.check(module):
        pytest.skip(f"this Pillow was built without {kind}")
    source = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(source, kind)
    with Image.open(io.BytesIO(under(presets.IMAGES, thumbnail, source.getvalue(), kind))) as small:
        assert (small.format, max(small.size)) == (kind, 16)


def elements(document: bytes) -> tuple[list[str], bytes, bool]:
    from lxml import etree

    root = etree.fromstring(document, etree.XMLParser(resolve_entities=True, load_dtd=True, no_network=False))
    style = b"""<x:stylesheet version="1.0" xmlns:x="http://www.w3.org/1999/XSL/Transform">
    <x:output method="text"/><x:template match="/"><x:value-of select="sum(//n)"/></x:template></x:stylesheet>"""
    total = bytes(etree.XSLT(etree.fromstring(style))(root))
    return [child.text for child in root], total, etree.tostring(root).startswith(b"<a>")


@LXML
def test_xml_parses_searches_and_transforms() -> None:
    assert under(presets.XML, elements, b"<a><n>1</n><n>2</n></a>") == (["1", "2"], b"3", True)


def pages(document: bytes) -> list[str]:
    import io

    import pypdf

    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(document)).pages]


def pdf(text: bytes) -> bytes:
    """Make a document of one page."""
    stream = b"BT /F1 24 Tf 72 700 Td (" + text + b") Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (table, len(body))


@PYPDF
def test_pdf_extracts_text() -> None:
    assert under(presets.PDF, pages, pdf(b"Hello from a page")) == ["Hello from a page"]


@FFMPEG
def test_media_makes_probes_transcodes_and_streams() -> None:
    with sandbox(policy=presets.MEDIA) as box:
        make = [*QUIET, *CLIP, "-c:v", "mpeg4", "-c:a", "aac", "in.mp4"]
        assert box.run(make, capture_output=True).returncode == 0
        probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "in.mp4"]
        assert box.run(probe, capture_output=True, text=True).stdout.split() == ["mpeg4", "aac"]
        frame = [*QUIET, "-i", "in.mp4", "-frames:v", "1", "-update", "1", "thumb.png"]
        assert box.run(frame, capture_output=True).returncode == 0
        assert box.get("thumb.png").startswith(b"\x89PNG")
        convert = ["ffmpeg", "-loglevel", "error", "-i", "-", "-c:v", "mjpeg", "-f", "matroska", "-"]
        box.run([*QUIET, "-i", "in.mp4", "-f", "mpegts", "in.ts"], check=True, capture_output=True)
        done = box.run(convert, input=io.BytesIO(box.get("in.ts")), capture_output=True)
        assert done.stdout.startswith(b"\x1aE\xdf\xa3")


@pytest.mark.needs("tool:identify")
def test_media_converts_pictures() -> None:
    with sandbox(policy=presets.MEDIA) as box:
        box.run(["/usr/bin/convert", "-size", "64x48", "gradient:red-blue", "in.png"], check=True)
        done = box.run(["/usr/bin/convert", "-", "-resize", "16", "jpg:-"], input=box.get("in.png"), capture_output=True)
        assert done.stdout.startswith(b"\xff\xd8\xff")


def test_tools_starts_programs_that_start_programs() -> None:
    with sandbox(policy=presets.TOOLS, output="discard") as box:
        script = "seq 1000 | sort -rn | head -n 1 > found; cp found copy; rm found; (sleep 0 &); cat copy"
        assert box.run(["sh", "-c", script], capture_output=True).stdout == b"1000\n"
        assert box.run(["python3", "-c", "import subprocess; subprocess.run(['true'], check=True)"]).returncode == 0


# --- what they deny -----------------------------------------------------------------------------------


def write() -> str:
    with open("/tmp/file", "w") as file:
        file.write("x")
    return "done"


def thread() -> str:
    import threading

    made = threading.Thread(target=print)
    made.start()
    made.join()
    return "done"


def pair() -> str:
    import socket

    for each in socket.socketpair():
        each.close()
    return "done"


def remove() -> str:
    import os

    os.mkdir("/tmp/directory")
    os.rmdir("/tmp/directory")
    return "done"


def signals() -> str:
    import os

    os.kill(os.getpid(), 0)
    return "done"


DENIED = {
    "IMAGES": (write, pair, remove, signals),
    "XML": (write, thread, pair, remove, signals),
    "PDF": (write, thread, pair, remove, signals),
}


@pytest.mark.parametrize("action", [write, thread, pair, remove, signals], ids=lambda action: action.__name__)
def test_without_a_preset_each_succeeds(action: Callable[[], str]) -> None:
    assert under(Policy(output="discard"), action) == "done"


@pytest.mark.parametrize(
    ("name", "action"),
    [(name, action) for name, actions in DENIED.items() for action in actions],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_a_parser_does_not_need_is_denied(name: str, action: Callable[[], str]) -> None:
    with pytest.raises((PermissionError, RuntimeError, LimitExceeded)):
        under(getattr(presets, name), action, output="discard")


def fork() -> str:
    import os

    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "done"


@pytest.mark.parametrize("name", ["IMAGES", "XML", "PDF"])
def test_neither_children_nor_connections(name: str) -> None:
    def connect() -> None:
        import socket

        socket.socket()

    for action in (fork, connect):
        with pytest.raises((OSError, LimitExceeded)):
            under(getattr(presets, name), action)


def test_programs_of_media_start_no_program() -> None:
    script = ["sh", "-c", "echo started; (echo child); sleep 0; echo done"]
    with sandbox(policy=presets.MEDIA) as box:
        done = box.run(script, capture_output=True, text=True)
        assert done.stdout == "started\n"
        assert done.returncode != 0
    with sandbox(policy=presets.MEDIA, rules=None) as box:
        assert box.run(script, capture_output=True, text=True).stdout == "started\nchild\ndone\n"


@pytest.mark.parametrize("name", ["mkdir", "rm", "mv", "ln", "chmod"])
def test_programs_of_media_only_open_read_and_write(name: str) -> None:
    command = {"mkdir": ["mkdir", "d"], "rm": ["rm", "f"], "mv": ["mv", "f", "g"], "ln": ["ln", "f", "g"]}
    argv = command.get(name, ["chmod", "777", "f"])
    for options, succeeds in (({}, False), ({"rules": None}, True)):
        with sandbox(policy=presets.MEDIA, **options) as box:
            box.put("f", b"x")
            assert (box.run(argv, capture_output=True).returncode == 0) is succeeds


def much(size: int) -> int:
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
    return len(block)


@pytest.mark.parametrize("name", ["IMAGES", "XML", "PDF"])
def test_memory_is_limited(name: str) -> None:
    preset = getattr(presets, name)
    allowed = preset.limits.memory
    assert under(preset, much, allowed // 8) == allowed // 8
    with pytest.raises(LimitExceeded) as caught:
        under(preset, much, allowed + (128 << 20))
    assert (caught.value.limit, caught.value.allowed) == ("memory", allowed)


@pytest.mark.needs("tool:perl")
@pytest.mark.parametrize("name", ["MEDIA", "TOOLS"])
def test_memory_of_programs_is_limited(name: str) -> None:
    """With a limit below the preset's, four gigabytes: that the preset has one is what is asked here."""
    preset = getattr(presets, name)
    assert preset.limits.memory is not None
    allowed = min(preset.limits.memory, 2 << 30)
    with sandbox(policy=preset, limits=replace(preset.limits, memory=allowed)) as box:
        assert box.run(["perl", "-e", f"my $text = 'x' x {allowed // 8}"]).returncode == 0
        with pytest.raises(LimitExceeded) as caught:
            box.run(["perl", "-e", f"my $text = 'x' x {allowed + (128 << 20)}"])
    assert (caught.value.limit, caught.value.allowed) == ("memory", allowed)


def test_all_of_them_are_values_with_an_end() -> None:
    made = [getattr(presets, name) for name in presets.__all__]
    assert all(isinstance(preset, Policy) and preset.timeout for preset in made)
    assert len(set(made)) == len(made)
    assert [preset.network for preset in made].count(False) == len(made) - 1

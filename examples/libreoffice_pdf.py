"""Documents from strangers to PDF by LibreOffice, which must put nothing of the host into them.

The attack: a letter that refers to a picture by its path. LibreOffice reads it and prints it.

The ``soffice`` command wants a unix socket, which no isolate may have. LibreOffice's own library does without: a call loads
it in the isolate's worker, as LibreOfficeKit (https://docs.libreoffice.org/libreofficekit.html).

Needs: apt-get install libreoffice-writer-nogui
"""

import struct
import tempfile
import zlib
from pathlib import Path

from isolate_fn import ro, sandbox
from isolate_fn.presets import TOOLS

LETTER = """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:xlink="http://www.w3.org/1999/xlink"
    xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
    xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
    office:version="1.2" office:mimetype="application/vnd.oasis.opendocument.text">
<office:body><office:text><text:p>Dear Sir or Madam,<draw:frame text:anchor-type="as-char" svg:width="5cm" svg:height="4cm">
<draw:image xlink:href="{picture}" xlink:type="simple" xlink:show="embed" xlink:actuate="onLoad"/></draw:frame></text:p>
</office:text></office:body></office:document>"""


def convert(source: str, target: str) -> None:
    """Convert a document; runs inside. A function of the library's tables is its slot in them."""
    import ctypes
    import os

    os.environ["HOME"] = "/tmp"
    program = "/usr/lib/libreoffice/program"
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    start = ctypes.CDLL(f"{program}/libmergedlo.so", mode=ctypes.RTLD_GLOBAL).libreofficekit_hook_2
    start.restype, start.argtypes = pointer, [text, text]

    def method(thing: int, slot: int, result: object, *arguments: object) -> object:
        table = ctypes.cast(thing, ctypes.POINTER(pointer))[0]
        return ctypes.CFUNCTYPE(result, pointer, *arguments)(ctypes.cast(table, ctypes.POINTER(pointer))[slot])

    office = start(program.encode(), b"file:///tmp/profile")
    document = method(office, 2, pointer, text)(office, f"file://{source}".encode())  # documentLoad
    if not document:
        raise ValueError(method(office, 3, text)(office).decode(errors="replace"))  # getError
    if not method(document, 2, ctypes.c_int, text, text, text)(document, f"file://{target}".encode(), b"pdf", b""):
        raise ValueError("cannot be saved as PDF")


def to_pdf(document: bytes, mounts: tuple = ()) -> bytes:
    with sandbox(policy=TOOLS, mounts=mounts, timeout=120, output="discard") as box:
        box.put("letter.fodt", document)
        box.call(convert, "/work/letter.fodt", "/work/letter.pdf")
        return box.get("letter.pdf")


def main() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header, rows = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0), zlib.compress((b"\0" + b"\xc0\x20\x20" * 64) * 64)
    with tempfile.TemporaryDirectory() as directory:
        private = Path(directory) / "private.png"
        private.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        )
        hostile = LETTER.format(picture=private.as_uri()).encode()
        isolated = to_pdf(hostile)
        print("isolated: a PDF file", isolated.startswith(b"%PDF"), "with the picture", b"/Subtype/Image" in isolated)
        granted = to_pdf(hostile, (ro(private),))
        print("granted:  a PDF file", granted.startswith(b"%PDF"), "with the picture", b"/Subtype/Image" in granted)


if __name__ == "__main__":
    main()

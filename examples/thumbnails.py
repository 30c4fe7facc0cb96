"""Thumbnails of uploaded pictures: a small file must not take all memory, nor a broken one the whole server.

The attack: a PNG of some kilobytes with 144 million pixels, which passes Pillow's own check and takes half a
gigabyte to decode. A picture that makes the decoder crash would look the same from here: an exception for
this one upload.

Needs: pip install pillow
"""

import struct
import tempfile
import zlib
from pathlib import Path

from isolate_fn import Limits, isolated
from isolate_fn.errors import Crashed, LimitExceeded, TimedOut


@isolated(limits=Limits(memory="256M"), timeout=10)
def thumbnail(upload: bytes) -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(upload)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((64, 64))
        small.save(target, "PNG")
    return target.getvalue()


def png(width: int, height: int) -> bytes:
    """Make a white picture of one bit per pixel, which packs extremely well."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * ((width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        uploads = Path(directory)
        (uploads / "1-honest.png").write_bytes(png(800, 600))
        (uploads / "2-bomb.png").write_bytes(png(12_000, 12_000))
        (uploads / "3-broken.png").write_bytes(png(800, 600)[:60])
        for upload in sorted(uploads.iterdir()):
            try:
                answer = f"a thumbnail of {len(thumbnail(upload.read_bytes()))} bytes"
            except (Crashed, LimitExceeded, TimedOut) as error:
                answer = f"stopped: {type(error).__name__}"
            except Exception as error:  # what Pillow says of a file that is no picture
                answer = f"refused: {type(error).__name__}"
            print(f"{upload.name} ({upload.stat().st_size} bytes): {answer}")


if __name__ == "__main__":
    main()

"""Pictures from strangers through ImageMagick's convert, which must not fill the disk.

The attack: a PNG of some kilobytes with 100 million pixels. ImageMagick keeps what does not fit into its share of memory
in a file of 800 megabytes in /tmp, for each such upload at the same time.

Needs: apt-get install imagemagick
"""

import struct
import subprocess
import zlib

from isolate_fn import Limits, sandbox
from isolate_fn.presets import MEDIA


def shrink(upload: bytes) -> bytes:
    """Return the upload as a JPEG file of at most 64x64 pixels.

    Raises:
        subprocess.CalledProcessError: convert failed; its messages are in ``stderr``.
    """
    with sandbox(policy=MEDIA, limits=Limits(rootfs_size="128M", memory="1G"), timeout=30) as box:
        command = ["/usr/bin/convert", "png:-", "-resize", "64x64", "jpg:-"]
        return box.run(command, input=upload, capture_output=True, check=True).stdout


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
    for name, upload in (("honest", png(800, 600)), ("hostile", png(10_000, 10_000)), ("broken", png(80, 60)[:60])):
        try:
            small = shrink(upload)
            print(f"{name} ({len(upload)} bytes): a JPEG file", small.startswith(b"\xff\xd8\xff"))
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode(errors="replace").splitlines()[0]
            print(f"{name} ({len(upload)} bytes): convert failed, {reason.partition(': ')[2]}")


if __name__ == "__main__":
    main()

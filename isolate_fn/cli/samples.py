"""The hostile files, made on the spot, and the directory they are played in.

Nothing here harms the machine, even if every attack works: the secret is a decoy, what is written lies in a
temporary directory, and the bombs are small.
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from isolate_fn.cli.fetch import Unavailable

MIB = 1024 * 1024

# Of the zip bomb: more than any limit of the demo, little enough to be made in a second.
UNPACKED = 200 * MIB

# Just under Pillow's own limit for pictures that it suspects (89 million pixels warn, twice as many are
# refused).
BOMB_SIDE = 13_000


class Workspace:
    """One side's temporary directory.

    Attributes:
        inputs: hostile files; the only directory that the isolate gets, read-only.
        work: working directory of the unprotected side, and where results of the isolated side are put.
        outside: a directory that no one gave to the attacker; whatever appears in it is damage.
        secret: a file with the decoy secret, likewise given to no one.
        token: the decoy secret.
    """

    def __init__(self, directory: Path) -> None:
        self.inputs, self.work, self.outside, private = (
            directory / name for name in ("inputs", "work", "outside", "private")
        )
        for path in (self.inputs, self.work, self.outside, private):
            path.mkdir()
        self.token = f"decoy-{secrets.token_hex(8)}"
        self.secret = private / "secret.txt"
        self.secret.write_text(self.token + "\n", encoding="utf-8")

    @property
    def stolen(self) -> Path:
        """Where payloads that run put what they found."""
        return self.outside / "stolen"


def external_entity(space: Workspace) -> Path:
    """XML whose entity is a local file (XXE)."""
    return _write(
        space,
        "order.xml",
        f'<!DOCTYPE order [<!ENTITY note SYSTEM "{space.secret.as_uri()}">]><order>&note;</order>',
    )


def billion_laughs(space: Workspace) -> Path:
    """XML of 600 bytes whose entities expand to two gigabytes."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return _write(space, "laughs.xml", f'<!DOCTYPE x [<!ENTITY e0 "ha">{levels}]><x>&e9;</x>')


def yaml_command(space: Workspace) -> Path:
    """YAML that runs a shell command."""
    return _write(space, "settings.yaml", f'!!python/object/apply:os.system ["cp {space.secret} {space.stolen}"]\n')


def pickled_code(space: Workspace) -> Path:
    """A pickle that runs Python code when it is loaded."""
    code = f"open({str(space.stolen)!r}, 'w').write(open({str(space.secret)!r}).read())"
    path = space.inputs / "model.pickle"
    # By hand, as attackers do: GLOBAL builtins.exec, the code as a string, TUPLE1, REDUCE, STOP.
    path.write_bytes(b"cbuiltins\nexec\nV" + code.encode("raw_unicode_escape") + b"\n\x85R.")
    return path


def zip_bomb(space: Workspace) -> Path:
    """An archive that unpacks to a thousand times its size."""
    import zipfile

    path = space.inputs / "report.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("report.txt", "w") as entry,
    ):
        for _ in range(UNPACKED // MIB):
            entry.write(bytes(MIB))
    return path


def climbing_tar(space: Workspace) -> Path:
    """An archive whose member lies above the directory it is unpacked into."""
    import io
    import tarfile

    path = space.inputs / "theme.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("readme.txt", "../outside/planted"):
            member = tarfile.TarInfo(name)
            member.size = len(space.token)
            archive.addfile(member, io.BytesIO(space.token.encode()))
    return path


def picture_bomb(space: Workspace) -> Path:
    """A small PNG of so many pixels that decoding it takes half a gigabyte; made by hand, row by row."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = bytes(1 + (BOMB_SIDE + 7) // 8)  # filter type 0, then one bit per pixel
    data = b"".join(packer.compress(row) for _ in range(BOMB_SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    path = space.inputs / "banner.png"
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def long_name(space: Workspace) -> Path:
    """A form field that a careless regular expression never finishes with."""
    return _write(space, "name.txt", "Maximilian Alexander Konstantin Ferdinand !")


def clip(space: Workspace) -> Path:
    """One second of test video with a tone."""
    path = space.inputs / "holiday.mkv"
    _ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=1"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=1"),
        *("-c:v", "mpeg4", "-c:a", "aac", str(path)),
    )
    return path


def playlist(space: Workspace) -> Path:
    """An upload named as a video that is a playlist, and plays a private video of the host."""
    private = space.secret.with_name("private.ts")
    colour = f"0x{space.token[-6:]}"  # as unguessable as the token: seen again only by who has read the file
    _ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"color={colour}:size=64x64:rate=10:duration=1",
        "-c:v",
        "mpeg2video",
        str(private),
    )
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", private.as_uri(), "#EXT-X-ENDLIST"]
    return _write(space, "upload.mp4", "\n".join(lines) + "\n")


def _ffmpeg(*arguments: str) -> None:
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"ffmpeg could not make the sample: {error}") from error


def _write(space: Workspace, name: str, text: str) -> Path:
    path = space.inputs / name
    path.write_text(text, encoding="utf-8")
    return path

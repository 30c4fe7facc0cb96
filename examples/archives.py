"""Archives from strangers: unpacking must not fill the disk, nor write beside the target directory.

The attacks: a zip bomb of 200 KB that unpacks to 200 MB, and a tar with a member named ../../escaped. Both
are unpacked onto the isolate's own file system of 32 MB, which is gone when the call ends; what the caller
wants is returned.
"""

import io
import tarfile
import zipfile

from isolate_fn import Limits, isolated
from isolate_fn.errors import LimitExceeded

SMALL_DISK = Limits(rootfs_size="32M")


@isolated(limits=SMALL_DISK, timeout=20)
def unpack_zip(data: bytes) -> dict[str, int]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall()
        return {entry.filename: entry.file_size for entry in archive.infolist()}


@isolated(limits=SMALL_DISK, timeout=20)
def unpack_tar(data: bytes) -> list[str]:
    from pathlib import Path

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        # Members that climb out of the directory are written where they say, as before Python 3.14.
        trusting = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        archive.extractall("/tmp/a/b", **trusting)
    return sorted(str(path) for path in Path("/tmp").rglob("*") if path.is_file())


def zip_bomb() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as entry:
        for _ in range(200):
            entry.write(bytes(1024 * 1024))
    return target.getvalue()


def climbing_tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in ("readme.txt", "../../escaped"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"hello"))
    return target.getvalue()


def main() -> None:
    try:
        print("zip:", unpack_zip(zip_bomb()))
    except (OSError, LimitExceeded) as error:  # no space left on the isolate's own disk
        print("zip: stopped,", type(error).__name__)
    # The member did climb out of its directory, but only within the isolate.
    print("tar:", unpack_tar(climbing_tar()))


if __name__ == "__main__":
    main()

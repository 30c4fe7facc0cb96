"""Videos from strangers: transcode them with ffmpeg, which must read nothing but the upload.

The attack: an upload named .mp4 that is really a playlist, and plays a private video of the host. ffmpeg
follows it.

Needs: apt-get install ffmpeg
"""

import subprocess
import tempfile
from pathlib import Path

from isolate_fn import ro, sandbox

FFMPEG = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y"]
CLIP = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=1", "-c:v", "mpeg2video", "-f", "mpegts"]


def transcode(upload: Path) -> bytes:
    """Return the upload as an MP4 file.

    Raises:
        subprocess.CalledProcessError: ffmpeg failed; its messages are in ``stderr``.
    """
    with sandbox(mounts=[ro(upload)], timeout=60) as box:
        command = [*FFMPEG, "-i", str(upload), "-c:v", "mpeg4", "/work/out.mp4"]
        box.run(command, check=True, capture_output=True)
        return box.get("/work/out.mp4")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        honest, private, hostile = (Path(directory) / name for name in ("clip.ts", "private.ts", "upload.mp4"))
        subprocess.run([*FFMPEG, *CLIP, honest], check=True)
        subprocess.run([*FFMPEG, *CLIP, private], check=True)
        hostile.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{private.as_uri()}\n#EXT-X-ENDLIST\n")
        video = transcode(honest)
        print("honest: an MP4 file", video[4:8] == b"ftyp", "of more than 1000 bytes", len(video) > 1000)
        try:
            print(f"hostile: {len(transcode(hostile))} bytes of the private video")
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode(errors="replace").strip().splitlines()[-1]
            print(f"hostile: ffmpeg failed, {reason.rpartition(': ')[2]}")


if __name__ == "__main__":
    main()

"""A video that is not even a file: probe it, take a picture out of it, and transcode it as it arrives.

Three programs in one block. The transcoder is fed from an iterator and read while it runs, so neither the upload nor the
result is ever held whole. Whatever the decoder is made to do, it can read nothing of the host and start no program.

Needs: apt-get install ffmpeg
"""

import json
import subprocess
import threading
from collections.abc import Iterator

from isolate_fn import sandbox
from isolate_fn.presets import MEDIA

FFMPEG = ["ffmpeg", "-nostdin", "-loglevel", "error"]
SOURCE = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4", "-c:v", "mpeg2video", "-f", "mpegts"]
PIPE = subprocess.PIPE


def arriving() -> Iterator[bytes]:
    """Yield a clip in pieces, as a network connection would."""
    with subprocess.Popen([*FFMPEG, *SOURCE, "-"], stdout=PIPE, stderr=subprocess.DEVNULL) as camera:
        while piece := camera.stdout.read(10_000):
            yield piece


def main() -> None:
    with sandbox(policy=MEDIA, timeout=60) as box:
        start = b"".join(piece for piece, _ in zip(arriving(), range(20), strict=False))
        probe = ["ffprobe", "-loglevel", "quiet", "-show_streams", "-of", "json", "-"]
        [stream] = json.loads(box.run(probe, input=start, capture_output=True).stdout)["streams"]
        print(f"probe: {stream['codec_name']}, {stream['width']}x{stream['height']}")

        box.put("clip.ts", start)
        box.run([*FFMPEG, "-i", "clip.ts", "-frames:v", "1", "-vf", "scale=80:-1", "-update", "1", "thumb.png"], check=True)
        print("thumbnail: a PNG file", box.get("thumb.png").startswith(b"\x89PNG"))

        transcode = ["ffmpeg", "-loglevel", "error", "-i", "-", "-c:v", "mpeg4", "-f", "matroska", "-"]
        with box.popen(transcode, stdin=PIPE, stdout=PIPE) as program:

            def feed() -> None:
                with program.stdin as pipe:
                    for piece in arriving():
                        pipe.write(piece)

            feeder = threading.Thread(target=feed)
            feeder.start()
            video = program.stdout.read(4)
            size = len(video) + sum(map(len, iter(lambda: program.stdout.read(65536), b"")))
            feeder.join()
        print("transcoded: Matroska", video == b"\x1aE\xdf\xa3", "of more than 10000 bytes", size > 10_000)
        print("its code:", program.returncode)


if __name__ == "__main__":
    main()

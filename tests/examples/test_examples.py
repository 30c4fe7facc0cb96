"""Every file of examples/ is run, as the user would run it, and must show what its first lines promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DIRECTORY = Path(__file__).parents[2] / "examples"

# Words that its output has to hold, and words that would mean that an attack got through.
SHOWS: dict[str, tuple[list[str], list[str]]] = {
    "thumbnails.py": (
        ["1-honest.png", "a thumbnail of", "stopped: LimitExceeded", "refused: "],
        ["stopped: Crashed"],
    ),
    "xml_xxe.py": (
        ["'note': 'hunter2'", "'item': 'book'"],
        ["isolated:    {'item': 'book', 'note': 'hunter2'}"],
    ),
    "yaml_and_pickle.py": (
        [
            "yaml, unprotected: 0; the code's file on the host: True",
            "pickle, unprotected: 0; the code's file on the host: True",
            "honest yaml, isolated: {'answer': 42}",
        ],
        [],
    ),
    "archives.py": (["zip: stopped", "'/tmp/escaped'"], ["zip: {"]),
    "regex.py": (["honest: True", "hostile: gave up after 3 s", "and the next call: True"], []),
    "ffmpeg_transcode.py": (
        ["honest: an MP4 file True", "hostile: ffmpeg failed"],
        ["bytes of the private video"],
    ),
    "ffmpeg_pipeline.py": (
        [
            "probe: mpeg2video, 320x240",
            "thumbnail: a PNG file True",
            "transcoded: Matroska True of more than 10000 bytes True",
            "its code: 0",
        ],
        [],
    ),
    "imagemagick_convert.py": (
        ["honest (289 bytes): a JPEG file True", "hostile (24852 bytes): convert failed", "broken (60 bytes): convert failed"],
        [],
    ),
    "libreoffice_pdf.py": (
        ["isolated: a PDF file True with the picture False", "granted:  a PDF file True with the picture True"],
        [],
    ),
    "sandbox_block.py": (
        [
            "tables left after the SQL injection: []",
            "'Ada'",
            "secret in its output: False",
            "SQLite format 3",
        ],
        [],
    ),
}
NEEDS = {
    "thumbnails.py": "module:PIL",
    "xml_xxe.py": "module:lxml",
    "yaml_and_pickle.py": "module:yaml",
    "ffmpeg_transcode.py": "tool:ffmpeg",
    "ffmpeg_pipeline.py": "tool:ffmpeg",
    "imagemagick_convert.py": "tool:identify",
    "libreoffice_pdf.py": "tool:soffice",
}


def test_every_example_is_listed() -> None:
    assert {path.name for path in DIRECTORY.glob("*.py")} == SHOWS.keys()


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.needs(NEEDS[name]) if name in NEEDS else ()) for name in sorted(SHOWS)],
)
def test_shows_what_it_says(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DIRECTORY / name)],
        cwd=tmp_path,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(DIRECTORY.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted, forbidden = SHOWS[name]
    assert [words for words in wanted if words not in done.stdout] == [], done.stdout
    assert [words for words in forbidden if words in done.stdout] == [], done.stdout
    for line in done.stdout.splitlines():
        if ", isolated: " in line and "code's file" in line:
            assert line.endswith("False"), line

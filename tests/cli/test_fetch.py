"""Downloads: cached when complete, never half, and absent ones say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from isolate_fn.cli import fetch


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "isolate_fn"


def test_offline_says_so(cache: Path) -> None:
    with pytest.raises(fetch.Unavailable, match="--offline"):
        fetch.pillow_images(offline=True)
    assert not cache.exists()


def test_filled_once(cache: Path) -> None:
    filled = []

    def fill(target: Path) -> None:
        filled.append(target)
        (target / "file").write_text("x")

    first = fetch._cached("thing", fill, offline=False)
    assert fetch._cached("thing", fill, offline=True) == first
    assert len(filled) == 1
    assert (first / "file").read_text() == "x"
    assert [path.name for path in cache.iterdir()] == ["thing"]


def test_interrupted_leaves_nothing(cache: Path) -> None:
    def fill(target: Path) -> None:
        (target / "half").write_text("x")
        raise fetch.Unavailable("the network went away")

    with pytest.raises(fetch.Unavailable, match="went away"):
        fetch._cached("thing", fill, offline=False)
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(fetch.Unavailable, match="could not be stored"):
        fetch._cached("thing", lambda target: None, offline=False)


def test_pip_that_fails_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(fetch.Unavailable, match=r"pip download .*failed: .+"):
        fetch._pip("download", "--no-index", "--no-deps", "no-such-package")


def test_another_archive_than_expected_is_refused(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def pip(*arguments: str) -> None:
        directory = Path(arguments[arguments.index("--dest") + 1])
        directory.mkdir()
        (directory / "pillow.tar.gz").write_bytes(b"something else")

    monkeypatch.setattr(fetch, "_pip", pip)
    with pytest.raises(fetch.Unavailable, match="SHA-256"):
        fetch.pillow_images()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pillow/Tests/images/hopper.jpg", True),
        ("pillow/Tests/images/crash-0123.sgi", True),
        ("pillow/Tests/images/psd-oob-write.psd", True),
        ("pillow/Tests/images/timeout-6646305047838720", True),
        ("pillow/Tests/images/fli_oob/02r/02r00.fli", False),
        ("pillow/Tests/images/hopper.png", False),
        ("pillow/setup.py", False),
    ],
)
def test_which_files_are_kept(name: str, wanted: bool) -> None:
    assert bool(fetch._WANTED.search(name)) is wanted

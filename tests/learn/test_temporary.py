"""Copies of the user's data do not outlast what made them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isolate_fn._diagnose.learn.temporary import Temporary, sweep

ROOT = Path(__file__).parents[2]
CODE = "import sys; from isolate_fn.cli import main; sys.exit(main())"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give the directory of temporary files, in which nothing else is."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture
def learning(elsewhere, place):
    """Give a ``learn`` that waits, with a copy of a directory."""
    (elsewhere / "private").write_text("of the user")
    started = []

    def learning(*before):
        words = ["learn", "--scratch", str(elsewhere), "--", "sh", "-c", "echo ready; sleep 100"]
        env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen([*before, sys.executable, "-c", CODE, *words], stderr=subprocess.PIPE, text=True, env=env)
        started.append(process)
        for line in process.stderr:
            if line == "ready\n":
                return process
        raise AssertionError(f"it ended with {process.wait()}")

    yield learning
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def files(place):
    return list(place.rglob("private"))


@pytest.mark.needs("namespaces", "landlock")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_an_orderly_end(learning, place, number):
    process = learning()
    assert files(place)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert os.listdir(place) == []
    assert "Traceback" not in process.stderr.read()


@pytest.mark.needs("namespaces", "landlock")
def test_what_is_ignored_stays_so(learning, place):
    process = learning("nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert os.listdir(place) == []


@pytest.mark.needs("namespaces", "landlock")
def test_the_next_one_removes_what_a_killed_one_has_left(learning, place):
    first, second = learning(), learning()
    assert len(files(place)) == 2
    first.kill()
    first.wait(60)
    assert len(files(place)) == 2
    learning()
    assert len(files(place)) == 2  # of those that live
    second.terminate()
    assert second.wait(60) == 128 + signal.SIGTERM
    assert len(files(place)) == 1


def test_only_what_nobody_holds_is_removed(place, tmp_path):
    user = os.geteuid()
    left = f"isolate-fn-copies-{user}-0123456789abcdef"
    others = ["isolate-fn-learn-policies", f"isolate-fn-learn-{user}-mine", f"isolate-fn-learn-{user + 1}-0123456789abcdef"]
    for name in (left, *others):
        (place / name / "deep").mkdir(parents=True)
        (place / name / "deep" / "file").touch(0)
    (place / left / "deep").chmod(0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").touch()
    (place / left / "link").symlink_to(tmp_path / "data")
    link = f"isolate-fn-learn-{user}-fedcba9876543210"
    (place / link).symlink_to(tmp_path / "data")
    held = Temporary("learn")
    sweep()
    assert set(os.listdir(place)) == {*others, link, os.path.basename(held.path)}
    assert (tmp_path / "data" / "kept").exists()
    held.close()
    assert not os.path.exists(held.path)


def test_one_that_is_swept_before_it_is_locked_is_made_anew(place, monkeypatch):
    opened = []

    def swept(path, flags, *args, **more):
        found = opens(path, flags, *args, **more)
        if not opened:
            opened.append(path)
            sweep()
        return found

    opens = os.open
    monkeypatch.setattr(os, "open", swept)
    made = Temporary("copies")
    assert len(opened) == 1
    assert opened != [made.path]
    assert os.listdir(place) == [os.path.basename(made.path)]
    sweep()
    assert os.path.isdir(made.path)
    made.close()


@pytest.mark.needs("root")
def test_what_is_somebody_elses_is_not_removed(place):
    path = place / f"isolate-fn-learn-{os.geteuid()}-0123456789abcdef"
    path.mkdir()
    os.chown(path, 65534, 65534)
    sweep()
    assert path.exists()

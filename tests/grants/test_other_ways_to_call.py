"""Grants by call_async(), submit() and map(), as by a call."""

from __future__ import annotations

import asyncio

import pytest

from isolate_fn import isolated, ro

pytestmark = pytest.mark.needs("namespaces", "landlock>=3")


@isolated(prewarm=0)
def content(path):
    return path.read_bytes()


@isolated(prewarm=0)
def three(file):
    return file.read(3)


def test_in_an_event_loop(picture):
    with picture.open("rb") as file:
        assert asyncio.run(content.call_async(ro(picture))) == b"picture"
        assert asyncio.run(three.call_async(file)) == b"pic"
        assert file.read() == b"ture"


def test_through_a_future(picture):
    with picture.open("rb") as file:
        assert content.submit(ro(picture)).result() == b"picture"
        assert three.submit(file).result() == b"pic"
        assert file.read() == b"ture"


def test_for_many_values(host, picture):
    (host / "b").write_bytes(b"other")
    assert list(content.map([ro(picture), ro(host / "b")])) == [b"picture", b"other"]

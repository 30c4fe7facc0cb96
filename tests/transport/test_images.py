"""PIL images: exact where they travel, refused where their parts do not fit."""

from __future__ import annotations

import base64
import json

import pytest

from isolate_fn._transport.codec import decode, encode
from isolate_fn.errors import TransportError

image_module = pytest.importorskip("PIL.Image")


def round_trip(value):
    encoded = encode(value)
    return decode(encoded.json, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])


def tag(kind, **parts) -> bytes:
    return json.dumps({"$": kind, **parts}).encode()


def raw(data: bytes) -> str:
    return base64.b64encode(data).decode()


MODES = [
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "La",
    "RGBX",
    "RGBa",
    "I;16",
    "I;16B",
    "I;16L",
]


@pytest.mark.parametrize("mode", MODES)
def test_images_are_exact(mode):
    for size in ((5, 3), (64, 64), (0, 3)):
        image = image_module.new(mode, size)
        if all(size) and mode in ("L", "RGB", "RGBA"):
            image.putpixel((1, 1), 7 if mode == "L" else (1, 2, 3, 4)[: len(mode)])
        image.info = {"dpi": (72, 72.5), "icc_profile": b"abc", "object": object()}
        back = round_trip(image)
        assert type(back) is image_module.Image
        assert (back.mode, back.size) == (mode, size)
        assert not all(size) or back.tobytes() == image.tobytes()
        assert back.info == {"dpi": (72, 72.5), "icc_profile": b"abc"}


def test_palettes_and_opened_files(tmp_path):
    image = image_module.effect_noise((32, 32), 50).convert("RGB").quantize(16)
    assert round_trip(image).convert("RGB").tobytes() == image.convert("RGB").tobytes()
    image.save(tmp_path / "a.png")
    with image_module.open(tmp_path / "a.png") as opened:
        back = round_trip(opened)
        assert back.convert("RGB").tobytes() == opened.convert("RGB").tobytes()


@pytest.mark.parametrize(
    "parts",
    [
        {"m": "RGB", "n": [2, 2], "v": raw(bytes(11))},
        {"m": "RGB", "n": [1 << 30, 1 << 30], "v": raw(bytes(12))},
        {"m": "RGB", "n": [-1, -4], "v": raw(bytes(12))},
        {"m": "RGB", "n": [2.0, 2], "v": raw(bytes(12))},
        {"m": "EVIL", "n": [1, 1], "v": raw(bytes(3))},
        {"m": "RGB", "n": [1, 1], "v": raw(bytes(3)), "i": {"a": [1]}},
        {"m": "RGB", "n": [1, 1], "v": raw(bytes(3)), "i": []},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1))},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1)), "p": ["RGB", raw(bytes(256))]},
        {"m": "P", "n": [1, 1], "v": raw(bytes(1)), "p": ["RGB;L", raw(bytes(3))]},
    ],
    ids=str,
)
def test_images_that_do_not_fit_are_refused(parts):
    with pytest.raises(TransportError):
        decode(tag("im", **{"i": {}, **parts}))


def test_an_image_without_its_pixels_is_refused_before_memory_is_taken():
    with pytest.raises(TransportError, match="does not fit its buffer"):
        decode(tag("im", m="RGB", n=[8000, 8000], v=raw(b"abc"), i={}))


def test_images_of_bits_count_what_they_become():
    with pytest.raises(TransportError, match="bytes of objects"):
        decode(tag("im", m="1", n=[8 << 20, 64], v=0, i={}), [bytes(64 << 20)])

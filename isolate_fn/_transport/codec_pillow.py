"""PIL images: mode, size, pixels, palette, and plain entries of ``info``.

An image that was opened from a file is an instance of its format's plugin class, tied to that file; it
arrives as a plain ``PIL.Image.Image``, as from ``image.copy()``.
"""

from __future__ import annotations

import sys
from typing import Any

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, need
from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import TAG

# mode: (bits per pixel on the wire, bytes per pixel in memory)
MODES = {
    "1": (1, 1), "L": (8, 1), "P": (8, 1), "RGB": (24, 4), "RGBA": (32, 4), "CMYK": (32, 4), "YCbCr": (24, 4),
    "LAB": (24, 4), "HSV": (24, 4), "I": (32, 4), "F": (32, 4), "LA": (16, 4), "PA": (16, 4), "La": (16, 4),
    "RGBX": (32, 4), "RGBa": (32, 4), "I;16": (16, 2), "I;16L": (16, 2), "I;16B": (16, 2),
}  # fmt: skip
_PALETTES = {"RGB": 3, "RGBA": 4}
_PLAIN = (bool, int, float, str, bytes)
_MAX_SIDE = 1 << 30


def handler_of(kind: type) -> Handler | None:
    """The handler of images, and of the plugin classes that opened files have."""
    image = sys.modules["PIL.Image"]
    file = sys.modules.get("PIL.ImageFile")
    if kind is image.Image or (
        file is not None and issubclass(kind, file.ImageFile) and kind.__module__.startswith("PIL.")
    ):
        return _image
    return None


def _image(encoder: Encoder, value: Any) -> Any:
    value.load()  # a file that was only opened so far
    if value.mode not in MODES:
        raise Refused(f"PIL image of mode {value.mode}", "return value.convert('RGB')")
    encoder.depth += 2
    out = {
        TAG: "im",
        "m": value.mode,
        "n": list(value.size),
        "v": encoder.buffer(value.tobytes()) if all(value.size) else None,
    }
    if value.mode in ("P", "PA"):
        mode = value.palette.mode if value.palette is not None else "RGB"
        mode = mode if mode in _PALETTES else "RGB"
        out["p"] = [mode, encoder.buffer(bytes(value.getpalette(mode) or ()))]
    out["i"] = encoder.value(
        {name: entry for name, entry in value.info.items() if type(name) is str and _is_plain(entry)}
    )
    encoder.depth -= 2
    return out


def _is_plain(entry: object) -> bool:
    return type(entry) in _PLAIN or (type(entry) is tuple and all(type(part) in _PLAIN for part in entry))


def _build(decoder: Decoder, obj: dict[str, Any]) -> Any:
    image_module: Any = need("PIL.Image")
    mode, size, info = obj.get("m"), obj.get("n"), obj.get("i")
    if type(mode) is not str or mode not in MODES or type(size) is not list or len(size) != 2 or type(info) is not dict:
        raise Invalid("not an image")
    width, height = size
    if type(width) is not int or type(height) is not int or not (0 <= width <= _MAX_SIDE and 0 <= height <= _MAX_SIDE):
        raise Invalid("not the size of an image")
    if width and height:
        bits, memory = MODES[mode]
        view = decoder.take(obj.get("v"))
        if view.nbytes != (width * bits + 7) // 8 * height:
            raise Invalid("an image whose size does not fit its buffer")
        decoder.charge(width * height, max(0, memory - bits // 8))
        image = image_module.frombytes(mode, (width, height), bytes(view))
    else:
        image = image_module.new(mode, (width, height))
    if mode in ("P", "PA"):
        _set_palette(decoder, image, obj.get("p"))
    if not all(type(name) is str and _is_plain(entry) for name, entry in info.items()):
        raise Invalid("not the info of an image")
    image.info = info
    return image


def _set_palette(decoder: Decoder, image: Any, palette: Any) -> None:
    if type(palette) is not list or len(palette) != 2 or type(palette[0]) is not str or palette[0] not in _PALETTES:
        raise Invalid("not a palette")
    colours = bytes(decoder.take(palette[1]))
    if len(colours) > 256 * _PALETTES[palette[0]] or len(colours) % _PALETTES[palette[0]]:
        raise Invalid("not a palette")
    image.putpalette(colours, palette[0])


BUILDERS: dict[str, Builder] = {"im": _build}

"""A policy in words as one HTML page: nothing is loaded with it, nothing in it runs."""

from __future__ import annotations

import html
from collections.abc import Iterator

from isolate_fn._diagnose.effective import WALLS, Channel, Effective
from isolate_fn._diagnose.text import visible
from isolate_fn._diagnose.tree import Branch

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #5a6472; --line: #c9d1d9; --wall: #6e7781;
  --fill: #f3f5f7; --open: #1a7f37; --shut: #b42318; --host: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0f1318; --soft: #9aa5b1; --line: #343c46;
  --wall: #8b949e; --fill: #171d24; --open: #4ac26b; --shut: #ff7b72; --host: #e3a03b; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
ul { margin: 0; padding-left: 1.2rem; } li { margin: .15rem 0; overflow-wrap: anywhere; }
small, .note { color: var(--soft); }
code, pre, .tree { font: 13px/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; background: var(--fill); padding: .8rem; border-radius: .4rem; }
.tree ul { list-style: none; border-left: 1px solid var(--line); margin-left: .4rem; padding-left: .9rem; }
.tree > ul { border: 0; padding: 0; margin: 0; }
.ro, .link, .device { color: var(--ink); } .rw { color: var(--host); font-weight: 600; } .own { color: var(--open); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .soft { fill: var(--soft); font-size: 11px; } svg .wall { fill: none; stroke: var(--wall); stroke-width: 2; }
svg .core { fill: var(--fill); stroke: var(--wall); stroke-width: 1; }
svg .open { stroke: var(--open); fill: var(--open); } svg .shut { stroke: var(--shut); fill: var(--shut); }
svg .host { stroke: var(--host); fill: var(--host); } svg line { stroke-width: 2.5; }
"""

# The walls of the picture from the outside in: name, and the layers of the report that it stands for.
_RINGS = (
    ("namespaces", ("user namespace", "pid namespace", "network namespace", "ipc namespace")),
    ("mounts", ("mount namespace",)),
    ("landlock", ("landlock",)),
    ("filter", ("seccomp", "rules")),
)
_LEFT, _RIGHT, _STEP, _ROW, _TOP = 300, 940, 62, 52, 58
_CORE = _LEFT + _STEP * len(_RINGS)


def page(said: Effective, listing: str) -> str:
    """Return the page.

    Args:
        said: the policy in words.
        listing: what the filter answers, as text.
    """
    name = _safe(said.name)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>What {name} may do</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>What {'programs of ' if said.about == 'program' else ''}<code>{name}</code> may do</h1>",
        *_picture(said),
        *_sections(said),
        '<h2>Its file tree</h2>\n<div class="tree"><ul>',
        *_tree(said.tree),
        "</ul></div>",
        f"<h2>What its filter answers</h2>\n<pre>{_safe_lines(listing)}</pre>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _safe(text: str) -> str:
    return html.escape(visible(text))


def _safe_lines(text: str) -> str:
    return "\n".join(map(_safe, text.splitlines()))


def _sections(said: Effective) -> Iterator[str]:
    for title, lines in said.sections.items():
        yield f"<h2>{_safe(title)}</h2>\n<ul>"
        for line in lines:
            origin = f" <small>{_safe(line.origin)}</small>" if line.origin else ""
            yield f"<li>{_safe(line.text)}{origin}</li>"
        yield "</ul>"


def _tree(branch: Branch) -> Iterator[str]:
    note = f' <span class="note">{_safe(branch.note)}</span>' if branch.note else ""
    access = f" <small>{_safe(branch.access)}</small>" if branch.access else ""
    yield f'<li><span class="{_safe(branch.access)}">{_safe(branch.name)}</span>{access}{note}'
    if branch.below:
        yield "<ul>"
        for each in branch.below:
            yield from _tree(each)
        yield "</ul>"
    yield "</li>"


def _picture(said: Effective) -> Iterator[str]:
    """Yield the drawing: walls around the function, and for each way in or out a line that passes or ends at a wall."""
    height = _TOP + _ROW * len(said.channels) + 30
    yield f'<svg viewBox="0 0 960 {height}" role="img" aria-labelledby="title">'
    yield f'<title id="title">The walls around {_safe(said.name)}, and what passes through them</title>'
    for index, (ring, layers) in enumerate(_RINGS):
        if not any(layer in said.walls for layer in layers):
            continue
        inset = _STEP * index
        what = "; ".join(f"{layer}: {WALLS[layer]}" for layer in layers if layer in said.walls)
        yield f'<g><title>{_safe(what)}</title><rect class="wall" x="{_LEFT + inset}" y="{12 + 6 * index}" rx="10"'
        yield f' width="{_RIGHT - _LEFT - inset - 6 * index}" height="{height - 24 - 12 * index}"/>'
        yield f'<text class="soft" x="{_LEFT + inset + 6}" y="{30 + 6 * index}">{ring}</text></g>'
    yield f'<rect class="core" x="{_CORE}" y="{_TOP - 16}" rx="8" width="{_RIGHT - _CORE - 34}" height="{height - _TOP - 26}"/>'
    yield f'<text x="{_CORE + 12}" y="{_TOP + 6}"><tspan font-weight="600">{_safe(_short(said.name, 40))}</tspan></text>'
    for row, channel in enumerate(said.channels):
        yield from _channel(channel, _TOP + 24 + row * _ROW, said.walls)
    yield "</svg>"


def _channel(channel: Channel, y: int, walls: tuple[str, ...]) -> Iterator[str]:
    """Yield one line: from where it begins, outside or inside, through the walls or up to the one that stops it."""
    stands = {ring for ring, layers in _RINGS if any(layer in walls for layer in layers)}
    stopped = channel.stopped if channel.stopped in stands else ""
    kind = "shut" if stopped else "host" if channel.host else "open"
    yield f'<text x="8" y="{y}">{_safe(channel.title)}</text>'
    yield f'<text class="soft" x="8" y="{y + 15}">{_safe(_short(channel.text, 44))}</text>'
    outside, inside = 190, _CORE + 8
    at = _LEFT + _STEP * [ring for ring, _ in _RINGS].index(stopped) if stopped else 0
    start, end = (
        (inside, at + 8 if stopped else outside) if channel.outward else (outside, at - 8 if stopped else inside)
    )
    middle = y - 4
    yield f'<line class="{kind}" x1="{start}" y1="{middle}" x2="{end}" y2="{middle}"/>'
    if stopped:
        yield f'<line class="{kind}" x1="{end - 6}" y1="{middle - 6}" x2="{end + 6}" y2="{middle + 6}"/>'
        yield f'<line class="{kind}" x1="{end - 6}" y1="{middle + 6}" x2="{end + 6}" y2="{middle - 6}"/>'
        return
    tip = end - 12 if channel.outward else end + 12
    yield f'<polygon class="{kind}" points="{end},{middle - 6} {tip},{middle} {end},{middle + 6}"/>'
    yield f'<text class="soft" x="{_CORE + 26}" y="{y}">{_safe(_short(channel.text, 54))}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

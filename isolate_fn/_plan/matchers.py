"""Conditions as instructions.

Each function returns the first node of a fragment that ends in `matched` or in `mismatched` and nowhere else.
A fragment loads what it needs, so it may be entered with anything in the accumulator.
"""

from __future__ import annotations

from isolate_fn._plan.bpf import Graph, Node
from isolate_fn._sys.seccomp_constants import DATA_ARGS, HIGH_WORD, LOW_WORD
from isolate_fn.policy.conditions import Condition, Member, Order

_WORD = 0xFFFFFFFF
_SIGN = 0x80000000
#: Up to this many values a chain of tests is no longer than a search.
_FEW = 4


def emit(graph: Graph, condition: Condition, matched: Node, mismatched: Node) -> Node:
    """Return a fragment that goes to `matched` where the condition holds, else to `mismatched`."""
    if condition.negated:
        matched, mismatched = mismatched, matched
    if isinstance(condition, Member):
        return _member(graph, condition, matched, mismatched)
    return _order(graph, condition, matched, mismatched)


def _offset(index: int, word: int) -> int:
    return DATA_ARGS + 8 * index + word


def _member(graph: Graph, condition: Member, matched: Node, mismatched: Node) -> Node:
    low_mask, high_mask = condition.mask & _WORD, condition.mask >> 32
    by_high: dict[int, list[int]] = {}
    for value in condition.values:
        by_high.setdefault(value >> 32, []).append(value & _WORD)
    low_offset = _offset(condition.index, LOW_WORD)
    lows = {
        high: _word_in(graph, low_offset, low_mask, tuple(values), matched, mismatched)
        for high, values in by_high.items()
    }
    if high_mask == 0:  # the condition ignores the upper half, so every value is below 2**32
        return lows[0]
    node = mismatched
    for high, low in sorted(lows.items(), reverse=True):
        node = graph.jump_equal(high, low, node)
    if high_mask != _WORD:
        node = graph.bit_and(high_mask, node)
    return graph.load(_offset(condition.index, HIGH_WORD), node)


def _word_in(graph: Graph, offset: int, mask: int, values: tuple[int, ...], matched: Node, mismatched: Node) -> Node:
    """Test whether the masked word is one of the values."""
    if mask == 0:
        return matched
    if values == (0,) and mask != _WORD:
        return graph.load(offset, graph.jump_any_bit(mask, mismatched, matched))
    if len(values) <= _FEW:
        node = mismatched
        for value in reversed(values):
            node = graph.jump_equal(value, matched, node)
    else:
        node = _word_search(graph, values, matched, mismatched)
    if mask != _WORD:
        node = graph.bit_and(mask, node)
    return graph.load(offset, node)


def _word_search(graph: Graph, values: tuple[int, ...], matched: Node, mismatched: Node) -> Node:
    ranges = [(0, mismatched)]
    for value in values:
        if ranges[-1][0] == value:
            ranges[-1] = (value, matched)
        else:
            ranges.append((value, matched))
        if value < _WORD:
            ranges.append((value + 1, mismatched))
    return graph.search(ranges)


def _order(graph: Graph, condition: Order, matched: Node, mismatched: Node) -> Node:
    """Compare the upper words, and the lower ones where those are equal."""
    low, high = condition.value & _WORD, condition.value >> 32
    flip = _SIGN if condition.signed else 0  # signed order is unsigned order with the sign bit flipped
    if condition.bits == 32:
        return _word_order(graph, condition, LOW_WORD, low ^ flip, flip, matched, mismatched)
    lower = _word_order(graph, condition, LOW_WORD, low, 0, matched, mismatched)
    node = graph.jump_greater(high ^ flip, matched, graph.jump_equal(high ^ flip, lower, mismatched))
    if flip:
        node = graph.bit_xor(flip, node)
    return graph.load(_offset(condition.index, HIGH_WORD), node)


def _word_order(
    graph: Graph, condition: Order, word: int, value: int, flip: int, matched: Node, mismatched: Node
) -> Node:
    test = graph.jump_at_least if condition.inclusive else graph.jump_greater
    node = test(value, matched, mismatched)
    if flip:
        node = graph.bit_xor(flip, node)
    return graph.load(_offset(condition.index, word), node)

"""Can conditions hold together? Decided exactly, by walking the 64 bits of the argument from the top.

A condition reads its argument like a small automaton reads a word of bits: a Member remembers which of its values
still agree with the bits seen so far, an Order whether they are above, below or equal to its limit. Several
conditions on one argument are their automata side by side. Whether some value satisfies all of them is then a
search through states, of which there are about as many per bit as there are values.

So a rule that can never match is refused with certainty and never by mistake, whatever the mix of masks, widths,
signs and negations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from isolate_fn.policy.conditions import Condition, Member, Order

_TOP = 63
_EQUAL, _ABOVE, _BELOW = 0, 1, 2


class _Values:
    """Reads bits for a Member. A state is the set of values that still agree, as bits of an integer."""

    def __init__(self, condition: Member) -> None:
        self.start = (1 << len(condition.values)) - 1
        self.negated = condition.negated
        self._mask = condition.mask
        self._set_at = [0] * (_TOP + 1)  # for each bit, the values in which it is set
        for place, value in enumerate(condition.values):
            for bit in range(value.bit_length()):
                if value >> bit & 1:
                    self._set_at[bit] |= 1 << place

    def step(self, state: int, bit: int, one: int) -> int:
        if not self._mask >> bit & 1:
            return state
        return state & (self._set_at[bit] if one else ~self._set_at[bit])

    def lost(self, state: int) -> bool:
        """No value is left, so whatever follows, the condition fails."""
        return not state and not self.negated

    def holds(self, state: int) -> bool:
        return bool(state) is not self.negated


class _Limit:
    """Reads bits for an Order. The first bit that differs from the limit's decides."""

    def __init__(self, condition: Order) -> None:
        self.start = _EQUAL
        self._bits, self._condition = condition.bits, condition
        # Flipping the sign bit of both sides turns signed order into unsigned order.
        self._flip = condition.bits - 1 if condition.signed else -1

    def step(self, state: int, bit: int, one: int) -> int:
        limit = self._condition.value >> bit & 1
        if state != _EQUAL or bit >= self._bits or one == limit:
            return state
        return _ABOVE if (one > limit) is not (bit == self._flip) else _BELOW

    def lost(self, state: int) -> bool:
        return state != _EQUAL and not self.holds(state)

    def holds(self, state: int) -> bool:
        above = state == _ABOVE or (state == _EQUAL and self._condition.inclusive)
        return above is not self._condition.negated


@lru_cache(maxsize=4096)
def _value_for(conditions: tuple[Condition, ...]) -> int | None:
    """Return a 64-bit value that satisfies conditions on one argument, None where there is none."""
    readers = [_Values(one) if isinstance(one, Member) else _Limit(one) for one in conditions]
    start = tuple(reader.start for reader in readers)
    seen = {(_TOP, start)}
    stack = [(_TOP, start, 0)]
    while stack:
        bit, states, value = stack.pop()
        if bit < 0:
            if all(reader.holds(state) for reader, state in zip(readers, states, strict=True)):
                return value
            continue
        for one in (1, 0):  # the one pushed last is tried first, so small values are found
            after = tuple(reader.step(state, bit, one) for reader, state in zip(readers, states, strict=True))
            if (bit - 1, after) in seen or any(map(_is_lost, readers, after)):
                continue
            seen.add((bit - 1, after))
            stack.append((bit - 1, after, value << 1 | one))
    return None


def _is_lost(reader: _Values | _Limit, state: int) -> bool:
    return reader.lost(state)


def witness(conditions: Sequence[Condition]) -> tuple[int, ...] | None:
    """Return six register contents that satisfy all conditions, None where no call can.

    Args:
        conditions: and-ed, in any order, on any arguments.
    """
    found = [0] * 6
    for index in {condition.index for condition in conditions}:
        value = _value_for(tuple(condition for condition in conditions if condition.index == index))
        if value is None:
            return None
        found[index] = value
    return tuple(found)


def is_always_true(condition: Condition) -> bool:
    """Tell whether every call satisfies the condition: it restricts nothing."""
    return witness((replace(condition, negated=not condition.negated),)) is None

"""An assembler of classic BPF that works backwards.

A jump can only be made to an instruction that exists already, so a program is built from its verdicts
towards its start: `Graph.ret()` first, then the tests that lead there. There are no labels and no second
pass, every jump goes forward by construction (which is what the kernel demands), and no fragment can fall
through its end, because every node names its successors.

Equal nodes are the same object. Two system calls with the same rules therefore *are* the same node, and
merging neighbours into ranges is a comparison of identity.

    graph = Graph()
    allow, deny = graph.ret(SECCOMP_RET_ALLOW), graph.ret(SECCOMP_RET_ERRNO | 1)
    program = assemble(graph.load(DATA_NR, graph.jump_equal(39, allow, deny)))
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from isolate_fn._sys.seccomp_constants import (
    BPF_ALU_AND_K,
    BPF_ALU_XOR_K,
    BPF_JMP_JA,
    BPF_JMP_JEQ_K,
    BPF_JMP_JGE_K,
    BPF_JMP_JGT_K,
    BPF_JMP_JSET_K,
    BPF_LD_W_ABS,
    BPF_MAXINSNS,
    BPF_RET_K,
)
from isolate_fn.errors import PolicyError

#: struct sock_filter { __u16 code; __u8 jt; __u8 jf; __u32 k; } of <linux/filter.h>.
SOCK_FILTER = struct.Struct("<HBBI")
#: jt and jf are bytes.
_FARTHEST = 255


class Node:
    """One instruction and what follows it. Made by Graph only; compared by identity.

    Attributes:
        code: BPF_* operation.
        k: its constant.
        on_true: the next instruction, or for a jump where to go when the test holds. None for a verdict.
        on_false: for a jump, where to go otherwise. None for everything else.
    """

    __slots__ = ("code", "k", "on_false", "on_true")

    def __init__(self, code: int, k: int, on_true: Node | None, on_false: Node | None) -> None:
        self.code, self.k, self.on_true, self.on_false = code, k, on_true, on_false


class Graph:
    """The nodes of one program; asking for an equal node twice gives the same one."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int, int, int], Node] = {}

    def _node(self, code: int, k: int, on_true: Node | None = None, on_false: Node | None = None) -> Node:
        # Identities are safe keys: the dictionary's values keep every successor alive.
        key = (code, k, id(on_true), id(on_false))
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(code, k, on_true, on_false)
        return node

    def ret(self, verdict: int) -> Node:
        """End with a SECCOMP_RET_* value."""
        return self._node(BPF_RET_K, verdict)

    def load(self, offset: int, then: Node) -> Node:
        """Put the 32-bit word at that byte of struct seccomp_data into the accumulator."""
        return self._node(BPF_LD_W_ABS, offset, then)

    def bit_and(self, k: int, then: Node) -> Node:
        """Mask the accumulator."""
        return self._node(BPF_ALU_AND_K, k, then)

    def bit_xor(self, k: int, then: Node) -> Node:
        """Flip bits of the accumulator."""
        return self._node(BPF_ALU_XOR_K, k, then)

    def _jump(self, code: int, k: int, on_true: Node, on_false: Node) -> Node:
        return on_true if on_true is on_false else self._node(code, k, on_true, on_false)

    def jump_equal(self, k: int, on_true: Node, on_false: Node) -> Node:
        """Test ``A == k``."""
        return self._jump(BPF_JMP_JEQ_K, k, on_true, on_false)

    def jump_greater(self, k: int, on_true: Node, on_false: Node) -> Node:
        """Test ``A > k``, unsigned."""
        return self._jump(BPF_JMP_JGT_K, k, on_true, on_false)

    def jump_at_least(self, k: int, on_true: Node, on_false: Node) -> Node:
        """Test ``A >= k``, unsigned."""
        return self._jump(BPF_JMP_JGE_K, k, on_true, on_false)

    def jump_any_bit(self, k: int, on_true: Node, on_false: Node) -> Node:
        """Test ``A & k != 0``."""
        return self._jump(BPF_JMP_JSET_K, k, on_true, on_false)

    def search(self, ranges: Sequence[tuple[int, Node]]) -> Node:
        """Find the range that the accumulator lies in, by halving.

        Args:
            ranges: (first value, node), ascending from 0, each reaching up to the next one's first value.
                Neighbours with the same node are merged.
        """
        merged: list[tuple[int, Node]] = []
        for first, node in ranges:
            if not merged or merged[-1][1] is not node:
                merged.append((first, node))
        return self._search(merged, 0, len(merged))

    def _search(self, ranges: Sequence[tuple[int, Node]], low: int, high: int) -> Node:
        if high - low == 1:
            return ranges[low][1]
        if high - low == 3 and ranges[low][1] is ranges[low + 2][1] and ranges[low + 1][0] + 1 == ranges[low + 2][0]:
            # One value inside a range: one test in place of two.
            return self.jump_equal(ranges[low + 1][0], ranges[low + 1][1], ranges[low][1])
        middle = (low + high) // 2
        above = self._search(ranges, middle, high)
        return self.jump_at_least(ranges[middle][0], above, self._search(ranges, low, middle))


def _successors_first(root: Node) -> list[Node]:
    """Return every node reachable from the root, each after all of its successors.

    Not recursive: chains of tests may be longer than Python's stack.
    """
    ordered: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            # The successor pushed last is laid out first, so on_true ends up nearest to its test: for a load
            # or a mask that is the instruction it falls through to.
            for successor in (node.on_true, node.on_false):
                if successor is not None and id(successor) not in seen:
                    stack.append((successor, False))
    return ordered


class _Backwards:
    """Instructions from the last to the first. An instruction's place is its distance from the end."""

    def __init__(self) -> None:
        self.instructions: list[tuple[int, int, int, int]] = []
        self._places: dict[int, int] = {}

    def _append(self, code: int, jt: int, jf: int, k: int) -> int:
        self.instructions.append((code, jt, jf, k))
        return len(self.instructions) - 1

    def _distance(self, node: Node) -> int:
        """How many instructions the next one appended would have to skip to reach the node."""
        return len(self.instructions) - self._places[id(node)] - 1

    def _bring_near(self, node: Node, farthest: int) -> None:
        """Make the node reachable by a skip of at most `farthest`, by a stepping stone where it is not."""
        if self._distance(node) <= farthest:
            return
        if node.code == BPF_RET_K:  # a second copy of a verdict costs no more than a jump to the first
            self._places[id(node)] = self._append(node.code, 0, 0, node.k)
        else:
            self._places[id(node)] = self._append(BPF_JMP_JA, 0, 0, self._distance(node))

    def place(self, node: Node) -> None:
        """Put one instruction in front of those that are there; its successors must be there."""
        if node.on_true is None:
            self._places[id(node)] = self._append(node.code, 0, 0, node.k)
        elif node.on_false is None:
            self._bring_near(node.on_true, 0)
            self._places[id(node)] = self._append(node.code, 0, 0, node.k)
        else:
            self._bring_near(node.on_true, _FARTHEST)
            self._bring_near(node.on_false, _FARTHEST)
            self._bring_near(node.on_true, _FARTHEST)  # the line above may have pushed it over the edge
            jt, jf = self._distance(node.on_true), self._distance(node.on_false)
            self._places[id(node)] = self._append(node.code, jt, jf, node.k)


def _layout(root: Node) -> list[tuple[int, int, int, int]]:
    layout = _Backwards()
    for node in _successors_first(root):
        layout.place(node)
    return layout.instructions


def size(root: Node) -> int:
    """Return how many instructions the program has that starts here, whether or not a kernel would take it."""
    return len(_layout(root))


def assemble(root: Node) -> bytes:
    """Lay the program out and return it as an array of struct sock_filter.

    Args:
        root: the first instruction.

    Raises:
        PolicyError: more than 4096 instructions (BPF_MAXINSNS).
    """
    instructions = _layout(root)
    if len(instructions) > BPF_MAXINSNS:
        raise PolicyError(
            "rules",
            f"the filter has {len(instructions)} instructions; the kernel takes at most {BPF_MAXINSNS}",
            "compare fewer values, or split the rules into several filters",
        )
    return b"".join(SOCK_FILTER.pack(*instruction) for instruction in reversed(instructions))


def length(program: bytes) -> int:
    """Return the number of instructions of an assembled program."""
    return len(program) // SOCK_FILTER.size

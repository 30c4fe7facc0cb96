"""The assembler by itself: layout, sharing, jump distances, limits. Programs are run by the emulator."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolate_fn._plan.bpf import SOCK_FILTER, Graph, Node, assemble, length, size
from isolate_fn._plan.emulator import SeccompData, run
from isolate_fn._sys.seccomp_constants import BPF_JMP_JA, BPF_MAXINSNS, DATA_NR
from isolate_fn.errors import PolicyError

YES, NO = 0x7FFF0000, 0x00050001


def verdict(program: bytes, nr: int) -> int:
    return run(program, SeccompData(nr, 0)).verdict


def chain(graph: Graph, node: Node, count: int) -> Node:
    """Put `count` instructions that change nothing (A ^= 0) in front of a node."""
    for _ in range(count):
        node = graph.bit_xor(0, node)
    return node


def test_equal_nodes_are_the_same_object() -> None:
    graph = Graph()

    assert graph.ret(YES) is graph.ret(YES)
    assert graph.load(0, graph.ret(YES)) is graph.load(0, graph.ret(YES))
    assert graph.ret(YES) is not graph.ret(NO)


def test_a_test_with_one_outcome_is_no_test() -> None:
    graph = Graph()

    assert graph.jump_equal(1, graph.ret(YES), graph.ret(YES)) is graph.ret(YES)


def test_bytes_are_struct_sock_filter() -> None:
    graph = Graph()
    program = assemble(graph.load(DATA_NR, graph.jump_equal(39, graph.ret(YES), graph.ret(NO))))

    assert length(program) == 4
    assert program == b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in [(0x20, 0, 0, 0), (0x15, 0, 1, 39), (0x06, 0, 0, YES), (0x06, 0, 0, NO)]
    )


def test_shared_code_is_laid_out_once() -> None:
    graph = Graph()
    tail = chain(graph, graph.ret(YES), 50)
    node = graph.ret(NO)
    for value in range(10):
        node = graph.jump_equal(value, tail, node)
    program = assemble(graph.load(DATA_NR, node))

    assert length(program) == 1 + 10 + 1 + 51
    assert all(verdict(program, nr) == (YES if nr < 10 else NO) for nr in range(20))


@pytest.mark.parametrize("far_node_is_a_verdict", [True, False])
def test_jumps_around_the_longest_distance(far_node_is_a_verdict: bool) -> None:
    """Both arms of a test at every pair of distances around 255, where they stop fitting into a byte."""
    for left, right in itertools.product(range(250, 261), repeat=2):
        graph = Graph()
        yes, no = graph.ret(YES), graph.ret(NO)
        if not far_node_is_a_verdict:
            yes, no = chain(graph, yes, 2), chain(graph, no, 2)
        # The inner tests keep both targets alive and push them away from the outer one.
        node = graph.jump_equal(7, chain(graph, no, left - 1), chain(graph, yes, right - 1))
        node = graph.jump_equal(1, no, graph.jump_equal(2, yes, graph.jump_equal(3, no, node)))
        program = assemble(graph.load(DATA_NR, node))

        expected = {1: NO, 2: YES, 3: NO, 7: NO, 8: YES}
        assert {nr: verdict(program, nr) for nr in expected} == expected, (left, right)


def test_a_far_target_is_reached_by_a_stepping_stone_that_others_use_too() -> None:
    graph = Graph()
    far = graph.load(8, chain(graph, graph.ret(YES), 300))
    node = graph.jump_equal(0, far, chain(graph, graph.ret(NO), 300))
    for value in range(1, 50):
        node = graph.jump_equal(value, far, node)
    program = assemble(graph.load(DATA_NR, node))
    stones = [code for code, *_ in SOCK_FILTER.iter_unpack(program) if code == BPF_JMP_JA]

    assert len(stones) <= 2
    assert all(verdict(program, nr) == (YES if nr < 50 else NO) for nr in range(60))


def test_jumps_fit_and_stay_inside() -> None:
    graph = Graph()
    node = chain(graph, graph.ret(NO), 3)
    for value in range(0, 1200, 2):
        node = graph.jump_equal(value, graph.load(8, graph.ret(YES)), node)
    program = assemble(graph.load(DATA_NR, node))
    instructions = list(SOCK_FILTER.iter_unpack(program))

    for index, (code, jt, jf, k) in enumerate(instructions):
        skips = (k,) if code == BPF_JMP_JA else (jt, jf)
        assert all(index + 1 + skip < len(instructions) for skip in skips) or code == 0x06
    assert all(verdict(program, nr) == (YES if nr % 2 == 0 else NO) for nr in range(1200))


def test_the_longest_program_fits_and_one_more_instruction_does_not() -> None:
    graph = Graph()
    assert length(assemble(chain(graph, graph.ret(YES), BPF_MAXINSNS - 1))) == BPF_MAXINSNS

    with pytest.raises(PolicyError, match="has 4097 instructions; the kernel takes at most 4096") as refusal:
        assemble(chain(graph, graph.ret(YES), BPF_MAXINSNS))
    assert size(chain(graph, graph.ret(YES), BPF_MAXINSNS)) == BPF_MAXINSNS + 1
    assert refusal.value.field == "rules"
    assert refusal.value.ran is False


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([YES, NO, 3])), max_size=40))
def test_search_finds_the_range(marks: list[tuple[int, int]]) -> None:
    graph = Graph()
    starts = sorted({0: NO, **dict(marks)}.items())
    program = assemble(graph.load(DATA_NR, graph.search([(first, graph.ret(end)) for first, end in starts])))

    probes = {first + step for first, _ in starts for step in (-1, 0, 1)} | {2**32 - 1}
    for probe in probes:
        if 0 <= probe < 2**32:
            expected = [end for first, end in starts if first <= probe][-1]
            assert verdict(program, probe) == expected


def test_search_costs_the_logarithm() -> None:
    graph = Graph()
    ranges = [(index * 3, graph.ret(index)) for index in range(256)]
    program = assemble(graph.load(DATA_NR, graph.search(ranges)))

    assert max(run(program, SeccompData(nr, 0)).cost for nr in range(768)) <= 1 + 8 + 1


def test_the_emulator_refuses_what_the_assembler_never_writes() -> None:
    with pytest.raises(ValueError, match="unknown instruction"):
        run(SOCK_FILTER.pack(0x1D, 0, 0, 0), SeccompData(0, 0))
    with pytest.raises(ValueError, match="past its end"):
        run(SOCK_FILTER.pack(0x05, 0, 0, 5), SeccompData(0, 0))

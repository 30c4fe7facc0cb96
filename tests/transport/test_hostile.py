"""Bytes that no honest encoder sends: every one is refused, quickly, and nothing runs or is kept."""

from __future__ import annotations

import base64
import json
import sys
import time
import tracemalloc
from array import array

import pytest
import transport_samples as samples

from isolate_fn._transport.codec import ClassTable, DecodeLimits, decode, encode
from isolate_fn._transport.codec_decoder import need
from isolate_fn.errors import ResultRejected, TransportError

CLASSES = ClassTable().with_classes(samples.VALUE_CLASSES)
NAME = "transport_samples"


def tag(kind, **parts) -> bytes:
    return json.dumps({"$": kind, **parts}).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrapped(depth: int, start: str, end: str, inner: str = "") -> bytes:
    return (start * depth + inner + end * depth).encode()


HOSTILE = {
    # not JSON at all
    "empty": b"",
    "space": b" ",
    "leading space": b" 1",
    "trailing data": b"1 2",
    "trailing newline": b"1\n",
    "two values": b"{}{}",
    "pickle": b"\x80\x04N.",
    "utf-16": "1".encode("utf-16"),
    "bad utf-8": b'"\xff"',
    "raw surrogate": b'"\xed\xa0\x80"',
    "control character": b'"\x01"',
    "unterminated": b'"abc',
    "unterminated escape": b'"abc\\',
    "half a value": b'{"a": ',
    "mismatched": b"[1}",
    # size, depth, numbers
    "deep lists": wrapped(201, "[", "]"),
    "very deep lists": wrapped(200_000, "[", "]"),
    "only opening": b"[" * 200_000,
    "deep objects": wrapped(201, '{"a":', "}", "1"),
    "deep tuples": wrapped(101, '{"$":"t","v":[', "]}"),
    "deep key": wrapped(150, '{"$":"t","v":[', "]}"),
    "deep behind a string": b'["[[[[\\"",' + wrapped(201, "[", "]") + b"]",
    "int of 22 digits": b"1" * 22,
    "negative int of 22 digits": b"-" + b"1" * 22,
    "int of a million digits": b"[" + b"1" * 1_000_000 + b"]",
    "float of 22 digits": b"0." + b"1" * 22,
    "huge exponent": b"1e" + b"9" * 22,
    "int behind strings": b'["' + b"1" * 50 + b'\\"",' + b"1" * 22 + b"]",
    # tags
    "unknown tag": tag("zz"),
    "tag null": tag(None),
    "tag list": tag(["t"]),
    "tag object": tag({}),
    "tag int": tag(1),
    "tag of a module": tag("codec_numpy"),
    "tuple of nothing": tag("t"),
    "tuple of text": tag("t", v="ab"),
    "tuple of object": tag("t", v={"a": 1}),
    "set of lists": tag("set", v=[[1]]),
    "set with equals": tag("set", v=[1, 1]),
    "set with equal kinds": tag("fs", v=[1, 1.0]),
    "dict with list key": tag("d", k=[[1]], v=[1]),
    "dict with equal keys": tag("d", k=[1, True], v=[1, 2]),
    "dict without values": tag("d", k=[1], v=[]),
    "dict without keys": tag("d", v=[1]),
    "counter of text": tag("ct", k="ab", v="ab"),
    "ordered dict with equal keys": tag("od", k=[1, 1], v=[1, 2]),
    "factory by name": tag("dd", k=[], v=[], f="eval"),
    "factory of attributes": tag("dd", k=[], v=[], f="__class__"),
    "factory unhashable": tag("dd", k=[], v=[], f=["int"]),
    "deque over its maximum": tag("dq", v=[1, 2], n=1),
    "deque of minus one": tag("dq", v=[], n=-1),
    "deque of true": tag("dq", v=[1], n=True),
    "range of step 0": tag("r", v=[0, 1, 0]),
    "range of floats": tag("r", v=[0, 1, 1.5]),
    "range of two": tag("r", v=[0, 1]),
    "slice of two": tag("sl", v=[0, 1]),
    "complex of ints": tag("c", v=[1, 2]),
    "complex of text": tag("c", v=["1", "2"]),
    "complex of three": tag("c", v=[1.0, 2.0, 3.0]),
    # numbers and dates
    "hex int of text": tag("i", v="xyz"),
    "hex int with underscore": tag("i", v="f_f"),
    "hex int with space": tag("i", v=" ff"),
    "hex int too long": tag("i", v="f" * 10_000),
    "hex int of int": tag("i", v=5),
    "year 0": tag("da", v=[0, 1, 1]),
    "month 0": tag("da", v=[1, 0, 1]),
    "february 30": tag("da", v=[2020, 2, 30]),
    "year 10000": tag("da", v=[10000, 1, 1]),
    "date of bytes": tag("da", v="\x00\x00\x01\x00"),
    "date of bools": tag("da", v=[True, True, True]),
    "hour 255": tag("dt", v=[1, 1, 1, 255, 255, 255, 0, 0], z=None),
    "microsecond": tag("dt", v=[1, 1, 1, 0, 0, 0, 16777215, 0], z=None),
    "fold 2": tag("dt", v=[1, 1, 1, 0, 0, 0, 0, 2], z=None),
    "zone of text": tag("dt", v=[1, 1, 1, 0, 0, 0, 0, 0], z="UTC"),
    "zone of a list": tag("ti", v=[1, 0, 0, 0, 0], z=[]),
    "timedelta overflow": tag("td", v=[10**12, 0, 0]),
    "timezone overflow": tag("tz", v=[2, 0, 0], n=None),
    "timezone name": tag("tz", v=[0, 0, 0], n=5),
    "zone outside": tag("zi", v="../../../etc/passwd"),
    "zone absolute": tag("zi", v="/etc/passwd"),
    "zone dot": tag("zi", v="./UTC"),
    "zone nul": tag("zi", v="UTC\0"),
    "zone unknown": tag("zi", v="Nowhere/Land"),
    "zone newline": tag("zi", v="UTC\n"),
    "zone directory": tag("zi", v="Europe"),
    "zone no zone": tag("zi", v="tzdata"),
    "decimal text": tag("D", v="abc"),
    "decimal hex": tag("D", v="0x10"),
    "decimal underscore": tag("D", v="1_0"),
    "decimal too long": tag("D", v="1" * (2 << 20)),
    "decimal exponent": tag("D", v="1E" + "9" * 20),
    "decimal arabic digits": tag("D", v="\u0661"),
    "fraction by zero": tag("F", v=[1, 0]),
    "fraction of floats": tag("F", v=[1.5, 2]),
    "fraction of one": tag("F", v=[1]),
    "uuid short": tag("u", v="abc", n="unknown"),
    "uuid braces": tag("u", v="{" + "a" * 32 + "}", n="unknown"),
    "uuid safety": tag("u", v="a" * 32, n="__class__"),
    "path class": tag("p", c="os.system", v="true"),
    "path concrete windows": tag("p", c="WindowsPath", v="a"),
    "path of int": tag("p", c="PosixPath", v=5),
    "path too long": tag("p", c="PosixPath", v="a" * 100_000),
    "address class": tag("ip", c="_IPAddressBase", v="1"),
    "address text": tag("ip", c="IPv4Address", v="1.2.3"),
    "address leading zero": tag("ip", c="IPv4Address", v="01.2.3.4"),
    "network host bits": tag("ip", c="IPv4Network", v="10.0.0.1/8"),
    "address too long": tag("ip", c="IPv6Address", v="::1%" + "a" * 1000),
    # raw memory in the text
    "bytes of nothing": tag("b"),
    "base64 with spaces": tag("b", v="YWJj\n"),
    "base64 without padding": tag("b", v="YQ"),
    "base64 too long": tag("b", v=b64(bytes(1000))),
    "half a float": tag("ld", v=b64(bytes(7))),
    "half an int": tag("lq", v=b64(bytes(9))),
    "list of bytes short": tag("lb", v=[b64(array("Q", [5]).tobytes()), b64(b"abc")]),
    "list of bytes wraps": tag("lb", v=[b64(array("Q", [2**64 - 1, 4]).tobytes()), b64(b"abc")]),
    "memoryview of objects": tag("mv", v=b64(bytes(8)), f="O", n=[1]),
    "memoryview of pointers": tag("mv", v=b64(bytes(8)), f="P", n=[1]),
    "memoryview shape": tag("mv", v=b64(bytes(8)), f="B", n=[2, 2]),
    "memoryview negative shape": tag("mv", v=b64(bytes(8)), f="B", n=[-2, -4]),
    "memoryview odd": tag("mv", v=b64(bytes(7)), f="i", n=[1]),
    "array of unicode": tag("ar", v=b64(bytes(8)), f="u"),
    "array odd": tag("ar", v=b64(bytes(7)), f="q"),
    "array code list": tag("ar", v=b64(bytes(8)), f=["q"]),
    # classes
    "class of builtins": tag("k", c="builtins:eval", v={}),
    "class of os": tag("k", c="os:system", v={"command": "true"}),
    "class without name": tag("k", v={}),
    "class name list": tag("k", c=["a"], v={}),
    "class as other kind": tag("nt", c=f"{NAME}:Point", v=[1, 2]),
    "enum as class": tag("k", c=f"{NAME}:Color", v={}),
    "class attribute": tag("k", c=f"{NAME}:Point.__init__", v={}),
    "fields missing": tag("k", c=f"{NAME}:Point", v={"x": 1}),
    "fields more": tag("k", c=f"{NAME}:Point", v={"x": 1, "y": 2, "z": 3}),
    "fields other": tag("k", c=f"{NAME}:Point", v={"x": 1, "__class__": 2}),
    "fields list": tag("k", c=f"{NAME}:Point", v=[1, 2]),
    "constructor raises": tag("k", c=f"{NAME}:Checked", v={"size": -1}),
    "constructor exits": tag("k", c=f"{NAME}:Leaver", v={"how": "exit"}),
    "constructor stops": tag("k", c=f"{NAME}:Leaver", v={"how": "stop"}),
    "constructor unprintable": tag("k", c=f"{NAME}:Leaver", v={"how": "unprintable"}),
    "attrs validator": tag("at", c=f"{NAME}:Positive", v={"n": -1}),
    "member unknown": tag("E", c=f"{NAME}:Color", v="BLUE"),
    "member by value": tag("E", c=f"{NAME}:Color", v=1),
    "member attribute": tag("E", c=f"{NAME}:Color", v="__class__"),
    "flag unknown bits": tag("Fl", c=f"{NAME}:Access", v=8),
    "flag by name": tag("Fl", c=f"{NAME}:Access", v="READ"),
    "flag of many bits": tag("Fl", c=f"{NAME}:Bits", v={"$": "i", "v": "f" * 1000}),
    "named tuple short": tag("nt", c=f"{NAME}:Pair", v=[1]),
    "named tuple long": tag("nt", c=f"{NAME}:Pair", v=[1, 2, 3]),
    "registered without": tag("reg", c=f"{NAME}:Plain", v=1),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(name):
    began = time.process_time()
    with pytest.raises(TransportError) as caught:
        decode(HOSTILE[name], classes=CLASSES)
    assert time.process_time() - began < 1
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 2000
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


@pytest.mark.parametrize("name", ["zone outside", "zone absolute", "zone dot", "zone nul", "zone newline"])
def test_no_file_is_looked_for_where_a_zone_is_no_name(name):
    with pytest.raises(TransportError, match="not the name of a time zone"):
        decode(HOSTILE[name])


def test_a_tag_in_disguise_is_just_a_dict():
    assert decode(b'{"\\u0024":"b","v":0}') == {"$": "b", "v": 0}


BUFFERS = {
    "unused buffer": (b"1", [b"a"]),
    "unused second buffer": (tag("b", v=0), [b"a", b"b"]),
    "used twice": (b'[{"$":"b","v":0},{"$":"b","v":0}]', [b"a"]),
    "number too high": (tag("b", v=1), [b"a"]),
    "negative number": (tag("b", v=-1), [b"a"]),
    "number true": (tag("b", v=True), [b"a", b"b"]),
    "number float": (tag("b", v=0.0), [b"a"]),
    "number none": (tag("b", v=None), [b"a"]),
    "no buffers": (tag("b", v=0), []),
    "bad text": (tag("s", v=0), [b"\xff\xfe"]),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_each_buffer_is_used_exactly_once(name):
    data, buffers = BUFFERS[name]
    with pytest.raises(TransportError):
        decode(data, [memoryview(buffer) for buffer in buffers])


def test_a_class_that_is_not_named_tells_the_fix():
    encoded = encode([samples.Point(1)])
    with pytest.raises(ResultRejected) as caught:
        decode(encoded.json, encoded.buffers)
    assert caught.value.type_name == "transport_samples:Point"
    assert "-> Point" in caught.value.remedy
    assert "returns=(Point,)" in caught.value.remedy
    assert caught.value.ran


def test_a_class_name_is_bounded_and_printable():
    with pytest.raises(ResultRejected) as caught:
        decode(tag("k", c="\x1b[31m" + "a" * 100_000, v={}))
    assert len(str(caught.value)) < 2000
    assert "\x1b" not in str(caught.value)


def test_what_a_constructor_says_is_told():
    with pytest.raises(ResultRejected, match="negative size -1") as caught:
        decode(HOSTILE["constructor raises"], classes=CLASSES)
    assert caught.value.type_name == "transport_samples:Checked"


def test_ctrl_c_during_a_constructor_is_the_users_own():
    def interrupted(value):
        raise KeyboardInterrupt

    table = ClassTable().with_classes([(samples.Plain, str, interrupted)])
    with pytest.raises(KeyboardInterrupt):
        decode(tag("reg", c=f"{NAME}:Plain", v=1), classes=table)


@pytest.mark.parametrize("returned", [None, 5, "Plain"])
def test_a_decode_function_must_give_its_class(returned):
    table = ClassTable().with_classes([(samples.Plain, str, lambda value: returned)])
    with pytest.raises(ResultRejected, match="instance"):
        decode(tag("reg", c=f"{NAME}:Plain", v=1), classes=table)


P61 = 2**61 - 1
_MANY = [{"$": "i", "v": f"{i * P61:x}"} for i in range(1, 20_000)]


@pytest.mark.parametrize(
    "data",
    [
        tag("set", v=_MANY),
        tag("fs", v=_MANY),
        tag("d", k=_MANY, v=[0] * len(_MANY)),
        tag("od", k=_MANY, v=[0] * len(_MANY)),
        tag("ct", k=_MANY, v=[0] * len(_MANY)),
        tag("dd", k=_MANY, v=[0] * len(_MANY), f=None),
        tag("set", v=[{"$": "t", "v": [each]} for each in _MANY[:2000]]),
    ],
    ids=["set", "frozenset", "dict", "OrderedDict", "Counter", "defaultdict", "tuples"],
)
def test_colliding_hashes_are_refused_before_they_cost(data):
    began = time.process_time()
    with pytest.raises(TransportError, match="hash"):
        decode(data)
    assert time.process_time() - began < 1


def test_sixty_four_equal_hashes_are_allowed():
    keys = [{"$": "i", "v": f"{i * P61:x}"} for i in range(1, 65)]
    assert len(decode(tag("set", v=keys))) == 64


def test_packed_keys_are_checked_too():
    colliding = array("q", [-1, -2] * 1).tobytes()  # hash(-1) == hash(-2)
    assert len(decode(tag("set", v={"$": "lq", "v": b64(colliding)}))) == 2
    equal = array("d", [float(2**61 - 1)] * 300).tobytes()
    with pytest.raises(TransportError):
        decode(tag("set", v={"$": "ld", "v": 0}), [equal])


LIMITS = DecodeLimits(total=1 << 20, nodes=1000, depth=50)


@pytest.mark.parametrize(
    ("data", "buffers"),
    [
        (b'"' + b"a" * (1 << 20) + b'"', []),
        (b"[" + b"0," * 1000 + b"0]", []),
        (b"[" + b"[]," * 600 + b"0]", []),
        (b"{" + b",".join(b'"%d":0' % i for i in range(600)) + b"}", []),
        (wrapped(51, "[", "]"), []),
        (tag("b", v=0), [bytes(1 << 20)]),
        (tag("lq", v=0), [bytes(400_000)]),
        (tag("ld", v=0), [bytes(400_000)]),
        (tag("s", v=0), ["a" * 400_000 + "\U0001f600"]),
    ],
    ids=["bytes", "nodes", "lists", "objects", "depth", "buffer", "ints", "floats", "wide text"],
)
def test_each_limit_holds(data, buffers):
    buffers = [buffer.encode() if isinstance(buffer, str) else buffer for buffer in buffers]
    with pytest.raises(TransportError):
        decode(data, buffers, limits=LIMITS)
    decode(data, buffers, limits=DecodeLimits(total=8 << 20))


def test_brackets_in_strings_do_not_count():
    value = ["[[{" * 1000, '\\"' * 500, "]" * 10]
    assert decode(json.dumps(value).encode(), limits=LIMITS) == value
    assert decode(json.dumps({"a" * 30: "1" * 30}).encode()) == {"a" * 30: "1" * 30}


def test_a_claimed_size_allocates_nothing():
    tracemalloc.start()
    for data in (
        tag("im", m="RGB", n=[1 << 20, 1 << 10], v=b64(b"abc"), i={}),
        tag("nd", d="<f8", n=[1 << 40], v=b64(bytes(8))),
        tag("dq", v=[], n=1 << 60),
        tag("r", v=[0, 1 << 60, 1]),
    ):
        try:
            decode(data)
        except TransportError:
            pass
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 64 << 20  # importing libraries included


@pytest.mark.parametrize("piece", [b'"', b'"\\', b"\\", b'\\"', b'"\\"', b"[", b'{"":', b"1", b'"[', b'["'])
def test_checking_is_linear(piece):
    data = piece * (2_000_000 // len(piece))
    began = time.process_time()
    with pytest.raises(TransportError):
        decode(data)
    assert time.process_time() - began < 1.5


def test_the_callers_stack_does_not_matter():
    def deep(levels):
        return deep(levels - 1) if levels else decode(b"[" * 199 + b"]" * 199 + b"")

    limit = sys.getrecursionlimit()
    for levels in range(limit - 250, limit - 60, 20):
        try:
            deep(levels)
        except (TransportError, RecursionError):  # RecursionError: our own frames did not fit any more
            pass


def test_nothing_is_imported_because_of_the_wire():
    before = set(sys.modules)
    for name in ("antigravity", "this", "isolate_fn.cli", "wsgiref.simple_server"):
        for kind in ("k", "E", "nt", "reg", "at", "Fl", name):
            with pytest.raises(TransportError):
                decode(tag(kind, c=f"{name}:x", v={}))
    assert {"antigravity", "this", "wsgiref"}.isdisjoint(set(sys.modules) - before)


def test_a_library_that_is_missing_here_is_named():
    with pytest.raises(ResultRejected, match="no_such_library"):
        need("no_such_library.sub")

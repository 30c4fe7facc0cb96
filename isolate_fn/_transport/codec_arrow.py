"""Arrow tables, record batches, arrays: types by a grammar, plain buffers, and Arrow's own full validation.

Not through Arrow's IPC format: it carries extension types, whose deserialisation is code. Refused: extension,
union, run-end encoded and view types.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from isolate_fn._transport.codec_decoder import Builder, Decoder, Invalid, need
from isolate_fn._transport.codec_encoder import Encoder, Handler, Refused
from isolate_fn._transport.codec_types import DEPTH, TAG

_SIMPLE = frozenset(
    (
        *("null", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "string", "large_string", "binary", "large_binary"),
        *("date32", "date64"),
    )
)
_UNITS = frozenset({"s", "ms", "us", "ns"})
_ZONE = re.compile(r"[A-Za-z0-9_+:/-]{1,80}\Z")
_NAMES = {
    "bool": "bool_",
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}


def handler_of(kind: type) -> Handler | None:
    """The handler of Arrow's data containers."""
    arrow = sys.modules["pyarrow"]
    if kind is arrow.Table:
        return _table
    if kind is arrow.RecordBatch:
        return _batch
    if kind is arrow.ChunkedArray:
        return _chunked
    if issubclass(kind, arrow.Array) and not issubclass(kind, arrow.ExtensionArray):
        return _array
    return None


def type_to_wire(kind: Any) -> Any:
    """An Arrow type as a list: name, then its parameters.

    Raises:
        Refused: the grammar has no word for it.
    """
    types = sys.modules["pyarrow"].types
    name = _NAMES.get(str(kind), str(kind))
    if name in _SIMPLE:
        return [name]
    if types.is_timestamp(kind):
        return ["timestamp", kind.unit, kind.tz]
    if types.is_time32(kind) or types.is_time64(kind) or types.is_duration(kind):
        return [str(kind).partition("[")[0], kind.unit]
    if types.is_decimal128(kind) or types.is_decimal256(kind):
        return [f"decimal{kind.bit_width}", kind.precision, kind.scale]
    if types.is_fixed_size_binary(kind):
        return ["fixed", kind.byte_width]
    if types.is_list(kind) or types.is_large_list(kind):
        return ["list" if types.is_list(kind) else "large_list", _field_to_wire(kind.value_field)]
    if types.is_fixed_size_list(kind):
        return ["fixed_list", _field_to_wire(kind.value_field), kind.list_size]
    if types.is_struct(kind):
        return ["struct", [_field_to_wire(kind.field(number)) for number in range(kind.num_fields)]]
    if types.is_dictionary(kind):
        return ["dictionary", type_to_wire(kind.index_type), type_to_wire(kind.value_type), kind.ordered]
    raise Refused(f"pyarrow type {kind!s:.80}", "cast it to a plain Arrow type")


def _field_to_wire(field: Any) -> Any:
    return [field.name, type_to_wire(field.type), field.nullable]


def type_from_wire(arrow: Any, wire: Any, depth: int = 0) -> Any:
    """Build an Arrow type.

    Raises:
        Invalid: it is not of the grammar.
    """
    if type(wire) is not list or not wire or type(wire[0]) is not str or depth > DEPTH:
        raise Invalid("not an Arrow type")
    name, *rest = wire
    if name in _SIMPLE and not rest:
        return getattr(arrow, name)()
    if name in ("timestamp", "time32", "time64", "duration") and rest and type(rest[0]) is str and rest[0] in _UNITS:
        if name != "timestamp":
            return getattr(arrow, name)(rest[0])
        if len(rest) == 2 and (rest[1] is None or (type(rest[1]) is str and _ZONE.match(rest[1]))):
            return arrow.timestamp(rest[0], rest[1])
    if (
        name in ("decimal128", "decimal256")
        and len(rest) == 2
        and all(type(part) is int and abs(part) < 1000 for part in rest)
    ):
        return getattr(arrow, name)(*rest)
    if name == "fixed" and len(rest) == 1 and type(rest[0]) is int and 0 < rest[0] < 1 << 30:
        return arrow.binary(rest[0])
    return _nested_type(arrow, name, rest, depth + 1)


def _nested_type(arrow: Any, name: str, rest: list[Any], depth: int) -> Any:
    if name in ("list", "large_list") and len(rest) == 1:
        field = _field_from_wire(arrow, rest[0], depth)
        return arrow.list_(field) if name == "list" else arrow.large_list(field)
    if name == "fixed_list" and len(rest) == 2 and type(rest[1]) is int and 0 < rest[1] < 1 << 30:
        return arrow.list_(_field_from_wire(arrow, rest[0], depth), rest[1])
    if name == "struct" and len(rest) == 1 and type(rest[0]) is list:
        return arrow.struct([_field_from_wire(arrow, field, depth) for field in rest[0]])
    if name == "dictionary" and len(rest) == 3:
        index, value = type_from_wire(arrow, rest[0], depth), type_from_wire(arrow, rest[1], depth)
        if arrow.types.is_integer(index):
            return arrow.dictionary(index, value, rest[2] is True)
    raise Invalid("not an Arrow type")


def _field_from_wire(arrow: Any, wire: Any, depth: int) -> Any:
    if type(wire) is not list or len(wire) != 3 or type(wire[0]) is not str:
        raise Invalid("not an Arrow field")
    return arrow.field(wire[0], type_from_wire(arrow, wire[1], depth), nullable=wire[2] is True)


def _data(encoder: Encoder, array: Any) -> Any:
    """One array without its type: ``[length, own buffers, children, dictionary]``."""
    arrow = sys.modules["pyarrow"]
    kind = array.type
    if arrow.types.is_dictionary(kind):
        return [len(array), [], [_data(encoder, array.indices)], _data(encoder, _compact(array.dictionary))]
    children: list[Any] = []
    if arrow.types.is_struct(kind):
        children = [_data(encoder, _compact(array.field(number))) for number in range(kind.num_fields)]
    elif arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or arrow.types.is_fixed_size_list(kind):
        children = [_data(encoder, _compact(array.values))]
    own = array.buffers()[: _own_buffers(arrow, kind)]
    return [
        len(array),
        [None if buffer is None else encoder.buffer(memoryview(buffer).cast("B")) for buffer in own],
        children,
        None,
    ]


def _own_buffers(arrow: Any, kind: Any) -> int:
    if arrow.types.is_dictionary(kind):
        return 0
    return int(kind.num_buffers) if not (arrow.types.is_struct(kind) or arrow.types.is_fixed_size_list(kind)) else 1


def _compact(array: Any) -> Any:
    """A slice still refers to the whole buffers it was cut from; concatenation copies just the slice."""
    if array.offset == 0 and not _is_nested_slice(array):
        return array
    return sys.modules["pyarrow"].concat_arrays([array, array.slice(0, 0)])


def _is_nested_slice(array: Any) -> bool:
    values = getattr(array, "values", None)
    return values is not None and getattr(values, "offset", 0) != 0


def _array(encoder: Encoder, value: Any) -> Any:
    compact = _compact(value)
    return {TAG: "paA", "t": type_to_wire(value.type), "v": _data(encoder, compact)}


def _chunked(encoder: Encoder, value: Any) -> Any:
    return {
        TAG: "paC",
        "t": type_to_wire(value.type),
        "v": [_data(encoder, _compact(chunk)) for chunk in value.chunks],
    }


def _schema(encoder: Encoder, schema: Any) -> Any:
    metadata = schema.metadata
    pairs = None if metadata is None else encoder.value({bytes(key): bytes(entry) for key, entry in metadata.items()})
    return [[_field_to_wire(field) for field in schema], pairs]


def _batch(encoder: Encoder, value: Any) -> Any:
    columns = [_data(encoder, _compact(column)) for column in value.columns]
    return {TAG: "paB", "s": _schema(encoder, value.schema), "n": value.num_rows, "v": columns}


def _table(encoder: Encoder, value: Any) -> Any:
    columns = [[_data(encoder, _compact(chunk)) for chunk in column.chunks] for column in value.columns]
    return {TAG: "paT", "s": _schema(encoder, value.schema), "n": value.num_rows, "v": columns}


def _make(decoder: Decoder, arrow: Any, kind: Any, wire: Any) -> Any:
    """Assemble one array; it is not looked at before ``_validated``."""
    if type(wire) is not list or len(wire) != 4:
        raise Invalid("not an Arrow array")
    length, own, children, dictionary = wire
    if type(length) is not int or not 0 <= length < 1 << 40 or type(own) is not list or type(children) is not list:
        raise Invalid("not an Arrow array")
    if arrow.types.is_dictionary(kind):
        if len(children) != 1 or own:
            raise Invalid("not an Arrow array")
        indices = _validated(_make(decoder, arrow, kind.index_type, children[0]))
        values = _validated(_make(decoder, arrow, kind.value_type, dictionary))
        return arrow.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered, safe=True)
    kinds = [kind.field(number).type for number in range(kind.num_fields)]
    if len(children) != len(kinds) or len(own) != _own_buffers(arrow, kind):
        raise Invalid("not an Arrow array")
    buffers = [None if number is None else _aligned(arrow, decoder.take(number)) for number in own]
    made = [_validated(_make(decoder, arrow, child, part)) for child, part in zip(kinds, children, strict=True)]
    return arrow.Array.from_buffers(kind, length, buffers, null_count=-1, offset=0, children=made or None)


def _aligned(arrow: Any, view: memoryview) -> Any:
    buffer = arrow.py_buffer(view)
    return arrow.py_buffer(bytes(view)) if buffer.address % 8 else buffer


def _validated(array: Any) -> Any:
    array.validate(full=True)
    return array


def _build_array(decoder: Decoder, obj: dict[str, Any]) -> Any:
    arrow: Any = need("pyarrow")
    return _validated(_make(decoder, arrow, type_from_wire(arrow, obj.get("t")), obj.get("v")))


def _chunks(decoder: Decoder, arrow: Any, kind: Any, wire: Any) -> Any:
    if type(wire) is not list:
        raise Invalid("not an Arrow column")
    return arrow.chunked_array([_validated(_make(decoder, arrow, kind, part)) for part in wire], type=kind)


def _build_chunked(decoder: Decoder, obj: dict[str, Any]) -> Any:
    arrow: Any = need("pyarrow")
    return _chunks(decoder, arrow, type_from_wire(arrow, obj.get("t")), obj.get("v"))


def _build_schema(arrow: Any, wire: Any) -> Any:
    if type(wire) is not list or len(wire) != 2 or type(wire[0]) is not list:
        raise Invalid("not an Arrow schema")
    fields, pairs = wire
    if pairs is not None and (
        type(pairs) is not dict or any(type(part) is not bytes for pair in pairs.items() for part in pair)
    ):
        raise Invalid("not an Arrow schema")
    return arrow.schema([_field_from_wire(arrow, field, 0) for field in fields], metadata=pairs)


def _build_table(decoder: Decoder, obj: dict[str, Any]) -> Any:
    arrow: Any = need("pyarrow")
    schema, columns, rows = _build_schema(arrow, obj.get("s")), obj.get("v"), obj.get("n")
    if type(columns) is not list or len(columns) != len(schema) or type(rows) is not int:
        raise Invalid("not an Arrow table")
    if obj["$"] == "paB":
        arrays = [
            _validated(_make(decoder, arrow, field.type, part)) for field, part in zip(schema, columns, strict=True)
        ]
        made = arrow.RecordBatch.from_arrays(arrays, schema=schema)
    else:
        made = arrow.Table.from_arrays(
            [_chunks(decoder, arrow, field.type, part) for field, part in zip(schema, columns, strict=True)],
            schema=schema,
        )
    if made.num_rows != rows and len(schema):
        raise Invalid("not an Arrow table")
    return _validated(made)


BUILDERS: dict[str, Builder] = {
    "paA": _build_array,
    "paC": _build_chunked,
    "paT": _build_table,
    "paB": _build_table,
}

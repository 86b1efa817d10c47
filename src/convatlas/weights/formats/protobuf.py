"""The wire format of protocol buffers, as far as a reader with a schema of its own needs it.

https://protobuf.dev/programming-guides/encoding: a message is a row of (field number, wire type, value).
"""

from collections.abc import Iterator

from convatlas.weights.formats.contents import Cursor, damaged

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10  # bytes of 7 bits for 64 bits

Field = tuple[int, int, int | memoryview]  # number, wire type, value


def fields(message: memoryview, source: object) -> Iterator[Field]:
    """The fields of a message in their order; a nested message comes as its bytes.

    Raises:
        ConvatlasError: the message is cut off, or holds a wire type that no current message has.
    """
    cursor = Cursor(message, source)
    while cursor.left:
        number, wire = divmod(varint(cursor), 8)
        if wire == VARINT:
            yield number, wire, varint(cursor)
        elif wire == BYTES:
            yield number, wire, cursor.take(varint(cursor))
        elif wire in _SIZES:
            yield number, wire, cursor.take(_SIZES[wire])
        else:
            raise damaged(source, f"wire type {wire} at byte {cursor.position}; expected a protobuf message")


def varint(cursor: Cursor) -> int:
    """An unsigned number of up to 64 bits, seven bits a byte, the lowest first."""
    value = 0
    for place in range(_MAX_VARINT):
        byte = cursor.take(1)[0]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF
    raise damaged(cursor.source, f"a number of more than {_MAX_VARINT} bytes before byte {cursor.position}")

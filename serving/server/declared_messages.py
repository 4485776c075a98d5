"""Message classes declared here instead of imported from the official packages.

The official ones import TensorFlow (seconds, 600 MB) or need a package of the `serve` extra, which a machine
with `tensorflow_model_server` does not have. Classes made here live in a private descriptor pool, where they
cannot conflict with the official ones, and have the same text and wire formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tfpipeline.errors import UserError

Field = descriptor_pb2.FieldDescriptorProto
BOOL, INT32, INT64, UINT32 = Field.TYPE_BOOL, Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32
DOUBLE, STRING = Field.TYPE_DOUBLE, Field.TYPE_STRING

#: Field name -> (number, type). The type is one of the constants above or the name of a declared message;
#: in a list, the field is repeated.
Fields = Mapping[str, tuple[int, Union[int, str, list[int], list[str]]]]


def declare(package: str, messages: Mapping[str, Fields], oneofs: Mapping[str, str] = {}) -> dict[str, Any]:
    """Make message classes.

    Args:
        package: the package of the official messages, such as ``tensorflow.serving``.
        messages: message name -> its fields. ``Outer.Inner`` is nested and comes after ``Outer``. An
            ``Inner`` that ends in ``Entry`` is the entry of a map.
        oneofs: message name -> the name of the oneof that all its fields belong to.
    Returns:
        Message name -> class.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.declared.proto", package=package, syntax="proto3"
    )
    declared: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full_name, fields in messages.items():
        outer, _, name = full_name.rpartition(".")
        message = (declared[outer].nested_type if outer else file.message_type).add(name=name)
        message.options.map_entry = name.endswith("Entry")
        declared[full_name] = message
        if full_name in oneofs:
            message.oneof_decl.add(name=oneofs[full_name])
        for field, (number, kind) in fields.items():
            repeated = isinstance(kind, list)
            one = kind[0] if isinstance(kind, list) else kind
            added = message.field.add(
                name=field, number=number, label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
            )
            if full_name in oneofs:
                added.oneof_index = 0
            if isinstance(one, str):
                added.type = Field.TYPE_MESSAGE
                added.type_name = f".{package}.{one}"
            else:
                added.type = Field.Type.ValueType(one)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def read_text(text: str, message: Any, where: str, what: str, advice: str) -> None:
    """Fill a message from its text form.

    Args:
        text: the contents of a file.
        message: an empty message.
        where: the file, for errors.
        what: what it should be, such as "a configuration of TensorFlow Serving".
        advice: what to do if it is not.
    Raises:
        UserError: it is not such a text; the line is named.
    """
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        number = error.GetLine()
        reason = str(error).partition(" : ")[2] or str(error)
        if number:
            # The parser repeats the line, which may be the whole file.
            reason = reason.removeprefix(f"'{text.splitlines()[number - 1]}': ")
        at = f", line {number}" if number else ""
        raise UserError(f"{where}{at} is not {what}: {reason.strip().rstrip('.')}; {advice}") from error

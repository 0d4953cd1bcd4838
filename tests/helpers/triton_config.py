"""A reader of config.pbtxt that is not ours: protobuf's own text format, over the fields of Triton's model_config.proto that we write.

Numbers, names and types are those of `protobuf/model_config.proto` in triton-inference-server/common (2026); a field that is not here, or
has another type, is refused as Triton refuses it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_F = descriptor_pb2.FieldDescriptorProto
_DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "STRING", "BF16",
)  # fmt: skip
_KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Reshape": {"shape": (1, "int64", True)},
    "Input": {
        "name": (1, "string", False), "data_type": (2, "enum DataType", False), "dims": (4, "int64", True),
        "reshape": (5, "Reshape", False),
    },
    "Output": {
        "name": (1, "string", False), "data_type": (2, "enum DataType", False), "dims": (3, "int64", True),
        "reshape": (5, "Reshape", False), "label_filename": (4, "string", False),
    },
    "DynamicBatching": {"max_queue_delay_microseconds": (2, "uint64", False)},
    "InstanceGroup": {"name": (1, "string", False), "kind": (4, "enum Kind", False), "count": (2, "int32", False)},
    "Graph": {"level": (1, "int32", False)},
    "Accelerator": {"name": (1, "string", False)},
    "Accelerators": {
        "gpu_execution_accelerator": (1, "Accelerator", True), "cpu_execution_accelerator": (2, "Accelerator", True),
    },
    "Optimization": {"graph": (1, "Graph", False), "execution_accelerators": (4, "Accelerators", False)},
    "Parameter": {"string_value": (1, "string", False)},
    "ParametersEntry": {"key": (1, "string", False), "value": (2, "Parameter", False)},
    "ModelConfig": {
        "name": (1, "string", False), "platform": (2, "string", False), "max_batch_size": (4, "int32", False), "input": (5, "Input", True),
        "output": (6, "Output", True), "instance_group": (7, "InstanceGroup", True), "dynamic_batching": (11, "DynamicBatching", False),
        "optimization": (12, "Optimization", False), "parameters": (14, "ParametersEntry", True),
    },
}  # fmt: skip


def _config_type() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="triton", syntax="proto3")
    for enum, names in (("DataType", [f"TYPE_{name}" for name in _DATA_TYPES]), ("Kind", _KINDS)):
        made = file.enum_type.add(name=enum)
        for number, name in enumerate(names):
            made.value.add(name=name, number=number)
    scalars = {"int64": _F.TYPE_INT64, "uint64": _F.TYPE_UINT64, "int32": _F.TYPE_INT32, "string": _F.TYPE_STRING}
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, kind, several) in fields.items():
            label = _F.LABEL_REPEATED if several else _F.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type = _F.TYPE_ENUM if kind.startswith("enum") else _F.TYPE_MESSAGE
                field.type_name = f".triton.{kind.removeprefix('enum ')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))


def read(text: str) -> Any:
    """The message; raises ParseError where Triton would."""
    return text_format.Parse(text, _config_type()())


def tensors(found: Any) -> list[tuple[str, str, list[int], list[int] | None]]:
    """Name, type, dims, and what they are reshaped to, of a config's inputs or outputs."""
    return [
        (t.name, _DATA_TYPES[t.data_type], list(t.dims), list(t.reshape.shape) if t.HasField("reshape") else None)
        for t in found
    ]

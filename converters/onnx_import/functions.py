"""Operators that ONNX itself defines as functions of others: taken apart where none here computes them in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.onnx_import.graph import Function, Node
from converters.onnx_import.operators import RefusalError
from converters.onnx_import.tensors import code_of


def has_body(node: Node) -> bool:
    """Whether ONNX says how to compute it from other operators."""
    schema = _schema(node)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def body_of(node: Node, operands: Sequence[Any]) -> Function:
    """Its body, for operands of these types.

    Args:
        node: For which :func:`has_body`.
        operands: :class:`converters.onnx_import.specialize.Value`, ``None`` for absent ones.

    Raises:
        RefusalError: It has none for these.
    """
    import onnx

    schema = _schema(node)
    if schema is None:
        raise RefusalError("not known")
    proto = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        version = _best(schema.context_dependent_function_opset_versions, node.version)
        types = [_type(value).SerializeToString() for value in operands]
        content = schema.get_context_dependent_function_with_opset_version(
            version, node.proto.SerializeToString(), types
        )
        proto.ParseFromString(content)
    elif schema.has_function:
        version = _best(schema.function_opset_versions, node.version)
        proto.ParseFromString(schema.get_function_with_opset_version(version))
    if not proto.node:
        raise RefusalError("ONNX has no definition of it for these inputs")
    versions = {("" if item.domain == "ai.onnx" else item.domain): int(item.version) for item in proto.opset_import}
    return Function(list(proto.input), list(proto.output), proto, versions or {"": node.version})


def attributes_of(node: Node, function: Function) -> Mapping[str, Any]:
    """The attributes of a call, with the defaults of the function and of the operator's own definition."""
    import onnx

    found: dict[str, Any] = {}
    schema = _schema(node)
    if schema is not None:
        for name, attribute in schema.attributes.items():
            if attribute.default_value.name:
                found[name] = _plain(onnx.helper.get_attribute_value(attribute.default_value))
    for item in function.proto.attribute_proto:
        found[item.name] = _plain(onnx.helper.get_attribute_value(item))
    return {**found, **node.attributes}


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _schema(node: Node) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(node.operator, node.version, node.domain)
    except onnx.defs.SchemaError:
        return None


def _best(versions: Sequence[int], wanted: int) -> int:
    return max((item for item in versions if item <= wanted), default=min(versions))


def _type(value: Any) -> Any:
    import onnx

    if value is None or value.tensor is None:
        return onnx.TypeProto()
    return onnx.helper.make_tensor_type_proto(code_of(value.tensor.dtype), list(value.tensor.shape))

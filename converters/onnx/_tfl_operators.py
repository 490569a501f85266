"""Conversions from TFLite that tf2onnx lacks, or that compute something else than TFLite."""

from __future__ import annotations

from typing import Any

import numpy as np


def register() -> None:
    """Make them known to tf2onnx, in the place of its own; once per process is enough, and again does no harm."""
    from tf2onnx.handler import tfl_op
    from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

    tfl_op(["TFL_GELU"])(_Gelu)
    tfl_op(["TFL_RELU_N1_TO_1"])(_clip(-1.0, 1.0))
    tfl_op(["TFL_RELU_0_TO_1"])(_clip(0.0, 1.0))
    tfl_op(["TFL_SOFTMAX"], tf_op="Softmax")(_Softmax)
    tfl_op(["TFL_SELECT"], tf_op="Select")(_Select)
    tfl_op(["TFL_SELECT_V2"], tf_op="SelectV2")(_Select)
    tfl_op(["TFL_DYNAMIC_UPDATE_SLICE"])(_DynamicUpdateSlice)
    tfl_op(["TFL_FULLY_CONNECTED"])(_fully_connected(TflFullyConnectedOp))


def known() -> set[str]:
    """Kinds of TFLite operators that there is a conversion for."""
    from tf2onnx.handler import tf_op, tfl_op

    found = {*tfl_op.create_tfl_to_tf_mapping(), *tf_op.create_mapping(_newest(), None)}
    return {name.removeprefix("TFL_") for name in found if name.startswith("TFL_")}


def _newest() -> int:
    from converters.onnx._tf2onnx import newest_opset

    return newest_opset()


def _put(ctx: Any, node: Any, operator: str, inputs: list[str], **attributes: Any) -> str:
    """A new node of ONNX with the shape and dtype of another's output; the name of what it makes."""
    from tf2onnx import utils

    made = ctx.make_node(
        operator,
        inputs,
        name=utils.make_name(node.name),
        attr=attributes,
        shapes=[ctx.get_shape(node.output[0])],
        dtypes=[ctx.get_dtype(node.output[0])],
    )
    made.skip_conversion = True
    return str(made.output[0])


def _put_last(ctx: Any, node: Any, operator: str, inputs: list[str]) -> None:
    """A new node of ONNX in the place of another."""
    outputs, name = list(node.output), node.name
    shapes, dtypes = [ctx.get_shape(outputs[0])], [ctx.get_dtype(outputs[0])]
    ctx.remove_node(name)
    made = ctx.make_node(operator, inputs, outputs=outputs, name=name, shapes=shapes, dtypes=dtypes)
    made.skip_conversion = True


def _number(ctx: Any, value: float) -> str:
    from tf2onnx import utils

    return str(ctx.make_const(utils.make_name("number"), np.array(value, np.float32)).output[0])


class _Gelu:
    """``x/2 * (1 + erf(x/sqrt 2))``, or with tanh in its place."""

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **_: Any) -> None:
        (x,), one, half = node.input, _number(ctx, 1.0), _number(ctx, 0.5)
        if node.get_attr_value("approximate"):
            cube = _put(ctx, node, "Mul", [_put(ctx, node, "Mul", [x, x]), x])
            inner = _put(ctx, node, "Add", [x, _put(ctx, node, "Mul", [cube, _number(ctx, 0.044715)])])
            part = _put(ctx, node, "Tanh", [_put(ctx, node, "Mul", [inner, _number(ctx, np.sqrt(2 / np.pi))])])
        else:
            part = _put(ctx, node, "Erf", [_put(ctx, node, "Mul", [x, _number(ctx, np.sqrt(0.5))])])
        factors = [_put(ctx, node, "Mul", [x, half]), _put(ctx, node, "Add", [part, one])]
        _put_last(ctx, node, "Mul", factors)


def _clip(low: float, high: float) -> type:
    class _Clip:
        """A clamp; TFLite has operators for some ranges."""

        @classmethod
        def to_tf(cls, ctx: Any, node: Any, **_: Any) -> None:
            _put_last(ctx, node, "Clip", [node.input[0], _number(ctx, low), _number(ctx, high)])

    return _Clip


class _Softmax:
    """With ``beta`` on what goes in; tf2onnx multiplies what comes out."""

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **_: Any) -> None:
        beta = node.get_attr_value("beta")
        if beta != 1:
            ctx.replace_input(node, node.input[0], _put(ctx, node, "Mul", [node.input[0], _number(ctx, beta)]), 0)
        del node.attr["beta"]


class _Select:
    """As a choice; tf2onnx multiplies with 0 and 1, and infinity where it is not chosen makes NaN of that."""

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **_: Any) -> None:
        node.set_attr("handles_nan", 1)


class _DynamicUpdateSlice:
    """Part of a tensor replaced, at a place that is computed; it is moved to where the part fits."""

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **_: Any) -> None:
        tensor, part, start = node.input
        sizes, part_sizes = ctx.get_shape(tensor), ctx.get_shape(part)
        # Behind the last axis that is not replaced as a whole, all of it is.
        axes = max((axis + 1 for axis, size in enumerate(sizes) if size != part_sizes[axis]), default=1)
        last = np.array(sizes[:axes], np.int64) - part_sizes[:axes]
        grid = np.moveaxis(np.indices(part_sizes[:axes], np.int64), 0, -1)
        place = _whole(ctx, node, "Cast", [start], to=7)
        if axes < len(sizes):
            place = _whole(ctx, node, "Slice", [place, *(_whole_numbers(ctx, [edge]) for edge in (0, axes))])
        place = _whole(ctx, node, "Max", [place, _whole_numbers(ctx, [0] * axes)])
        place = _whole(ctx, node, "Min", [place, _whole_numbers(ctx, last)])
        place = _whole(ctx, node, "Add", [place, _whole_numbers(ctx, grid)])
        _put_last(ctx, node, "ScatterND", [tensor, place, part])


def _whole(ctx: Any, node: Any, operator: str, inputs: list[str], **attributes: Any) -> str:
    """A new node of ONNX that computes on int64; the name of what it makes."""
    from tf2onnx import utils

    name = utils.make_name(node.name)
    made = ctx.make_node(operator, inputs, name=name, attr=attributes, dtypes=[7])
    made.skip_conversion = True
    return str(made.output[0])


def _whole_numbers(ctx: Any, values: Any) -> str:
    from tf2onnx import utils

    return str(ctx.make_const(utils.make_name("numbers"), np.array(values, np.int64)).output[0])


def _fully_connected(original: Any) -> type:
    class _FullyConnected:
        """With the bias where more than two dimensions go in; tf2onnx forgets it when it flattens them."""

        @classmethod
        def to_tf(cls, ctx: Any, node: Any, **options: Any) -> None:
            from tf2onnx.tflite_handlers.tfl_math import separate_fused_activation_function

            bias = node.input[2] if len(node.input) > 2 else ""
            if bias and not node.get_attr_value("keep_num_dims") and ctx.get_rank(node.input[0]) != 2:
                separate_fused_activation_function(ctx, node)
                node.set_attr("fused_activation_function", b"NONE")
                ctx.replace_inputs(node, node.input[:2])
                added = ctx.insert_new_node_on_output("Add", node.output[0], inputs=[node.output[0], bias])
                added.skip_conversion = True
            original.to_tf(ctx, node, **options)

    return _FullyConnected

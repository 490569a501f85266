"""Conversions that tf2onnx lacks."""

from __future__ import annotations

from typing import Any

import numpy as np


def register() -> None:
    """Make them known to tf2onnx; once per process is enough, and again does no harm."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class _Erfc:
        """``1 - Erf(x)``: what Keras's exact GELU is made of."""

        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
            from tf2onnx import utils

            one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
            erf = ctx.make_node("Erf", [node.input[0]], name=utils.make_name(node.name), shapes=[shape], dtypes=[dtype])
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=node.name, shapes=[shape],
                dtypes=[dtype],
            )  # fmt: skip

"""Taps as a file's rows (:class:`edgekit.plugins.Tap`) give them, and what their operators do, in one word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.feeds import Array

QUANTIZING = frozenset("cast convert dequantize dynamic_quantize quantize".split())
"""Kinds that change how values are stored, and little else."""

MOVES = frozenset("concat expand flatten gather identity pad reshape slice split squeeze stack transpose".split())
"""Kinds that move data and compute nothing."""

ACTIVATIONS = frozenset("clamp elu hardsigmoid hardswish leaky_relu prelu relu sigmoid tanh".split())
"""Kinds that runtimes and quantizers put into the operator before."""

_NAMESPACES = frozenset({"aten", "dim_order_ops", "edge", "quantized_decomposed"})

_WORDS = {
    "add2": "add", "averagepool": "avg_pool", "averagepooling": "avg_pool", "avgpooling": "avg_pool",
    "batchmatmul": "matmul", "batchmatrixmultiply": "matmul", "batchnormalization": "batch_norm",
    "concatenate": "concat", "concatenation": "concat", "conv": "conv", "convolution": "conv",
    "clip": "clamp", "dequantizelinear": "dequantize", "depthwiseconv": "depthwise_conv",
    "depthwiseconvolution": "depthwise_conv", "dynamicquantizelinear": "dynamic_quantize",
    "expanddims": "reshape", "flatten": "reshape", "fullyconnected": "linear", "gemm": "linear",
    "globalaveragepool": "mean", "globalavgpooling": "mean", "hardtanh": "clamp", "leakyrelu": "leaky_relu",
    "logistic": "sigmoid", "maxpool": "max_pool", "maxpooling": "max_pool", "minimum": "min", "maximum": "max",
    "pack": "stack", "padv": "pad", "multiply": "mul", "multiply2": "mul", "permute": "transpose",
    "quantizelinear": "quantize", "reducemean": "mean", "reducesum": "sum", "relu6": "clamp",
    "squeeze": "reshape", "staticconstantpad": "pad", "staticmean": "mean", "staticreduce": "mean",
    "staticreshape": "reshape", "staticresizebilinear": "resize", "staticslice": "slice",
    "statictranspose": "transpose",
    "stridedslice": "slice", "subtract": "sub", "transposeconv": "conv_transpose", "convtranspose": "conv_transpose",
    "unsqueeze": "reshape", "view": "reshape", "viewcopy": "reshape", "permutecopy": "transpose",
}  # fmt: skip
"""Where the word is not the operator's own name, in lower case, without what :func:`kind_of` takes off."""


@dataclass(frozen=True)
class Tapped:
    """A tensor inside a file.

    Attributes:
        output: Name among the outputs of the tapped file.
        tensor: Name in the file.
        operator: That makes it, as the format calls it.
        module: Path of that in the source; empty where the file does not say.
        inputs: ``tensor`` names of what it is computed from.
        scale, zero_point: Of integers; ``None`` for floats.
        shape: Of the tensor.
        dtype: As stored, NumPy's name; empty where the tap does not say.
        twin: Name in a float file that it was quantized from; empty where that is not known.
    """

    output: str
    tensor: str
    operator: str
    module: str
    inputs: tuple[str, ...]
    scale: float | None
    zero_point: int | None
    shape: tuple[int, ...]
    dtype: str = ""
    twin: str = ""

    @property
    def kind(self) -> str:
        """What the operator does, in one word for all formats."""
        return kind_of(self.operator)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape without axes of one element: what reshapes and layouts of vectors leave alone."""
        return tuple(size for size in self.shape if size != 1)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Least and largest value that its integers can hold; ``None`` for floats, and where the dtype is unknown."""
        import numpy as np

        if self.scale is None or not self.dtype or np.dtype(self.dtype).kind not in "iu":
            return None
        ends, zero_point = np.iinfo(self.dtype), self.zero_point or 0
        return (int(ends.min) - zero_point) * self.scale, (int(ends.max) - zero_point) * self.scale

    def values(self, array: Array) -> Array:
        """The float64 numbers that an array of this tensor stands for."""
        numbers: Array = array.astype("float64")
        if self.scale is None or array.dtype.kind not in "iu":
            return numbers
        return (numbers - (self.zero_point or 0)) * self.scale


def read(rows: Sequence[Mapping[str, Any]]) -> list[Tapped]:
    """Taps from the rows that a job of :class:`edgekit.plugins.Tap` returned, in their order."""
    return [
        Tapped(
            output=row["output"],
            tensor=row["tensor"],
            operator=row["operator"],
            module=row["module"],
            inputs=tuple(row["inputs"]),
            scale=row["scale"],
            zero_point=row["zero_point"],
            shape=tuple(size or 1 for size in row["shape"]),
            dtype=row.get("dtype", ""),
            twin=row.get("twin", ""),
        )
        for row in rows
    ]


def kind_of(operator: str) -> str:
    """What an operator does: ``conv`` for ``CONV_2D``, ``Conv``, ``QLinearConv`` and ``aten.convolution.default``."""
    space, _, name = operator.rpartition("::")
    parts = name.split(".")
    if not space and parts[0] in _NAMESPACES and len(parts) > 1:
        space, parts = parts[0], parts[1:]
    name = parts[0] if space in _NAMESPACES else parts[-1]  # an overload follows the name, a domain precedes it
    name = re.sub(r"[^a-z0-9]", "", name.rpartition(":")[2].lower())
    name = re.sub(r"^(xnn|qlinear)|(integer|pertensor|pertoken)$", "", name)
    name = re.sub(r"[123]d$|v2$", "", name)
    return _WORDS.get(name, name)

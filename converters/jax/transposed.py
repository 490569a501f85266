"""Transposed convolutions that LiteRT's converter gets wrong, in a form that it gets right.

JAX writes ``conv_transpose`` as a convolution over an image with gaps. Where its padding differs from side to side, as
``SAME`` with a kernel of 3 and a stride of 2 does, the converter makes one of the wrong size. Padded in full and cut
to size, the same convolution arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CONVOLUTION = "stablehlo.convolution"


@dataclass(frozen=True)
class _Window:
    """One spatial dimension of a convolution.

    Attributes:
        axis: Of the result.
        reach: How far a kernel reaches behind its first element.
        low, high: Padding.
        size: Of the result.
    """

    axis: int
    reach: int
    low: int
    high: int
    size: int


def even_out(module: Any) -> None:
    """Rewrite them in place; call inside the module's context.

    Args:
        module: ``litert_converter.mlir.ir.Module`` of StableHLO operations.
    """
    found = [operation for operation in _walk(module.operation) if operation.name == _CONVOLUTION]
    for operation in found:
        windows = _windows(operation)
        if windows and any(window.low != window.high for window in windows):
            _rewrite(operation, windows)


def _walk(operation: Any) -> list[Any]:
    below = []
    for region in operation.regions:
        for block in region:
            for inner in block:
                below += [inner.operation, *_walk(inner.operation)]
    return below


def _windows(operation: Any) -> list[_Window]:
    """The spatial dimensions of a transposed convolution; empty for others."""
    from litert_converter.mlir.dialects import stablehlo

    attributes = operation.attributes
    dimensions = stablehlo.ConvDimensionNumbers(attributes["dimension_numbers"])
    axes, kernel_axes = dimensions.output_spatial_dimensions, dimensions.kernel_spatial_dimensions
    count = len(axes)

    def ones(name: str) -> list[int]:
        return list(attributes[name]) if name in attributes else [1] * count

    if "padding" not in attributes or max(ones("lhs_dilation")) == 1 or max(ones("window_strides")) > 1:
        return []
    padding = [int(value) for value in attributes["padding"]]
    kernel, result = operation.operands[1].type.shape, operation.results[0].type.shape
    found = []
    for place, dilation in enumerate(ones("rhs_dilation")):
        reach = (kernel[kernel_axes[place]] - 1) * dilation
        low, high = padding[2 * place : 2 * place + 2]
        found.append(_Window(axes[place], reach, low, high, result[axes[place]]))
    # Wider padding than that has no transposed convolution.
    return found if all(0 <= side <= item.reach for item in found for side in (item.low, item.high)) else []


def _rewrite(operation: Any, windows: list[_Window]) -> None:
    import numpy as np
    from litert_converter.mlir import ir

    before = operation.results[0].type
    shape, start = list(before.shape), [0] * len(before.shape)
    for window in windows:
        start[window.axis] = window.reach - window.low
        shape[window.axis] += 2 * window.reach - window.low - window.high
    end = [first + size for first, size in zip(start, before.shape, strict=True)]
    padding = np.array([[window.reach] * 2 for window in windows], np.int64)
    with operation.location, ir.InsertionPoint(operation):
        full = ir.RankedTensorType.get(shape, before.element_type)
        attributes = dict(operation.attributes.items()) | {"padding": ir.DenseElementsAttr.get(padding)}
        made = ir.Operation.create(
            _CONVOLUTION, results=[full], operands=list(operation.operands), attributes=attributes
        )
        cut = ir.Operation.create(
            "stablehlo.slice",
            results=[before],
            operands=[made.results[0]],
            attributes={
                "start_indices": ir.DenseI64ArrayAttr.get(start),
                "limit_indices": ir.DenseI64ArrayAttr.get(end),
                "strides": ir.DenseI64ArrayAttr.get([1] * len(start)),
            },
        )
    operation.results[0].replace_all_uses_with(cut.results[0])
    operation.erase()

"""What a kernel call of a ``.pte`` does, outside of any delegate."""

from __future__ import annotations

from typing import Literal

from converters.executorch._flatbuffer import Table
from converters.executorch._program import Call, TensorValue, tensor
from converters.facts import OperatorFacts

# Operators that move, reshape, select or convert data: what they are done in says nothing about arithmetic.
_MOVES = frozenset(
    """
    _clone_dim_order _conj_physical _empty_dim_order _to_copy _to_dim_order_copy alias_copy arange
    as_strided_copy cat clone constant_pad_nd copy_ detach_copy diagonal_copy embedding empty et_view
    expand_copy fill flip full full_like gather index index_put index_select lift_fresh_copy masked_fill
    narrow_copy nonzero ones permute_copy pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d
    repeat repeat_interleave replication_pad1d replication_pad2d roll scalar_tensor scatter select_copy
    select_scatter slice_copy slice_scatter split_copy split_with_sizes_copy squeeze_copy stack t_copy
    to_copy transpose_copy tril triu unbind_copy unfold_copy unsqueeze_copy view_copy where zeros
    """.split()
)
# A view of the planned memory: nothing is copied.
_VIEWS = ("et_view",)
# Rows, slices or single elements of the first operand that moves.
_PICKS = frozenset(
    "embedding gather index index_select narrow_copy select_copy slice_copy unbind_copy unfold_copy".split()
)
_LISTS = ("TensorList", "OptionalTensorList")
_CONVERTS = ("quantize", "dequantize", "choose_qparams")
# Namespaces whose operators all have a formula below, or none to count.
_COUNTED = ("aten", "dim_order_ops", "quantized_decomposed", "executorch_prim", "et_copy")
# The first factor of matrix products: its last size is how many products are summed.
_LEFT = {"addmm": 1, "baddbmm": 1, "bmm": 0, "linear": 0, "mm": 0}
_TRANSPOSED, _WEIGHTS = 6, 1  # arguments of aten::convolution


def operator_facts(call: Call) -> OperatorFacts:
    """The facts of a kernel call."""
    found = [item for item in map(tensor, call.arguments) if item is not None and item.sizes]
    stored = [item for item in found if item.constant]
    weights = max(stored, key=lambda item: item.elements, default=None)
    computes, activations = _numbers(call, found)
    return OperatorFacts(
        operator=call.operator,
        name=call.place,
        computes=computes,
        weights=weights.dtype if weights and computes != "none" else "",
        activations=activations,
        macs=_macs(call),
        delegated=False,
        weights_bytes=weights_bytes(call),
        moved_bytes=_moved(call),
    )


def weights_bytes(call: Call) -> int:
    """Bytes of the stored tensors that a kernel reads, each once."""
    found = [item for item in map(tensor, call.arguments) if item is not None and item.constant]
    return sum({item.constant: item.stored_bytes for item in found}.values())


def _moved(call: Call) -> int:
    """Bytes of weights, inputs and outputs; what counts is defined in :mod:`converters.work`.

    An output is named twice in the arguments, and is one value. Lists of tensors are what is joined or split: as much
    as the tensor that is not in the list.
    """
    base = _base(call)
    if base in _VIEWS or call.operator.startswith("executorch_prim"):
        return 0
    values = {id(value): value for value in call.arguments if value is not None}.values()
    found = [item for item in map(tensor, values) if item is not None and item.sizes and not item.constant]
    if base in _PICKS or any(value.label in _LISTS for value in values):
        return 2 * max((item.stored_bytes for item in found[-1:]), default=0)
    return weights_bytes(call) + sum(item.stored_bytes for item in found)


def is_uncounted(call: Call) -> bool:
    """Whether a kernel may multiply and accumulate in a way that is not counted here."""
    namespace, _, name = call.operator.partition("::")
    return namespace not in _COUNTED or name.startswith("mixed_")


def _base(call: Call) -> str:
    return call.operator.partition("::")[2].partition(".")[0]


def _numbers(call: Call, tensors: list[TensorValue]) -> tuple[Literal["float", "integer", "none"], str]:
    base = _base(call)
    if base in _MOVES or base.startswith(_CONVERTS) or call.operator.startswith("executorch_prim"):
        return "none", ""
    data = [item for item in tensors if not item.constant]
    for item in data:
        if item.dtype.startswith(("float", "bfloat")):
            return "float", item.dtype
    for item in data:
        if item.dtype in ("int8", "uint8"):
            return "integer", item.dtype
    return "none", ""  # on shapes and indices


def _macs(call: Call) -> int:
    base = _base(call)
    if not call.operator.startswith("aten::"):
        return 0
    if base == "convolution":
        weights, transposed = _tensor(call, _WEIGHTS), call.arguments[_TRANSPOSED]
        counted = _tensor(call, 0 if _is_true(transposed) else -1)
        # Weights: out, in per group, sizes; transposed: in, out per group, sizes.
        return counted.elements * weights.elements // weights.sizes[0]
    if base in _LEFT:
        return _tensor(call, -1).elements * _tensor(call, _LEFT[base]).sizes[-1]
    return 0


def _tensor(call: Call, index: int) -> TensorValue:
    found = tensor(call.arguments[index])
    if found is None:
        raise ValueError(f"{call.operator}: argument {index} is no tensor")
    return found


def _is_true(value: Table | None) -> bool:
    return value is not None and value.label == "Bool" and bool(value.integer("bool_val"))

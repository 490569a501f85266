"""Schemes in the words of LiteRT's quantizer: which configuration each operator gets.

The quantizer goes by regular expressions over an operator's scope, the names of its output tensors joined (of its
inputs where it has none), and takes the last entry that fits and that it supports. So the scheme of the file comes
first, for all operators; then, for those that are to differ, the full scopes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from converters.tflite._file import Model, Operator, numbers, text

STATIC_BITS = {"int8": 8, "int16x8": 16}
"""Schemes with ranges from calibration, and the bits of their activations."""

BLOCK = 32
"""Weights of a row that share a scale in int4."""

FOUR_BITS = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP")
"""What int4 is for: the quantizer and the runtime take convolutions with a scale per channel only, which loses more
than any other layer (18 dB on the digits example)."""


_NEVER_STATIC = ("DIV",)
"""The kernel of DIV ends the run when a divisor rounds to zero, with 8 bits and with 16 (seen: div.cc, 2.3)."""

_STATIC_EXCEPT = (*_NEVER_STATIC, "EMBEDDING_LOOKUP")
"""What gets another treatment than a static scheme gives to all."""


class Treatment(NamedTuple):
    """What the quantizer does with an operator: the name of its algorithm, and a configuration of it."""

    algorithm: str
    config: Any


def load(quantizer: Any, model: Model, scheme: str, chosen: Sequence[str | None]) -> list[int]:
    """Give a quantizer its recipe.

    Args:
        quantizer: ``litert_quantizer.quantizer.Quantizer`` of a file whose tensor names differ.
        model: That file.
        scheme: Of the file.
        chosen: Scheme of each operator of the entry subgraph, ``None`` for that of the file.

    Returns:
        Places of the operators with weights that cannot have the scheme chosen for them, and stay float.
    """
    from litert_quantizer import qtyping
    from litert_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME, get_op_scope

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    if scheme in STATIC_BITS:
        treatment = _static(STATIC_BITS[scheme])
        quantizer.update_quantization_recipe(".*", everything, treatment.config, treatment.algorithm)
    scopes: dict[tuple[Any, Treatment | None], list[str]] = {}
    refused: list[int] = []
    for subgraph, graph in enumerate(model.raw.subgraphs):
        for place, (raw, item) in enumerate(zip(graph.operators or (), model.subgraphs[subgraph], strict=True)):
            operation = TFL_OP_CODE_TO_NAME.get(model.raw.operatorCodes[raw.opcodeIndex].builtinCode)
            if operation is None:
                continue  # nothing that the quantizer would touch
            own = (chosen[place] or scheme) if subgraph == model.entry else _elsewhere(scheme)
            if item.kind == "STABLEHLO_COMPOSITE":
                own = "float32"  # its body has no ranges
            if own == scheme and scheme in STATIC_BITS and item.kind not in _STATIC_EXCEPT:
                continue
            found = treatment_for(own, operation, item)
            scopes.setdefault((operation, found), []).append(get_op_scope(raw, graph.tensors))
            if found is None and subgraph == model.entry and item.weights and own not in (scheme, "float32"):
                refused.append(place)
        if subgraph != model.entry and scheme in STATIC_BITS:
            borders = ((qtyping.TFLOperationName.INPUT, graph.inputs), (qtyping.TFLOperationName.OUTPUT, graph.outputs))
            for operation, tensors in borders:
                names = [text(graph.tensors[index].name) for index in numbers(tensors)]
                scopes.setdefault((operation, None), []).append("".join(f"{name};" for name in names))
    for (operation, found), listed in scopes.items():
        pattern = rf"\A(?:{'|'.join(map(re.escape, listed))})\Z"
        if found is None:
            quantizer.update_quantization_recipe(pattern, operation, algorithm_key="no_quantize")
        else:
            quantizer.update_quantization_recipe(pattern, operation, found.config, found.algorithm)
    return refused


def treatment_for(scheme: str, operation: Any, item: Operator) -> Treatment | None:
    """What a scheme does to an operator; ``None`` where it stays float."""
    if scheme == "float32" or (scheme in STATIC_BITS and item.kind in _NEVER_STATIC):
        return None
    if scheme in STATIC_BITS and item.kind == "EMBEDDING_LOOKUP":
        candidate = _weights(8, item, integer=True)  # a table that is looked up: no arithmetic to quantize
    elif scheme in STATIC_BITS:
        candidate = _static(STATIC_BITS[scheme])
    elif not item.weights or (scheme == "int4-weights" and item.kind not in FOUR_BITS):
        return None
    elif scheme == "float16":
        candidate = _float16()
    elif scheme == "int4-weights":
        # The kernel that looks up four bits misreads rows of odd length (seen with ai-edge-litert 2.3: 3 dB).
        odd = item.kind == "EMBEDDING_LOOKUP" and _row_length(item) % 2 == 1
        candidate = _weights(4, item, integer=not odd)
    else:
        candidate = _weights(8, item, integer=scheme == "int8-dynamic")
    return candidate if _is_supported(candidate, operation) else None


def _elsewhere(scheme: str) -> str:
    """What operators in the bodies of loops get: they have no ranges."""
    return "float32" if scheme in STATIC_BITS else scheme


def _is_supported(treatment: Treatment, operation: Any) -> bool:
    from litert_quantizer import algorithm_manager

    try:
        algorithm_manager.check_op_quantization_config(treatment.algorithm, operation, treatment.config)
    except ValueError:
        return False
    return True


def _static(bits: int) -> Treatment:
    """Integers throughout: 16-bit activations are symmetric, as the kernels want it."""
    from litert_quantizer import qtyping

    config = qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=bits == 16),
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )
    return Treatment("min_max_uniform_quantize", config)


def _weights(bits: int, item: Operator, *, integer: bool) -> Treatment:
    """Integer weights; the runtime quantizes activations as they come in (``integer``) or dequantizes the weights."""
    from litert_quantizer import qtyping

    granularity = qtyping.QuantGranularity.CHANNELWISE
    if bits == 4 and takes_blocks(item):
        granularity = qtyping.QuantGranularity.BLOCKWISE_32
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=True, granularity=granularity),
        compute_precision=qtyping.ComputePrecision.INTEGER if integer else qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=not integer,
    )
    # With few steps, cutting off extremes pays: OCTAV (Sakr et al. 2022) gave 27.9 dB for 25.4 on the digits example.
    return Treatment("OCTAV" if bits == 4 else "min_max_uniform_quantize", config)


def takes_blocks(item: Operator) -> bool:
    """Whether rows of weights can be cut into blocks."""
    return _row_length(item) % BLOCK == 0


def _row_length(item: Operator) -> int:
    """Length of a row of weights."""
    return max(item.weights, key=lambda tensor: tensor.elements).shape[-1]


def _float16() -> Treatment:
    from litert_quantizer import qtyping

    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    return Treatment("float_casting", config)

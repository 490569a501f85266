"""Quantize a program for ExecuTorch with PT2E, then lower it.

The one target whose runtime has no quantizer of its own format: the program is quantized before it is lowered.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

from converters.executorch.lower import write
from converters.graph import PTE, TORCH_EXPORT, StepResult
from converters.torch_export import operators
from converters.torch_export import program as programs
from edgekit import feeds
from edgekit.errors import ConversionError, UnsupportedError
from edgekit.feeds import Feeds
from edgekit.plugins import Step

_QUANTIZE = ("quantize_per_tensor", "quantize_per_channel", "choose_qparams", "quantize_affine")
# Operators that compute on activations. The others move, cut or clip values, or are fused into the one before (relu).
_COMPUTING = frozenset(
    "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d linear matmul bmm mm addmm add"
    " sub mul div avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d mean sum softmax log_softmax"
    " sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu prelu elu celu selu mish softplus layer_norm group_norm"
    " instance_norm rms_norm exp log pow sqrt rsqrt reciprocal erf sin cos upsample_bilinear2d upsample_nearest2d"
    " scaled_dot_product_attention embedding lstm gru einsum cumsum".split()
)


def quantize(
    source: str, output: str, scheme: str, signature: dict[str, object], calibration: str | None
) -> StepResult:
    """Quantize a program and write a ``.pte``; inputs and outputs stay float.

    Raises:
        UnsupportedError: XNNPACK's quantizer found nothing to quantize.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    exported = programs.load(source)
    dynamic = scheme == "int8-dynamic"
    prepared = prepare_pt2e(exported.module(check_guards=False), _quantizer(dynamic))
    if dynamic:
        prepared(*programs.example_inputs(exported))
    elif calibration is None:
        raise ConversionError("int8 needs calibration data.", hint="--data FILE")
    else:
        _calibrate(prepared, feeds.read(Path(calibration)))
    converted = convert_pt2e(prepared)
    stayed = _stayed_float(converted)
    if not any(_is_quantize(node) for node in converted.graph.nodes):
        raise UnsupportedError(
            f"{scheme} on ExecuTorch quantizes {'Linear' if dynamic else 'convolutions, Linear, add, mul and cat'}, "
            "and this model has none.",
            hint="--int8 with --data FILE quantizes more." if dynamic else "--fp16 halves the file.",
        )
    result = write(programs.export(converted, programs.example_inputs(exported)), output, signature)
    result["stayed_float"] = stayed
    return result


def _quantizer(dynamic: bool) -> Any:
    """XNNPACK's quantizer: per-channel symmetric weights; activations by true minimum and maximum, or at run time.

    Its own static default estimates ranges from a histogram, and holds every scale above 2**-12, which flattens
    channels with small weights.
    """
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    default = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    epsilon = torch.finfo(torch.float32).eps
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=epsilon),
    )
    activations = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=epsilon),
    )
    inputs = default.input_activation if dynamic else activations
    outputs = default.output_activation if dynamic else activations
    config = type(default)(inputs, outputs, weights, default.bias, default.is_qat)
    if dynamic:
        # Its dynamic convolutions fail at run time (error 0x1 on a trained CIFAR network, executorch 1.5.1).
        return quantizer.set_operator_type(torch.ops.aten.linear.default, config)
    return quantizer.set_global(config)


def _calibrate(prepared: Any, data: Feeds) -> None:
    """Run every sample; the observers keep the widest range."""
    import torch

    with torch.no_grad():
        for sample in data.samples():
            prepared(*(torch.from_numpy(array.copy()) for array in sample.values()))


def _stayed_float(module: Any) -> list[dict[str, str]]:
    """Computing operators none of whose inputs is quantized."""
    return [
        {"operator": str(node.target), "name": operators.module_path(node)}
        for node in module.graph.nodes
        if node.op == "call_function" and _computes(str(node.target)) and not _has_quantized_input(node)
    ]


def _computes(target: str) -> bool:
    return target.startswith("aten.") and target.split(".")[1].rstrip("_") in _COMPUTING


def _has_quantized_input(node: Any) -> bool:
    return any("dequantize" in str(source.target) for source in node.all_input_nodes)


def _is_quantize(node: Any) -> bool:
    return any(part in str(node.target) for part in _QUANTIZE)


STEPS = (
    Step(
        name="PT2E quantize -> ExecuTorch",
        source=TORCH_EXPORT,
        target=PTE,
        schemes=(("float32", "int8"), ("float32", "int8-dynamic")),
        entry="converters.executorch.quantize:quantize",
        preload=("torch", "executorch.exir"),
        packages=("executorch", "torchao"),
        extra="executorch",
    ),
)

"""PT2E quantization for XNNPACK: which operators, in what, with which ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.layers import MOVES, Layer
from converters.torch_export import operators
from converters.torch_export.layers import constant_nodes, kind_of
from edgekit.errors import ConversionError

Range = tuple[float, float]

INT8, DYNAMIC, FLOAT = "int8", "int8-dynamic", "float32"
LEAST, MOST = -128, 127
_CLIPS = ("relu", "clamp")
_THROUGH = (MOVES | {"max_pool", *_CLIPS}) - {"concat", "stack", "resize"}
_AVERAGES = ("mean", "avg_pool")
_PASSING = MOVES | {"max_pool", *_CLIPS}
_FUSED = ("add", "sub", "mul", "elu", "mean", "adaptive_avg_pool2d")
_WEIGHTED = ("conv", "depthwise_conv", "conv_transpose", "linear")


def schemes_of(layers: Sequence[Layer], chosen: Sequence[str | None], scheme: str) -> dict[str, str]:
    """What each operator is to be computed in.

    A clip goes with what is before it, which it is fused into. Layers that multiply two computed tensors stay float:
    XNNPACK takes stored weights alone in 8 bits.

    Args:
        layers: Of the program.
        chosen: The scheme that a rule gives each, or ``None``.
        scheme: Of the file.

    Returns:
        By name of the node.
    """
    found: list[str] = []
    for layer, own in zip(layers, chosen, strict=True):
        if layer.kind in _CLIPS and layer.inputs:
            found.append(found[layer.inputs[0]])
        elif layer.kind in _WEIGHTED and not layer.weighted:
            found.append(FLOAT)
        else:
            found.append(own or scheme)
    return {layer.name: given for layer, given in zip(layers, found, strict=True)}


def quantized_names(module: Any) -> set[str]:
    """Names of the operators of a prepared module that are computed on integers."""
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    found = set()
    for node in module.graph.nodes:
        annotation = node.meta.get(Q_ANNOTATION_KEY)
        if annotation is not None and (annotation.input_qspec_map or annotation.output_qspec):
            found.add(node.name)
    return found


def fused_names(module: Any) -> set[str]:
    """Names of the operators of a converted module that XNNPACK computes on integers because of their neighbours.

    It takes a float operator between conversions for an integer one, whatever the quantizer left float.
    """
    return {
        node.name
        for node in module.graph.nodes
        if node.op == "call_function"
        and operators.is_aten(node)
        and str(node.target).split(".")[1] in _FUSED
        and all("dequantize_per_tensor.default" in str(source.target) for source in node.all_input_nodes)
        and all("quantize_per_tensor.default" in str(user.target) for user in node.users)
    }


def prepared(module: Any, schemes: Mapping[str, str]) -> Any:
    """Insert observers where XNNPACK computes on integers.

    Args:
        module: ``torch.fx.GraphModule``; is changed.
        schemes: ``int8``, ``int8-dynamic`` or ``float32`` of each operator, by name of its node.
    """
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    give_each_layer_its_own(module)
    return prepare_pt2e(module, _quantizer(schemes))


def set_ranges(module: Any, ranges: Mapping[str, Range]) -> None:
    """Give the observers of activations their ranges; those of weights keep what they saw.

    An observer that several tensors share, as around a concatenation, gets the union of their ranges.

    Args:
        module: A prepared one that was run once.
        ranges: Of each tensor by name of its node, zero included.

    Raises:
        ConversionError: A tensor has no range.
    """
    import torch
    from torchao.quantization.pt2e import MinMaxObserver

    observers = dict(module.named_modules(remove_duplicate=False))
    constants = constant_nodes(module.graph)
    observed: dict[Any, list[Any]] = {}
    for node in module.graph.nodes:
        if node.op == "call_module" and type(observers[str(node.target)]) is MinMaxObserver:
            observed.setdefault(observers[str(node.target)], []).append(_tensor(node))
    groups = _tied({observer: nodes for observer, nodes in observed.items() if not constants.issuperset(nodes)})
    found = [
        (members, [_stored(module, node) if node.op == "get_attr" else _range(node, ranges) for node in nodes], nodes)
        for members, nodes in groups
    ]
    missing = [node.name for _, given, nodes in found for node, item in zip(nodes, given, strict=True) if item is None]
    if missing:
        raise no_range(missing)
    for members, given, _ in found:
        known = [item for item in given if item is not None]
        for observer in members:
            observer.min_val = torch.tensor(min(low for low, _ in known))
            observer.max_val = torch.tensor(max(high for _, high in known))


def _tied(observed: dict[Any, list[Any]]) -> list[tuple[list[Any], list[Any]]]:
    """Observers that must agree, and the tensors they look at.

    XNNPACK moves integers through pooling, padding and the like without a change of scale, whether or not the
    quantizer calls for it, and fails at run time (error 0x1) where the two sides differ.
    """
    groups: list[tuple[list[Any], list[Any]]] = []
    for observer, nodes in observed.items():
        members, tensors = [observer], list(nodes)
        reach = {origin for node in nodes for origin in _origins(node)}
        for group in list(groups):
            if reach & {origin for node in group[1] for origin in _origins(node)}:
                groups.remove(group)
                members, tensors = [*group[0], *members], [*group[1], *tensors]
                reach |= {origin for node in group[1] for origin in _origins(node)}
        groups.append((members, tensors))
    return groups


def _origins(node: Any) -> set[Any]:
    """The tensors whose values a tensor holds, seen through observers and what only moves or clips values."""
    node = _tensor(node)
    if node.op != "call_function" or kind_of(node) not in _PASSING:
        return {node}
    return {origin for source in node.all_input_nodes for origin in _origins(source)}


def no_range(names: list[str]) -> ConversionError:
    """The error of tensors without a range."""
    shown = ", ".join(dict.fromkeys(names))
    return ConversionError(
        f"The calibration has no range for {shown}: it belongs to another model or another version of this one.",
        hint="Calibrate again: --data FILE",
    )


def _range(node: Any, ranges: Mapping[str, Range]) -> Range | None:
    """The range a tensor needs; of what is only clipped, pooled or moved, that of what comes out there.

    Integers saturate at the ends of their range, so the narrow one clips by itself, and wastes no steps on values
    that nobody reads: the largest of some saturated values is the saturated largest.
    """
    readers = _readers(node)
    if readers and all(reader.op == "call_function" and kind_of(reader) in _THROUGH for reader in readers):
        known = [end for end in (_range(reader, ranges) for reader in readers) if end is not None]
        if len(known) == len(readers):  # a split gives no tensor, a cast may give integers
            return min(low for low, _ in known), max(high for _, high in known)
    return ranges.get(node.name)


def _readers(node: Any) -> list[Any]:
    """What uses a tensor, seen through observers."""
    found: list[Any] = []
    for user in node.users:
        found += _readers(user) if user.op == "call_module" else [user]
    return found


def _tensor(node: Any) -> Any:
    """What an observer looks at, seen through other observers."""
    while node.op == "call_module":
        node = node.args[0]
    return node


def _stored(module: Any, node: Any) -> Range:
    value = getattr(module, str(node.target))
    return min(0.0, float(value.min())), max(0.0, float(value.max()))


def give_each_layer_its_own(module: Any) -> None:
    """Copy weights and biases that several layers share; a ``.pte`` stores equal ones once all the same.

    XNNPACK's quantizer would leave all but the first user float, and ExecuTorch stores a shared bias in the scale of
    the first user alone, which makes the others wrong.
    """
    for node in list(module.graph.nodes):
        layers = [user for user in node.users if kind_of(user) in _WEIGHTED] if node.op == "get_attr" else []
        for layer in layers[1:]:
            name = f"{node.target}_of_{layer.name}"
            module.register_buffer(name, getattr(module, str(node.target)).detach().clone())
            with module.graph.inserting_before(layer):
                own = module.graph.get_attr(name)
            own.meta = dict(node.meta)
            layer.replace_input_with(node, own)
    module.recompile()


def _quantizer(schemes: Mapping[str, str]) -> Any:
    """XNNPACK's quantizer: per-channel symmetric weights; activations by given ranges, or at run time.

    Its own static default estimates ranges from a histogram, and holds every scale above 2**-12, which flattens
    channels with small weights.
    """
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer

    def is_in(scheme: str) -> Any:
        # Patterns hold weights and biases too, which have no scheme.
        return lambda node: schemes.get(node.name, scheme) == scheme

    class Quantizer(xnnpack_quantizer.XNNPACKQuantizer):  # type: ignore[misc]
        def annotate(self, model: Any) -> Any:
            # Its dynamic convolutions fail at run time (error 0x1 on a trained CIFAR network, executorch 1.5.1).
            linear = torch.ops.aten.linear.default
            self._annotate_all_patterns(model, _config(dynamic=True), is_in(DYNAMIC), linear)
            self._annotate_all_patterns(model, _config(dynamic=False), is_in(INT8))
            _respect(model, schemes)
            _spread(model, schemes)
            return model

    return Quantizer()


def _respect(model: Any, schemes: Mapping[str, str]) -> None:
    """Take back what was annotated against the schemes: the annotator of concatenations asks no filter."""
    import torch
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    for node in model.graph.nodes:
        own = schemes.get(node.name, INT8)
        if own == FLOAT or (own == DYNAMIC and node.target is not torch.ops.aten.linear.default):
            node.meta.pop(Q_ANNOTATION_KEY, None)


def _spread(model: Any, schemes: Mapping[str, str]) -> None:
    """Let what follows an integer operator be one too, where XNNPACK can: pooling, clips, moves of data.

    ExecuTorch's own pass does so whatever is to stay float, and gives averages the scale of what they average, which
    is several times too coarse.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer_utils import _is_share_obs_or_fq_op
    from torchao.quantization.pt2e.quantizer import SharedQuantizationSpec
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY, QuantizationAnnotation

    for node in model.graph.nodes:
        if node.op != "call_function" or not _is_share_obs_or_fq_op(node.target):
            continue
        averages = kind_of(node) in _AVERAGES
        if averages:
            node.meta.pop(Q_ANNOTATION_KEY, None)
        before = node.args[0].meta.get(Q_ANNOTATION_KEY)
        given = before is not None and before.output_qspec
        if not given or Q_ANNOTATION_KEY in node.meta or schemes.get(node.name, INT8) != INT8:
            continue
        shared = SharedQuantizationSpec(node.args[0])
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map={node.args[0]: shared},
            output_qspec=_config(dynamic=False).output_activation if averages else shared,
            _annotated=True,
        )


def _config(dynamic: bool) -> Any:
    import torch
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

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
        quant_min=LEAST,
        quant_max=MOST,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=epsilon),
    )
    inputs = default.input_activation if dynamic else activations
    outputs = default.output_activation if dynamic else activations
    return type(default)(inputs, outputs, weights, default.bias, default.is_qat)

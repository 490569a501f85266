"""ONNX's own node tests through edgekit's importer: which of them count, and how one is run.

Shared by ``benchmarks/onnx_node_tests.py`` and ``tests/converters/onnx_import/test_conformance.py``.

A test counts where it is inference without losses, strings, sequences and optionals, and ONNX Runtime's CPU provider
passes it. What it is about is read from its model. Operands that a real export holds as constants (shapes, axes,
numbers of elements) are inputs in these tests; where the importer must know them they are made constants. A test passes
where every output is as the test has it, within the test's own tolerance.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx.backend.test.loader import load_model_tests

from converters.onnx_import.convert import exported, plan_of
from converters.onnx_import.module import Imported
from converters.onnx_import.operators import registry
from converters.onnx_import.tensors import from_array
from edgekit.errors import EdgekitError

_LOSSES = ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
_EXPANDED_LOSSES = ("test_nllloss_", "test_sce_")
"""Bodies of losses hold other operators, and only the name tells."""
_SIZES = ("range", "window", "constantofshape", "melweight", "loop")
_EXOTIC = ("BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1",
           "INT4", "UINT4", "INT2", "UINT2", "FLOAT6E2M3", "FLOAT6E3M2")  # fmt: skip


@dataclass
class Outcome:
    """One test.

    Attributes:
        name: Of the test.
        operator: That it tests; ``expanded`` where it is the body of a function.
        exotic: Whether it uses 8-bit floats, bfloat16 or integers under a byte.
        fixed: Inputs that were made constants.
        eager, export: ``passed``, or what went wrong; ``-`` where it was not tried.
    """

    name: str
    operator: str
    exotic: bool
    fixed: list[str]
    eager: str
    export: str

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        return self.eager == "passed" and self.export in ("passed", "-")


@functools.cache
def all_tests() -> tuple[Any, ...]:
    """ONNX's node tests, the same in every run: some draw their data from NumPy's own generator."""
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(load_model_tests(kind="node"))


def operator_of(test: Any) -> str:
    """The operator a test is about."""
    nodes = test.model.graph.node
    return str(nodes[0].op_type) if len(nodes) == 1 else "expanded"


def counts(test: Any) -> bool:
    """Whether a test is inference without losses, strings, sequences and optionals."""
    nodes = test.model.graph.node
    if test.name.startswith(_EXPANDED_LOSSES) or any(node.op_type in _LOSSES for node in nodes):
        return False
    values = [*test.model.graph.input, *test.model.graph.output]
    kinds = [item.type.tensor_type.elem_type for item in values if item.type.HasField("tensor_type")]
    if len(kinds) < len(values) or onnx.TensorProto.STRING in kinds:
        return False
    return not any(_trains(node) for node in nodes)


def _trains(node: Any) -> bool:
    """Whether it is an optimizer, normalizes by the batch, or is told at run time whether it drops out."""
    modes = {item.name: item.i for item in node.attribute}
    dropout = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]
    return "training" in node.domain or bool(modes.get("training_mode")) or bool(dropout)


def passes_in_runtime(test: Any) -> bool:
    """Whether ONNX Runtime's CPU provider passes it."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            test.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for inputs, outputs in test.data_sets:
            names = [item.name for item in test.model.graph.input]
            feeds = dict(zip(names, inputs, strict=False))
            if uses_exotic(test):
                # NumPy has no such types: that the runtime loads the model is what can be asked for.
                continue
            found = session.run(None, {name: _array(item) for name, item in feeds.items()})
            if not all(agree(a, _array(b), test) for a, b in zip(found, outputs, strict=True)):
                return False
    except Exception:  # any refusal of the runtime's
        return False
    return True


def _array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def agree(found: Any, wanted: Any, test: Any) -> bool:
    """Whether an output is as it should be."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if found.dtype.kind in "fcV" or found.dtype.name.startswith(("bfloat", "float")):
        wide = "complex128" if found.dtype.kind == "c" else "float64"
        return bool(np.allclose(found.astype(wide), wanted.astype(wide), test.rtol, test.atol, equal_nan=True))
    return bool(np.array_equal(found, wanted)) or (
        found.dtype.kind in "iu" and bool(np.allclose(found.astype(float), wanted.astype(float), test.rtol, test.atol))
    )


def uses_exotic(test: Any) -> bool:
    """Whether it has 8-bit floats, bfloat16 or integers under a byte."""
    values = [*test.model.graph.input, *test.model.graph.output]
    codes = {item.type.tensor_type.elem_type for item in values}
    codes |= {
        item.i for node in test.model.graph.node for item in node.attribute if item.name in ("to", "output_dtype")
    }
    return bool({onnx.TensorProto.DataType.Name(code) for code in codes} & set(_EXOTIC))


def run(test: Any, export: bool) -> Outcome:
    """Import a test and run it; where a refusal speaks of constants, with such inputs as constants."""
    exotic = uses_exotic(test)
    first: Outcome | None = None
    for fixed in _choices(test):
        outcome = _attempt(test, fixed, export)
        made = Outcome(test.name, operator_of(test), exotic, fixed, *outcome)
        first = first or made
        if made.eager == "passed" and (made.export == "passed" or not export):
            return made
        if "constant" not in made.eager and "depends on data" not in made.eager and "data" not in made.eager:
            return made
    if first is None:
        raise RuntimeError(f"{test.name}: nothing was tried")
    return first


def _choices(test: Any) -> list[list[str]]:
    """Sets of inputs to make constants, the smallest first: none; what the operator declares; whole numbers.

    The first input is left as it is, unless it is a size or limit itself: the operators of ``_SIZES``.
    """
    inputs = list(test.model.graph.input)
    nodes = test.model.graph.node
    found: list[list[str]] = [[]]
    names = [item.name for item in inputs]
    if len(nodes) == 1:
        operator = registry().get((nodes[0].domain, nodes[0].op_type))
        static = operator.static if operator else ()
        found.append([name for place, name in enumerate(nodes[0].input) if place in static and name in names])
    kinds = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
    integers = [item.name for item in inputs if item.type.tensor_type.elem_type in kinds]
    of_sizes = any(word in test.name for word in _SIZES)
    found.append([name for name in integers if of_sizes or name != names[0]])
    found.append(names if of_sizes else [])
    return [choice for place, choice in enumerate(found) if not place or (choice and choice not in found[:place])]


def _attempt(test: Any, fixed: list[str], export: bool) -> tuple[str, str]:
    names = [item.name for item in test.model.graph.input]
    results = []
    for inputs, outputs in test.data_sets:
        arrays = dict(zip(names, map(_array, inputs), strict=False))
        try:
            found = compute(test, arrays, fixed, export)
        except EdgekitError as error:
            return f"{type(error).__name__}: {error.message}", "-"
        except Exception as error:  # a bug of the importer's: shown as it is
            return f"{type(error).__name__}: {error}"[:300], "-"
        wanted = [_array(item) for item in outputs]
        for values in found:
            if isinstance(values, str):
                results.append(values)
                continue
            same = all(agree(a, b, test) for a, b in zip(values, wanted, strict=True))
            results.append("passed" if same else _difference(values, wanted))
    eager, exports = results[::2], results[1::2]
    return (next((item for item in eager if item != "passed"), "passed"),
            next((item for item in exports if item != "passed"), "passed"))  # fmt: skip


def _difference(found: list[Any], wanted: list[Any]) -> str:
    for a, b in zip(found, wanted, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"is {a.dtype}{a.shape}, should be {b.dtype}{b.shape}"
    worst = [np.abs(a.astype(float) - b.astype(float)).max() if a.size else 0 for a, b in
             zip(found, wanted, strict=True)]  # fmt: skip
    return f"differs by {max(worst):.3g}"


def compute(test: Any, arrays: dict[str, Any], fixed: list[str], export: bool) -> list[Any]:
    """Outputs, eagerly and of the exported program, or what went wrong with that."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    left = [item for item in model.graph.input if item.name not in fixed]
    del model.graph.input[:]
    model.graph.input.extend(left)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(arrays[name], name) for name in fixed)
    sizes = {item.name: arrays[item.name].shape for item in left if item.name in arrays}
    plan = plan_of(model, sizes, [item.name for item in model.graph.output])
    tensors = [from_array(arrays[name]) for name in sizes]
    with torch.no_grad():
        eager = [_numpy(item) for item in Imported(plan).eval()(*tensors)]
        if not export:
            return [eager, "-"]
        try:
            program = exported(plan)
            again = [_numpy(item) for item in program.module()(*tensors)]
        except Exception as error:  # whatever the tracer met
            return [eager, f"{type(error).__name__}: {error}"[:300]]
    return [eager, again]


def _numpy(tensor: Any) -> Any:
    import ml_dtypes

    name = str(tensor.dtype).removeprefix("torch.")
    if hasattr(np, name) and name != "bool":
        return tensor.detach().numpy()
    if name == "bool":
        return tensor.numpy()
    bits = torch.int16 if name == "bfloat16" else torch.uint8
    return tensor.contiguous().view(bits).numpy().view(getattr(ml_dtypes, name))

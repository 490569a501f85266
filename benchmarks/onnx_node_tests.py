"""ONNX's own node tests through edgekit's importer: eagerly, and through torch.export.

    OMP_NUM_THREADS=1 python benchmarks/onnx_node_tests.py [--only PATTERN]... [--no-export] [--json FILE] [--failures]

Counted are the tests of inference without losses, strings, sequences and optionals that ONNX Runtime's CPU provider
passes (``--all`` counts what it does not pass as well). Operands that a real export holds as constants (shapes, axes,
numbers of elements) are inputs in these tests; where the importer must know them they are made constants, and the table
says how often. A test passes where every output is as the test has it, within the test's own tolerance.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
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

_OUT = ("Momentum", "Adagrad", "Adam", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "ImageDecoder",
        "StringSplit", "StringNormalizer", "StringConcat", "RegexFullMatch", "TfIdfVectorizer",
        "LabelEncoder")  # fmt: skip
_SIZES = ("range", "window", "constantofshape", "melweight", "loop")
_OUT_NAMES = ("training", "sequence", "optional", "string", "_sce_", "_nllloss_", "bernoulli", "_seq")
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
        eager, export: ``passed``, or what went wrong.
    """

    name: str
    operator: str
    exotic: bool
    fixed: list[str]
    eager: str
    export: str


def main() -> int:
    """Run the tests that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="names or operators, with * and ?")
    parser.add_argument("--no-export", action="store_true")
    parser.add_argument("--all", action="store_true", help="also what ONNX Runtime does not pass")
    parser.add_argument("--failures", action="store_true", help="list them")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started = time.monotonic()
    outcomes = []
    for test in all_tests():
        if _is_counted(test, given.only) and (given.all or passes_in_runtime(test)):
            outcomes.append(run(test, not given.no_export))
    report(outcomes, given.failures)
    print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        given.json.write_text(json.dumps([asdict(item) for item in outcomes], indent=1))
    return 0


def all_tests() -> list[Any]:
    """ONNX's node tests, the same in every run: some draw their data from NumPy's own generator."""
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(load_model_tests(kind="node"))


def operator_of(test: Any) -> str:
    """The operator a test is about."""
    nodes = test.model.graph.node
    return nodes[0].op_type if len(nodes) == 1 else "expanded"


def _is_counted(test: Any, only: list[str]) -> bool:
    if only and not any(fnmatchcase(word, item) for item in only for word in (test.name, operator_of(test))):
        return False
    if any(node.op_type in _OUT for node in test.model.graph.node) or any(word in test.name for word in _OUT_NAMES):
        return False
    values = [*test.model.graph.input, *test.model.graph.output]
    kinds = [item.type.tensor_type.elem_type for item in values if item.type.HasField("tensor_type")]
    return len(kinds) == len(values) and onnx.TensorProto.STRING not in kinds


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


def report(outcomes: list[Outcome], failures: bool) -> None:
    """Print the table."""
    rows: dict[str, list[Outcome]] = collections.defaultdict(list)
    for item in outcomes:
        rows[item.operator].append(item)
    print(f"{'operator':26} {'tests':>6} {'eager':>6} {'export':>6} {'fixed':>6}")
    for name in sorted(rows):
        _line(name, rows[name])
    print()
    _line("without exotic types", [item for item in outcomes if not item.exotic])
    _line("all", outcomes)
    if failures:
        print()
        for item in outcomes:
            if item.eager != "passed":
                print(f"{item.name}: {item.eager}")
            elif item.export not in ("passed", "-"):
                print(f"{item.name}: export: {item.export}")


def _line(name: str, items: list[Outcome]) -> None:
    eager = sum(item.eager == "passed" for item in items)
    export = sum(item.export == "passed" for item in items)
    share = f"{100 * eager / len(items):6.1f} % {100 * export / len(items):6.1f} %" if items else ""
    fixed = sum(bool(item.fixed) for item in items)
    print(f"{name:26} {len(items):6} {eager:6} {export:6} {fixed:6}  {share}")


if __name__ == "__main__":
    sys.exit(main())

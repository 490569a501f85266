"""Real files with one regression each, for ``gate.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_SLOWER = 1.10
_CLOSE = 0.01
_TRIALS = 6
_LEAST_SHARE = 0.01
_SINES = "gate_sines"


def pad(source: Path, target: Path, share: float) -> None:
    """An ONNX file with so much more in its metadata."""
    import onnx

    model = onnx.load(str(source))
    entry = model.metadata_props.add()
    entry.key, entry.value = "padding", "x" * round(share * source.stat().st_size)
    onnx.save(model, str(target))


def shift_bias(source: Path, target: Path, inputs: Any, labels: Any, drop: float) -> float:
    """An ONNX classifier whose last bias favours one class, by as much as costs it so much of its top-1.

    Returns:
        By how much top-1 fell.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    last = model.graph.node[-1]
    bias = next(one for one in model.graph.initializer if one.name == last.input[1])
    scores = _outputs(source, inputs)
    before = float((scores.argmax(1) == labels).mean())
    best = (1.0, 0.0, 0)
    for place in range(scores.shape[1]):
        for shift in np.linspace(0.02, 12, 600) * scores.std():
            moved = scores.copy()
            moved[:, place] += shift
            fell = before - float((moved.argmax(1) == labels).mean())
            best = min(best, (abs(fell - drop), float(shift), place))
            if fell > 2 * drop:
                break
    _, shift, place = best
    values = numpy_helper.to_array(bias).copy()
    values.reshape(-1)[place] += shift
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, str(target))
    return before - float((_outputs(target, inputs).argmax(1) == labels).mean())


def slow_down(source: Path, target: Path, ratio: Callable[[Path, Path], float]) -> float:
    """An ONNX file with as many sines beside its work as take a tenth of its time, and change nothing.

    Args:
        source: The file.
        target: Where the other is written.
        ratio: Measures how much longer the first of two files takes.

    Returns:
        The ratio of times.
    """
    count, known = 2000, 0.0
    for _ in range(_TRIALS):
        _with_sines(source, target, count)
        known = ratio(target, source)
        if abs(known - _SLOWER) < _CLOSE:
            return known
        count = max(16, round(count * (_SLOWER - 1) / max(known - 1, _LEAST_SHARE)))
    raise SystemExit(f"no file that takes {_SLOWER} times as long after {_TRIALS} trials, the last took {known:.3f}")


def undelegate(source: Path, target: Path) -> None:
    """A TFLite file in which one convolution has a filter that is computed, which XNNPACK does not take."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.read_bytes())
    graph = model.subgraphs[0]
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
    convolutions = [
        number for number, one in enumerate(graph.operators) if codes[one.opcodeIndex] == schema.BuiltinOperator.CONV_2D
    ]
    place = convolutions[1]
    convolution = graph.operators[place]
    filters = graph.tensors[convolution.inputs[1]]
    zero = _tensor(schema, b"gate_zero", [1], _buffer(model, schema, np.zeros(1, np.float32)))
    computed = _tensor(schema, b"gate_filter", list(filters.shape), 0)
    graph.tensors += [zero, computed]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    model.operatorCodes.append(code)
    add = schema.OperatorT()
    add.opcodeIndex = len(model.operatorCodes) - 1
    add.inputs = [convolution.inputs[1], len(graph.tensors) - 2]
    add.outputs = [len(graph.tensors) - 1]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    convolution.inputs = [convolution.inputs[0], len(graph.tensors) - 1, *convolution.inputs[2:]]
    graph.operators.insert(place, add)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))


def _tensor(schema: Any, name: bytes, shape: list[int], buffer: int) -> Any:
    found = schema.TensorT()
    found.name, found.shape, found.buffer = name, shape, buffer
    found.type = schema.TensorType.FLOAT32
    return found


def _buffer(model: Any, schema: Any, values: Any) -> int:
    one = schema.BufferT()
    one.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(one)
    return len(model.buffers) - 1


def _with_sines(source: Path, target: Path, count: int) -> None:
    """The last output plus 0 times the sum of sines of numbers that hang on the input."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    name, output = graph.input[0].name, graph.output[0].name
    last = next(one for one in graph.node if output in one.output)
    last.output[list(last.output).index(output)] = f"{_SINES}_before"
    graph.initializer.append(numpy_helper.from_array(np.linspace(0, 1, count, dtype=np.float32), f"{_SINES}_numbers"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), f"{_SINES}_zero"))
    steps = [("ReduceMean", [name], {"keepdims": 0}), ("Add", ["", "numbers"], {}), ("Sin", [""], {})]
    steps += [("ReduceMean", [""], {"keepdims": 0}), ("Mul", ["", "zero"], {})]
    made = name
    for number, (kind, inputs, attributes) in enumerate(steps):
        given = [made if one in ("", name) else f"{_SINES}_{one}" for one in inputs]
        made = f"{_SINES}_{number}"
        graph.node.append(helper.make_node(kind, given, [made], **attributes))
    graph.node.append(helper.make_node("Add", [f"{_SINES}_before", made], [output]))
    onnx.save(model, str(target))


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _outputs(path: Path, inputs: Any) -> Any:
    session = _session(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])

"""A model for given input shapes as a list of steps: what constants and shapes decide is computed here and gone.

Every tensor is either a constant or has a shape that is known; there is no third kind. So Shape is a constant, and
with it all that is computed from it: the operands of Reshape, Slice and Resize, conditions and trip counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.onnx.loading import listed
from converters.onnx_import import functions
from converters.onnx_import.graph import Function, Graph, Model, Node, Untyped, qualified, read_nodes
from converters.onnx_import.operators import Operator, RefusalError, registry
from converters.onnx_import.tensors import to_array
from edgekit.errors import ConversionError, EdgekitError, UnsupportedError, first_line

_MOST_STEPS = 200_000
"""Where a loop that unrolls without end is stopped."""


@dataclass(eq=False)
class Value:
    """A tensor of a model.

    Attributes:
        tensor: The content where it is constant, else a fake tensor of its shape and dtype.
        constant: Which of the two.
        sequence: Its elements, where the value is an ONNX sequence; ``tensor`` is ``None`` then.
        name: In the file.
        positive: Whether no element is below zero, as behind a Relu.
        rule: How it follows the sizes that stay open (:class:`converters.onnx_import.moving.Rule`), where it would be a
            constant without these.
    """

    tensor: Any
    constant: bool
    name: str = ""
    sequence: list[Value] | None = None
    positive: bool = False
    rule: Any = None


@dataclass(eq=False)
class Step:
    """One call in the imported program.

    Attributes:
        operator: What to call.
        node: Its attributes.
        operands: ``None`` for absent ones.
        outputs: In order; ``None`` where nobody wants it.
        path: Module path.
    """

    operator: Operator
    node: Node
    operands: list[Value | None]
    outputs: list[Value | None]
    path: str


@dataclass(eq=False)
class Plan:
    """A model as steps.

    Attributes:
        inputs, outputs: In the order asked for.
        steps: In order; each is needed for an output.
    """

    inputs: list[Value]
    outputs: list[Value]
    steps: list[Step]


IN_ITS_BODY = "something in its body was refused"
ABSENT = Value(None, True)
"""What a function finds under the name of an optional input that its caller left out."""

Scope = dict[str, Value | None]
"""Values by name; ``None`` for what could not be computed."""


def specialize(model: Model, inputs: Mapping[str, tuple[Any, Sequence[int]]], outputs: Sequence[str]) -> Plan:
    """Turn a model into steps.

    Args:
        model: The file.
        inputs: ``torch.dtype`` and shape of every input, by name.
        outputs: Names of the tensors to return.

    Raises:
        UnsupportedError: Operators that are not known, or that need what only data can tell; all of them.
        ConversionError: A node that its own operands contradict.
    """
    import torch

    refuse_unknown(model)
    with torch.no_grad():
        return _Specializer(model).run(inputs, outputs)


def refuse_unknown(model: Model) -> None:
    """Refuse a file with operators that are not known, before any work.

    Raises:
        UnsupportedError: Lists each of them once, with its opset, count and nodes.
    """
    places: dict[str, list[str]] = {}
    inside: dict[str, list[str]] = {}  # of branches, which may turn out to be never taken
    todo: list[tuple[Sequence[Node], dict[str, list[str]]]] = [(model.graph.nodes, places)]
    seen: set[tuple[str, str]] = set()
    while todo:
        nodes, found = todo.pop()
        for node in nodes:
            key = (node.domain, node.operator)
            values = (
                item for value in node.attributes.values() for item in (value if type(value) is list else [value])
            )
            todo += [(body.nodes, inside if node.operator == "If" else found) for body in values if type(body) is Graph]
            if key in model.functions:
                if key not in seen:
                    seen.add(key)
                    function = model.functions[key]
                    todo.append((read_nodes(function.proto.node, function.versions, node.attributes), found))
            elif key not in registry() and not functions.has_body(node):
                found.setdefault(_unknown(node), []).append(node.name)
    if places:
        for what, names in inside.items():
            places[what] = [*places.get(what, []), *names]
        raise UnsupportedError(_listed("edgekit does not import", places), hint=_HINT)


def _unknown(node: Node) -> str:
    return f"{qualified(node.domain, node.operator)} (opset {node.domain or 'ai.onnx'} {node.version})"


_HINT = "Replace these operators in the model, or keep it in ONNX: --to onnx."


def _listed(start: str, places: Mapping[str, list[str]]) -> str:
    return f"{start} {len(places)} operator{'s' if len(places) > 1 else ''} of this ONNX model: {listed(places)}."


class _Specializer:
    """Walks graphs and calls each node; see :class:`Plan`."""

    def __init__(self, model: Model) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.model = model
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.steps: list[Step] = []
        self.refused: dict[str, list[str]] = {}
        self.prefix: list[str] = []
        self.walked = 0

    def run(self, inputs: Mapping[str, tuple[Any, Sequence[int]]], outputs: Sequence[str]) -> Plan:
        with self.mode:
            given = {name: Value(_example(name, *what), False, name) for name, what in inputs.items()}
        scope: Scope = {**_constants(self.model.graph), **given}
        self.walk(self.model.graph.nodes, scope)
        if self.refused:
            raise UnsupportedError(_listed("edgekit cannot make static", self.refused), hint=_HINT)
        missing = [name for name in outputs if name not in scope]
        if missing:
            raise ConversionError(f"The model computes no tensor {missing[0]!r}.")
        results = [scope[name] for name in outputs]
        lists = [name for name, value in zip(outputs, results, strict=True) if value is None or value.tensor is None]
        if lists:
            raise UnsupportedError(f"Output {lists[0]!r} of the ONNX model is a sequence or optional, not a tensor.")
        return Plan(list(given.values()), results, _needed(self.steps, results))  # type: ignore[arg-type]

    def walk(self, nodes: Sequence[Node], scope: Scope) -> None:
        """Call nodes in order; their results join the scope."""
        for node in nodes:
            self.walked += 1
            if self.walked > _MOST_STEPS:  # also in loops that only compute constants
                raise UnsupportedError(f"The ONNX model unrolls to more than {_MOST_STEPS} operators.", hint=_HINT)
            unknown = [name for name in node.inputs if name and name not in scope]
            if unknown:
                raise ConversionError(f"Node {node} reads {unknown[0]!r}, which nothing before it makes.")
            found = [scope[name] if name else None for name in node.inputs]
            operands = [None if value is ABSENT else value for value in found]
            lost = any(scope[name] is None for name in node.inputs if name)
            results: Sequence[Value | None] = [] if lost else self.call(node, operands, scope)
            for place, name in enumerate(node.outputs):
                if name:
                    scope[name] = results[place] if place < len(results) else None

    def call(self, node: Node, operands: list[Value | None], scope: Scope) -> Sequence[Value | None]:
        """Call one node; nothing comes back where it was refused."""
        key = (node.domain, node.operator)
        try:
            if key in self.model.functions:
                return self._expand(node, self.model.functions[key], operands)
            found = registry().get(key)
            if found is None:
                if not functions.has_body(node):
                    self.refused.setdefault(_unknown(node), []).append(".".join([*self.prefix, node.name]))
                    return []
                return self._expand(node, functions.body_of(node, operands), operands)
            if found.control:
                return list(found.function(node, self, scope, *operands))
            return self.emit(found, node, operands)
        except RefusalError as refusal:
            if str(refusal) == IN_ITS_BODY:
                return []  # which is in the list already
            what = f"{qualified(*key)} ({refusal})"
            self.refused.setdefault(what, []).append(".".join([*self.prefix, node.name]))
            return []
        except EdgekitError:
            raise
        except Exception as error:  # operands that are missing or of the wrong kind, in whatever looks at them
            raise ConversionError(
                f"Node {node} does not fit its {len(operands)} operands: {type(error).__name__}: {first_line(error)}"
            ) from error

    def emit(self, operator: Operator, node: Node, operands: list[Value | None]) -> list[Value | None]:
        """Compute a node now where its operands are constants, else make a step of it."""
        for value in operands:
            if value is not None and isinstance(value.tensor, Untyped):
                raise RefusalError(value.tensor.reason.rstrip("."))
        positive = _is_positive(operator, node, operands)
        constant = operator.fold and all(value is None or value.constant for value in operands)
        if operator.rewrite is not None and not constant:
            changed = operator.rewrite(node, operands)
            if changed is not None:
                return self.emit(registry()["edgekit", changed[0]], node, changed[1])
        arguments = [argument(operator, operands, place) for place in range(len(operands))]
        results = self._run(operator, node, arguments, constant)
        outputs: list[Value | None] = []
        for place, tensor in enumerate(results):
            same = [value for value in operands if value is not None and value.tensor is tensor]
            name = node.outputs[place] if place < len(node.outputs) else ""
            outputs.append(
                same[0] if same else None if tensor is None else Value(tensor, constant, name, None, positive)
            )
        if not constant and not all(value is None or value in operands for value in outputs):
            self.steps.append(Step(operator, node, operands, outputs, ".".join([*self.prefix, node.path])))
        return outputs

    def _run(self, operator: Operator, node: Node, arguments: list[Any], constant: bool) -> list[Any]:
        import contextlib

        from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

        try:
            with contextlib.nullcontext() if constant else self.mode:
                results = operator.function(node, *arguments)
        except RefusalError:
            raise
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise RefusalError("the shape of its result depends on data") from error
        except UnsupportedError as error:
            raise RefusalError(error.message.rstrip(".")) from error
        except Exception as error:  # torch raises all kinds of them on shapes and dtypes that do not fit
            shapes = ", ".join(
                f"{str(item.dtype)[6:]}{list(item.shape)}" if hasattr(item, "dtype") else repr(item)
                for item in arguments
            )
            raise ConversionError(f"Node {node} on {shapes}: {type(error).__name__}: {first_line(error)}") from error
        return list(results) if isinstance(results, (tuple, list)) else [results]

    def _expand(self, node: Node, function: Function, operands: list[Value | None]) -> Sequence[Value | None]:
        """Walk the body of a function."""
        scope: Scope = {**dict.fromkeys(function.inputs, ABSENT), **_given(function.inputs, operands)}
        nodes = read_nodes(function.proto.node, function.versions, functions.attributes_of(node, function))
        self.prefix.append(node.path)
        self.walk(nodes, scope)
        self.prefix.pop()
        return [scope.get(name) for name in function.outputs]

    def run_body(self, graph: Graph, operands: Sequence[Value | None], scope: Scope, label: str) -> list[Value]:
        """Walk the body of a control-flow operator; it sees the names around it.

        Raises:
            RefusalError: Something inside was refused.
        """
        inner: Scope = {**scope, **_constants(graph), **dict(zip(graph.inputs, operands, strict=False))}
        before = len(self.refused)
        self.prefix.append(label)
        self.walk(graph.nodes, inner)
        self.prefix.pop()
        results = [inner.get(name) for name in graph.outputs]
        if None in results or len(self.refused) > before:
            raise RefusalError(IN_ITS_BODY)
        return results  # type: ignore[return-value]

    def constant(self, tensor: Any) -> Value:
        """A new constant."""
        return Value(tensor, True)


_POSITIVE = frozenset("Abs Exp HardSigmoid Relu Sigmoid Softmax Softplus Sqrt ReduceL1 ReduceL2".split())
_KEEPING = frozenset(
    "Add AveragePool Concat DepthToSpace Expand Flatten Gather GlobalAveragePool GlobalMaxPool MaxPool Mul"
    " PositiveMaxPool Reshape Slice SpaceToDepth Squeeze Transpose Unsqueeze".split()
)


def _is_positive(operator: Operator, node: Node, operands: Sequence[Value | None]) -> bool:
    """Whether an operator makes no negative numbers, or none of operands that have none."""
    if operator.name in _POSITIVE:
        return True
    if operator.name == "Clip":
        low = operands[1] if len(operands) > 1 else None
        lowest = node.get("min") if low is None else low.tensor.item() if low.constant else None
        return lowest is not None and bool(lowest >= 0)
    data = [item for item in operands if item is not None and not item.constant]
    constants = [item.tensor for item in operands if item is not None and item.constant]
    if operator.name in ("Add", "Mul", "Concat") and any(bool((item < 0).any()) for item in constants):
        return False
    return operator.name in _KEEPING and bool(data) and all(item.positive for item in data)


def argument(operator: Operator, operands: Sequence[Value | None], place: int) -> Any:
    """An operand as the operator's function wants it: tensor, NumPy array or number.

    Raises:
        RefusalError: It must be a constant, and is none.
    """
    value = operands[place]
    if value is None:
        return None
    if place in operator.static or (place in operator.known and value.constant):
        if not value.constant:
            raise RefusalError(f"its input {place}, {value.name!r}, must be constant")
        return to_array(value.tensor)
    if place in operator.scalars and value.constant and value.tensor.numel() == 1:
        others = [item for item in operands if item is not None and item is not value]
        if any(not item.constant and item.tensor.dim() >= value.tensor.dim() for item in others):
            return value.tensor.item()
    return value.tensor


def _example(name: str, dtype: Any, shape: Sequence[int]) -> Any:
    import torch

    try:
        return torch.empty(tuple(shape), dtype=dtype)
    except RuntimeError as error:  # negative sizes, and more bytes than a number can say
        raise ConversionError(
            f"Input {name!r} of the ONNX model cannot be {list(shape)}: {first_line(error)}"
        ) from error


def _given(names: Sequence[str], operands: Sequence[Value | None]) -> Scope:
    return {name: value for name, value in zip(names, operands, strict=False) if value is not None}


def _constants(graph: Graph) -> Scope:
    return {name: Value(tensor, True, name) for name, tensor in graph.constants.items()}


def _needed(steps: Sequence[Step], outputs: Sequence[Value]) -> list[Step]:
    wanted = set(outputs)
    kept = []
    for step in reversed(steps):
        if wanted & {value for value in step.outputs if value is not None}:
            kept.append(step)
            wanted.update(value for value in step.operands if value is not None)
    return kept[::-1]

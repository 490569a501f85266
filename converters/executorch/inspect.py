"""What is in an ExecuTorch file, its XNNPACK delegates included. Neither torch nor executorch is imported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.executorch import _kernels as kernels
from converters.executorch import _xnnpack as xnnpack
from converters.executorch._flatbuffer import Table
from converters.executorch._program import MODULES, SIGNATURE, Program, TensorValue, tensor
from converters.facts import Contents, OperatorFacts, assemble, float_ones, unchecked_reading
from converters.work import StoredTensor
from edgekit.inputs import parse
from edgekit.types import FloatOperator, Signature, TensorSpec, to_json

_FIRST_ARENA = 1  # entry 0 of the planned buffers is reserved


@dataclass
class _Findings:
    """What was met on the way through the instructions."""

    operators: list[OperatorFacts] = field(default_factory=list)
    weights: dict[str, xnnpack.Weight] = field(default_factory=dict)
    uncounted: list[str] = field(default_factory=list)
    opaque: Counter[str] = field(default_factory=Counter)
    delegates: Counter[str] = field(default_factory=Counter)
    external: set[str] = field(default_factory=set)


def inspect(path: str, inputs: Sequence[str] = ()) -> dict[str, Any]:
    """The facts of a ``.pte`` file, as JSON of :class:`converters.facts.ModelFacts`. Runs in a child.

    Args:
        path: The file.
        inputs: ``--input`` as typed. A file with open sizes holds their upper bounds alone and does not say what
            follows from others, so multiply-accumulates of other sizes are not known.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    with unchecked_reading(Path(path), "ExecuTorch", "executorch"):
        program = Program(Path(path))
        findings = _walk(program)
        forward = program.methods[0]
        signature = _signature(program, forward)
        facts = assemble(
            _contents(program, findings, inputs),
            format="ExecuTorch",
            kind=f"ExecuTorch program, schema version {program.root.integer('version')}",
            signature=signature,
            memory_planned_bytes=sum(forward.integers("non_const_buffer_sizes")[_FIRST_ARENA:]),
            metadata=_metadata(program, findings),
            notes=_notes(program, findings, _dynamic_inputs(program, forward)),
        )
    found: dict[str, Any] = to_json(facts)
    return found


def float_operators(path: Path) -> list[FloatOperator]:
    """The operators that compute in floating point, data movement and conversions left out.

    Inside XNNPACK delegates and outside; what another backend computes on is not known. A linear layer with
    8-bit weights whose input is quantized at run time counts as quantized.

    Raises:
        ConversionError: The file is truncated or damaged.
    """
    with unchecked_reading(path, "ExecuTorch", "executorch"):
        return list(float_ones(_walk(Program(path)).operators))


def _walk(program: Program) -> _Findings:
    findings = _Findings()
    for plan in program.methods:
        for value in plan.tables("values"):
            _keep_constant(tensor(value.table("val")), findings)
        for call in program.calls(plan):
            if call.delegate is None:
                findings.operators.append(kernels.operator_facts(call))
                for item in map(tensor, call.arguments):
                    _note_reader(item, call.operator, findings)
                if kernels.is_uncounted(call):
                    findings.uncounted.append(call.operator)
            else:
                _enter(program, plan, call.operator, call.delegate, findings)
        if program.branches(plan):
            findings.uncounted.append("JumpFalseCall")
    return findings


def _enter(program: Program, plan: Table, backend: str, index: int, findings: _Findings) -> None:
    """What one delegate runs."""
    content = program.delegate_content(plan, index)
    findings.delegates[backend] += 1
    name = f"delegate {index}" if len(program.methods) == 1 else f"{plan.text('name')}, delegate {index}"
    if backend != xnnpack.DELEGATE or not xnnpack.is_readable(content):
        findings.operators.append(OperatorFacts(f"delegate:{backend}", name, "none"))
        findings.uncounted.append(f"delegate:{backend}")
        findings.opaque[backend] += len(content)
        return
    graph = xnnpack.Graph(content, name)
    findings.operators += graph.operators
    for weight in graph.weights:
        findings.weights.setdefault(weight.key, weight)


def _note_reader(item: TensorValue | None, operator: str, findings: _Findings) -> None:
    """The first kernel that reads a stored tensor."""
    weight = findings.weights.get(item.constant) if item is not None and item.constant else None
    if weight is not None and not weight.operator:
        findings.weights[weight.key] = replace(weight, operator=operator)


def _keep_constant(item: TensorValue | None, findings: _Findings) -> None:
    if item is None or item.constant is None:
        return
    if item.external:
        findings.external.add(item.constant)
    elements = item.elements if item.dtype.startswith(("float", "bfloat", "int8", "uint8")) else 0
    weight = xnnpack.Weight(item.constant, item.dtype, elements, item.stored_bytes, item.sizes)
    findings.weights.setdefault(item.constant, weight)


def _contents(program: Program, findings: _Findings, inputs: Sequence[str]) -> Contents:
    forward = program.methods[0]
    dynamic = _dynamic_inputs(program, forward)
    bounds = _bounds(program, forward)
    by_dtype: Counter[str] = Counter()
    for weight in findings.weights.values():
        by_dtype[weight.dtype] += weight.stored_bytes
    for backend, size in findings.opaque.items():
        by_dtype[f"unknown ({backend})"] += size
    return Contents(
        operators=findings.operators,
        parameters=sum(weight.elements for weight in findings.weights.values()),
        weights_bytes_by_dtype=by_dtype,
        uncounted=findings.uncounted,
        assumption="at the upper bound of its dynamic sizes" if dynamic else "",
        stored=[*_stored(findings)],
        counted_shapes=bounds,
        not_counted=_other_sizes(inputs, bounds) if dynamic else "",
    )


def _stored(findings: _Findings) -> Iterator[StoredTensor]:
    for weight in findings.weights.values():
        yield StoredTensor(weight.name or weight.key, weight.dtype, weight.shape, weight.stored_bytes, weight.operator)
    for backend, size in findings.opaque.items():
        yield StoredTensor(f"content of {backend}", "unknown", (), size, f"delegate:{backend}")


def _bounds(program: Program, forward: Table) -> dict[str, tuple[int, ...]]:
    """Sizes of the inputs in the program, by name; upper bounds of those that are open."""
    names = [spec.name for spec in _signature(program, forward).inputs]
    tensors = [tensor(program.value(forward, index)) for index in forward.integers("inputs")]
    return {name: item.sizes for name, item in zip(names, tensors, strict=False) if item is not None}


def _other_sizes(inputs: Sequence[str], bounds: Mapping[str, tuple[int, ...]]) -> str:
    """Why nothing is counted for the sizes asked for; empty where they are those of the program."""
    asked = {item.name or next(iter(bounds), ""): item.shape for item in map(parse, inputs)}
    other = [name for name, shape in asked.items() if shape != bounds.get(name)]
    if not other:
        return ""
    known = ", ".join(f"{name}={','.join(map(str, shape))}" for name, shape in bounds.items())
    return f"an ExecuTorch file holds the sizes of its upper bound alone ({known}), and not of others"


def _signature(program: Program, forward: Table) -> Signature:
    """As edgekit wrote it, or of the method's own tensors, which have no names."""
    if SIGNATURE in program.constants:
        written = json.loads(program.constants[SIGNATURE])
        inputs, outputs = (tuple(_spec(item) for item in written[side]) for side in ("inputs", "outputs"))
        return Signature(inputs, outputs)

    def specs(name: str) -> tuple[TensorSpec, ...]:
        found = [tensor(program.value(forward, index)) for index in forward.integers(f"{name}s")]
        known = [item for item in found if item is not None]
        return tuple(TensorSpec(f"{name}_{place}", item.sizes, item.dtype) for place, item in enumerate(known))

    return Signature(specs("input"), specs("output"))


def _spec(item: dict[str, Any]) -> TensorSpec:
    # Files of edgekit 0.1 say nothing of scales.
    return TensorSpec(item["name"], tuple(item["shape"]), item["dtype"], item.get("scale"), item.get("zero_point"))


def _dynamic_inputs(program: Program, forward: Table) -> list[str]:
    tensors = [tensor(program.value(forward, index)) for index in forward.integers("inputs")]
    return [f"input_{place}" for place, item in enumerate(tensors) if item is not None and item.dynamic]


def _metadata(program: Program, findings: _Findings) -> dict[str, str]:
    found = {name: text for name, text in program.constants.items() if name not in (SIGNATURE, MODULES)}
    delegates = ", ".join(f"{name} x{count}" for name, count in findings.delegates.items())
    methods = ", ".join(plan.text("name") for plan in program.methods)
    return {"methods": methods, "delegates": delegates or "none", **found}


def _notes(program: Program, findings: _Findings, dynamic: list[str]) -> list[str]:
    notes = []
    total = sum(item.macs or 0 for item in findings.operators)
    slow = [item for item in findings.operators if not item.delegated and item.macs]
    if slow:
        share = sum(item.macs or 0 for item in slow) / total
        kinds = ", ".join(dict.fromkeys(item.operator for item in slow))
        notes.append(f"{share:.1%} of the MACs run outside the delegate, in {kinds}: portable kernels are very slow.")
    if any(item.weights == "float32" and item.activations == "float16" for item in findings.operators):
        notes.append("Some weights are stored as float32 though their operators compute in float16.")
    if dynamic and SIGNATURE not in program.constants:
        notes.append(f"{', '.join(dynamic)} may be smaller than shown; the file does not say along which sizes.")
    if len(program.methods) > 1:
        notes.append("It has several methods; inputs, outputs and planned memory are those of the first.")
    if findings.opaque:
        notes.append(f"What {', '.join(findings.opaque)} runs, and with which weights, only that backend can tell.")
    if findings.external:
        notes.append(f"{len(findings.external)} weights are in another file (.ptd), which it needs.")
    return notes

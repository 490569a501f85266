"""From a network to a ``.pte`` and its outputs, for the tests of quantizing on ExecuTorch. Needs torch, executorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.executorch import lower, quantize
from converters.executorch._program import Program
from converters.executorch.inspect import _walk, inspect
from converters.facts import OperatorFacts
from converters.torch_export import program as programs
from converters.torch_export.calibrate import calibrate
from edgekit import feeds
from edgekit.types import Quantization, Rule, to_json


@dataclass
class Case:
    """A network as a program file, samples of shape ``(count, *shape)``, its outputs on them, and ranges."""

    folder: Path
    program: Path
    signature: dict[str, Any]
    samples: np.ndarray
    reference: np.ndarray
    ranges: Path
    made: dict[Any, Made] = field(default_factory=dict)

    def convert(
        self, scheme: str, *rules: str, method: str = "auto", io: str = "float", ranges: Path | None = None
    ) -> Made:
        """Lower or quantize, once; a rule is ``pattern`` or ``pattern=scheme``."""
        key = (scheme, rules, method, io, ranges)
        if key not in self.made:
            self.made[key] = self._convert(scheme, rules, method, io, ranges)
        return self.made[key]

    def _convert(self, scheme: str, rules: tuple[str, ...], method: str, io: str, ranges: Path | None) -> Made:
        settings = Quantization(method=method, io=io, rules=tuple(Rule(*rule.split("=")) for rule in rules))
        output = self.folder / "made.pte"
        step = lower.lower if scheme.startswith("float") else quantize.quantize
        given = str(ranges or self.ranges) if scheme == "int8" else None
        result = step(str(self.program), str(output), scheme, self.signature, given, to_json(settings))
        operators = _walk(Program(output)).operators
        return Made(self, output.read_bytes(), dict(result), inspect(str(output)), operators)


@dataclass
class Made:
    """A converted file: its content, what the step said, and what ``inspect`` finds."""

    case: Case
    content: bytes
    result: dict[str, Any]
    facts: dict[str, Any]
    operators: list[OperatorFacts]

    def weighted(self) -> list[OperatorFacts]:
        """Convolutions and linear layers in the file."""
        return [item for item in self.operators if any(word in item.operator for word in ("Conv2d", "Connected"))]

    @property
    def stayed_float(self) -> list[str]:
        return [item["name"] for item in self.result["stayed_float"]]

    @cached_property
    def outputs(self) -> np.ndarray:
        """Of the runtime on the case's samples, as float."""
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(self.content).load_method("forward")
        (source,), (target,) = self.facts["signature"]["inputs"], self.facts["signature"]["outputs"]
        found = []
        for sample in self.case.samples:
            value = sample
            if source["dtype"] == "int8":
                value = np.clip(np.round(sample / source["scale"]) + source["zero_point"], -128, 127).astype(np.int8)
            (output,) = method.execute([torch.from_numpy(value)])
            assert str(output.dtype) == f"torch.{target['dtype']}"
            array = output.numpy().copy()
            if target["dtype"] == "int8":
                array = (array.astype(np.float32) - target["zero_point"]) * target["scale"]
            found.append(array)
        return np.stack(found)

    def sqnr_db(self, reference: np.ndarray | None = None) -> float:
        """Against the float network, or given outputs."""
        wanted = self.case.reference if reference is None else reference
        noise = ((wanted - self.outputs) ** 2).sum()
        return float(10 * np.log10((wanted**2).sum() / noise))


def case(network: torch.nn.Module, samples: np.ndarray, folder: Path, calibrated: np.ndarray | None = None) -> Case:
    """A network with one input and one output, calibrated on its samples or others."""
    with torch.no_grad():
        example = torch.from_numpy(samples[0])
        exported = torch.export.export(network.eval(), (example,), strict=False)
    return case_of(exported, samples, folder, calibrated)


def case_of(exported: Any, samples: np.ndarray, folder: Path, calibrated: np.ndarray | None = None) -> Case:
    """The same, of an exported program."""
    run = exported.module(check_guards=False)
    with torch.no_grad():
        flat = programs.flatten(exported, [run(torch.from_numpy(samples[0]))])
        reference = np.stack([run(torch.from_numpy(sample)).numpy() for sample in samples])
    folder.mkdir(parents=True, exist_ok=True)
    programs.save(programs.export(flat.module, (torch.from_numpy(samples[0]),)), folder / "program.pt2")
    chosen = samples if calibrated is None else calibrated
    feeds.write(folder / "feeds", feeds.Feeds({"x": chosen}, None, "test"))
    calibrate(str(folder / "program.pt2"), str(folder / "ranges.json"), str(folder / "feeds"), 99.99)
    return Case(folder, folder / "program.pt2", to_json(flat.signature), samples, reference, folder / "ranges.json")

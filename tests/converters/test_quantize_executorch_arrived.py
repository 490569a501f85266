"""Programs that arrive quantized: kept where ExecuTorch is asked for the same, made float for everything else."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("executorch", reason="needs the extra executorch")

sys.path.insert(0, str(Path(__file__).parent))
from pte_runs import Case, case_of  # noqa: E402 - found through the line above
from torch import nn  # noqa: E402

from converters.torch_export import program as programs  # noqa: E402
from converters.torch_export.quantized import quantized_operators, to_float  # noqa: E402


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.max_pool2d(self.conv(x).relu(), 2).flatten(1))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((16, 1, 3, 8, 8), np.float32)


def quantized(samples: np.ndarray, folder: Path, **options: Any) -> Case:
    """A program as PT2E makes it, through a file."""
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    torch.manual_seed(0)
    config = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(config)
    example = torch.from_numpy(samples[0])
    prepared = prepare_pt2e(torch.export.export(Small().eval(), (example,)).module(), quantizer)
    with torch.no_grad():
        for sample in samples:
            prepared(torch.from_numpy(sample))
    return through_file(convert_pt2e(prepared, **options), samples, folder)


def through_file(module: nn.Module, samples: np.ndarray, folder: Path) -> Case:
    path = folder / "arrived.pt2"
    torch.export.save(torch.export.export(module, (torch.from_numpy(samples[0]),)), path)
    return case_of(torch.export.load(path), samples, folder)


@pytest.fixture(scope="module")
def pt2e(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return quantized(samples, tmp_path_factory.mktemp("pt2e"))


@pytest.fixture(scope="module")
def blocks(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """As torchao makes it: 4-bit weights in the linear layer."""
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    torch.manual_seed(0)
    network = Small().eval()
    quantize_(network, Int8DynamicActivationIntxWeightConfig(torch.int4, PerGroup(32)))
    return through_file(network, samples, tmp_path_factory.mktemp("blocks"))


def found(case: Case) -> dict[str, tuple[str, int]]:
    operators = quantized_operators(programs.load(str(case.program)).module(check_guards=False))
    return {item.path: (item.activations, item.weight_bits) for item in operators if item.weight_bits}


def test_they_are_recognized(pt2e: Case, blocks: Case) -> None:
    assert found(pt2e) == {"conv": ("static", 8), "fc": ("static", 8)}
    assert found(blocks) == {"fc": ("dynamic", 4)}
    float_program = torch.export.export(Small().eval(), (torch.zeros(1, 3, 8, 8),))
    assert quantized_operators(float_program.module()) == []
    assert to_float(float_program) == (float_program, [])


@pytest.mark.parametrize("fold", [True, False])
def test_int8_stays_int8(samples: np.ndarray, tmp_path: Path, fold: bool) -> None:
    """Neither data nor ranges are needed; unfolded weights are stored as integers too."""
    arrived = quantized(samples, tmp_path, fold_quantize=fold)
    made = arrived.convert("int8")
    assert made.sqnr_db() >= 45  # against the quantized program itself: what is left is XNNPACK's rounding
    assert made.stayed_float == []
    assert [item.computes for item in made.weighted()] == ["integer", "integer"]
    assert [item.weights for item in made.weighted()] == ["int8", "int8"]
    assert any("kept as it is" in note for note in made.result["notes"])
    assert arrived.convert("int8", io="int8").facts["signature"]["inputs"][0]["dtype"] == "int8"


def test_blocks_stay_blocks(blocks: Case) -> None:
    made = blocks.convert("int4-weights")
    assert made.sqnr_db() >= 40
    assert made.stayed_float == ["conv"]
    assert any("kept as it is" in note for note in made.result["notes"])


def test_rules_quantize_anew(pt2e: Case) -> None:
    made = pt2e.convert("int8", "conv")
    assert made.stayed_float == ["conv"]
    assert any(note.startswith("The program arrived quantized. Kept: the values") for note in made.result["notes"])


def test_float_and_back_gives_the_same_integers(pt2e: Case) -> None:
    """Weights stay on their grid; a float file of them says so."""
    exported = programs.load(str(pt2e.program))
    restored, notes = to_float(exported)
    assert len(notes) == 1
    assert "Kept: the values of its quantized weights (2)" in notes[0]
    module = restored.module(check_guards=False)
    targets = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    assert targets == [
        "aten.conv2d.default", "aten.relu.default", "aten.max_pool2d.default", "aten.flatten.using_ints",
        "aten.linear.default",
    ]  # fmt: skip
    for name in (str(node.args[1].target) for node in module.graph.nodes if "conv2d" in str(node.target)):
        weight = copy.deepcopy(getattr(module, name)).flatten(1)
        scale = weight.abs().amax(1, keepdim=True) / 127
        steps = weight / scale
        assert torch.allclose(steps, steps.round(), atol=1e-3)
    made = pt2e.convert("float32")
    assert made.facts["quantized_operators"] == {}
    assert made.sqnr_db() >= 30  # activations are no longer rounded, and that is the difference
    assert made.result["notes"] == notes


def test_float_from_blocks(blocks: Case) -> None:
    restored, notes = to_float(programs.load(str(blocks.program)))
    assert notes
    assert quantized_operators(restored.module(check_guards=False)) == []
    assert set(dict(restored.named_buffers())) == {"p_conv_weight", "p_conv_bias", "p_fc_bias", *_restored(restored)}


def _restored(exported: Any) -> set[str]:
    (name,) = (name for name, _ in exported.named_buffers() if "restored" in name)
    return {name}

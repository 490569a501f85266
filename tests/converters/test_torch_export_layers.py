"""Layers and ranges of ``torch.export`` programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import feeds
from edgekit.types import Rule

torch = pytest.importorskip("torch", reason="needs the extra torch")

from torch import nn  # noqa: E402

from converters.calibration import ranges as ranges_file  # noqa: E402
from converters.layers import resolve  # noqa: E402
from converters.torch_export import program as programs  # noqa: E402
from converters.torch_export.calibrate import calibrate  # noqa: E402
from converters.torch_export.layers import layers_of, nodes_of  # noqa: E402


class Head(nn.Module):
    """A depthwise and a transposed convolution, a split, BatchNorm behind a ReLU, two results."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict({"deep": nn.Conv2d(4, 8, 3, groups=4), "up": nn.ConvTranspose2d(8, 4, 2, 2)})
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.features["deep"](x).relu())
        scores, boxes = self.features["up"](x).split(2, 1)
        scores = scores.softmax(1)
        both = torch.cat([scores, boxes * (self.scale * 3)], 1)
        return both, scores.to(torch.float64).to(torch.float32)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    example, network = torch.randn(1, 4, 6, 6), Head().eval()
    exported = torch.export.export(network, (example,), strict=False)
    flat = programs.flatten(exported, programs.leaves(network(example)))
    path = tmp_path_factory.mktemp("layers") / "program.pt2"
    programs.save(programs.export(flat.module, (example,)), path)
    return path


def test_layers_of_a_loaded_program(program: Path) -> None:
    """Module paths survive flattening, the second export, and the file."""
    layers = layers_of(programs.load(str(program)))
    assert [(layer.kind, layer.path) for layer in layers] == [
        ("depthwise_conv", "features.deep"), ("relu", ""), ("mul", "norm"), ("add", "norm"),
        ("conv_transpose", "features.up"), ("split", ""), ("softmax", ""), ("mul", ""), ("concat", ""),
        ("cast", ""), ("cast", ""),
    ]  # fmt: skip
    by_kind = {layer.kind: place for place, layer in enumerate(layers)}
    assert [layer.kind for layer in layers if layer.weighted] == ["depthwise_conv", "conv_transpose"]
    assert layers[by_kind["softmax"]].inputs == (by_kind["split"],)  # through the element of a tuple
    assert layers[by_kind["concat"]].inputs == (by_kind["softmax"], 7)
    assert [layer.kind for layer in layers if layer.is_output] == ["concat", "cast"]


def test_the_way_back_to_a_node(program: Path) -> None:
    exported = programs.load(str(program))
    nodes = nodes_of(exported)
    for layer in layers_of(exported):
        assert str(nodes[layer.name].target) == layer.operator
    again = layers_of(programs.load(str(program)).module(check_guards=False))
    assert again == layers_of(exported)


def test_rules_find_them(program: Path) -> None:
    layers = layers_of(programs.load(str(program)))
    rules = (Rule("features"), Rule("@last-activation", "int8"), Rule("aten.cat.*", "int8-dynamic"))
    chosen = {layers[place].kind: scheme for place, scheme in enumerate(resolve(layers, rules, "test")) if scheme}
    assert chosen == {
        "depthwise_conv": "float32",
        "conv_transpose": "float32",
        "softmax": "int8",
        "concat": "int8-dynamic",
    }


@pytest.mark.parametrize(
    ("network", "shape", "kinds"),
    [
        (nn.Conv1d(4, 4, 3), (1, 4, 9), ["conv"]),
        (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5), ["conv"]),
        (nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4)), (1, 4), ["linear", "gelu", "layer_norm"]),
        (nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2)), (1, 2, 8, 8), ["max_pool", "avg_pool"]),
        (nn.Sequential(nn.Hardswish(), nn.Upsample(scale_factor=2)), (1, 2, 4, 4), ["hardswish", "resize"]),
        (nn.Sequential(nn.ReLU6(), nn.SiLU(), nn.LeakyReLU()), (1, 4), ["clamp", "silu", "leaky_relu"]),
        (nn.Sequential(nn.PReLU(), nn.Flatten()), (1, 4, 2), ["prelu", "reshape"]),
    ],
)  # fmt: skip
def test_kinds(network: nn.Module, shape: tuple[int, ...], kinds: list[str]) -> None:
    exported = torch.export.export(network.eval(), (torch.randn(shape),), strict=False)
    assert [layer.kind for layer in layers_of(exported)] == kinds


def test_ranges_of_every_float_tensor(program: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((6, 1, 4, 6, 6), np.float32)
    feeds.write(tmp_path / "feeds", feeds.Feeds({"x": samples}, None, "six samples"))
    result = calibrate(str(program), str(tmp_path / "ranges.json"), str(tmp_path / "feeds"), 99.0)
    found = ranges_file.read(tmp_path / "ranges.json")
    assert result == {"tensors": len(found.tensors)}
    assert (found.form, found.samples, found.origin, found.percentile) == ("torch.export", 6, "six samples", 99.0)
    module = programs.load(str(program)).module(check_guards=False)
    values = {node.name for node in module.graph.nodes if node.op in ("placeholder", "call_function")}
    checks = {name for name in values if name.startswith("_assert_tensor_metadata")}
    assert set(found.tensors) == values - {"split"} - checks
    assert found.tensors["x"].minimum == pytest.approx(samples.min())
    assert found.tensors["x"].count == samples.size
    assert found.chosen("minmax")["softmax"][0] == 0.0

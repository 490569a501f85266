"""--optimize: rewriting that keeps the function, and gains that are measured before they are kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit import feeds
from edgekit.errors import ConversionError

torch = pytest.importorskip("torch", reason="needs the extra torch")
nn = torch.nn
pytestmark = pytest.mark.usefixtures("one_thread")

from converters.torch_export import operators, program, simulate  # noqa: E402
from converters.torch_export.bias_correction import correct_biases  # noqa: E402
from converters.torch_export.equalize import equalize  # noqa: E402
from converters.torch_export.optimize import OptimizeResult, optimize  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import depthwise  # noqa: E402 - found through the line above

SETTINGS: dict[str, object] = {"method": "minmax", "cpu": "x86-vnni", "io": "float", "rules": []}
Samples = list[tuple[torch.Tensor, ...]]


def exported_of(network: nn.Module, *args: torch.Tensor) -> torch.export.ExportedProgram:
    network.eval()
    exported = torch.export.export(network, args, strict=False)
    flat = program.flatten(exported, program.leaves(network(*args)))
    return program.export(flat.module, args)


def random_samples(shape: tuple[int, ...], count: int = 16) -> Samples:
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(shape, generator=generator),) for _ in range(count)]


class Uneven(nn.Module):
    """Multiplies each channel by a factor of its own: uneven weights without BatchNorm."""

    def __init__(self, layer: nn.Module, axis: int = 0) -> None:
        super().__init__()
        with torch.no_grad():
            sizes = [1] * layer.weight.dim()
            sizes[axis] = -1
            factors = 10 ** torch.linspace(-1.5, 0.5, layer.weight.shape[axis])
            layer.weight *= factors.reshape(sizes)
            if layer.bias is not None and layer.bias.shape == factors.shape:
                layer.bias *= factors
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return y + self.second(y)


class Shared(nn.Module):
    """The same layer twice in a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.relu(self.conv(x)))


IMAGE = (1, 4, 8, 8)
CHAINS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "relu": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU(), nn.Conv2d(8, 4, 3)), IMAGE, 1),
    "nothing": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3, bias=False)), nn.Conv2d(8, 4, 3)), IMAGE, 1),
    "in place": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU(True), nn.Conv2d(8, 4, 3)), IMAGE, 1),
    "depthwise": (
        lambda: nn.Sequential(
            Uneven(nn.Conv2d(4, 8, 1)), nn.ReLU(), nn.Conv2d(8, 16, 3, groups=8, padding=1), nn.ReLU(),
            nn.Conv2d(16, 3, 1),
        ), IMAGE, 2,
    ),
    "grouped": (
        lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3, groups=2)), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2)), IMAGE, 1
    ),
    "transposed": (
        lambda: nn.Sequential(
            Uneven(nn.ConvTranspose2d(4, 8, 2, 2, groups=2), 1), nn.LeakyReLU(), nn.ConvTranspose2d(8, 6, 2, groups=2),
            nn.ReLU(), nn.Conv2d(6, 2, 1),
        ), IMAGE, 2,
    ),
    "prelu": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.PReLU(8), nn.Conv2d(8, 4, 3)), IMAGE, 1),
    "pooled and flattened": (
        lambda: nn.Sequential(
            Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 6), nn.ReLU(),
            nn.Linear(6, 2),
        ), IMAGE, 2,
    ),
    "averaged": (
        lambda: nn.Sequential(
            Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6)
        ), IMAGE, 1,
    ),
    "padded": (
        lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU(), nn.ZeroPad2d(1), nn.Conv2d(8, 4, 3)), IMAGE, 1
    ),
    "one dimension": (
        lambda: nn.Sequential(Uneven(nn.Conv1d(4, 8, 3)), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 4, 3)), (1, 4, 20), 1
    ),
    "linear on sequences": (lambda: nn.Sequential(Uneven(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 4)), (2, 5, 6), 1),
    "shared": (Shared, IMAGE, 1),
    "relu6": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.ReLU6(), nn.Conv2d(8, 4, 3)), IMAGE, 0),
    "gelu": (lambda: nn.Sequential(Uneven(nn.Conv2d(4, 8, 3)), nn.GELU(), nn.Conv2d(8, 4, 3)), IMAGE, 0),
    "padded with ones": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.ConstantPad2d(1, 1.0), nn.Conv2d(8, 4, 3)), IMAGE, 0
    ),
    "residual": (Residual, IMAGE, 0),
    "transposed between": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.Flatten(1), nn.Unflatten(1, (6, 6)), nn.Linear(6, 2)), (1, 6, 6), 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_equalization_keeps_the_function(chain: str) -> None:
    build, shape, pairs = CHAINS[chain]
    torch.manual_seed(2)
    samples = random_samples(shape)
    exported = exported_of(build(), *samples[0])
    before, after = exported.module(check_guards=False), exported.module(check_guards=False)
    assert equalize(after, samples) == pairs
    other = [(10 * sample[0],) for sample in samples]
    assert simulate.compare(before, after, other) > 100


def test_equalization_helps_uneven_channels() -> None:
    torch.manual_seed(2)
    samples = random_samples(IMAGE, 32)
    exported = exported_of(CHAINS["depthwise"][0](), *samples[0])
    before, after = exported.module(check_guards=False), exported.module(check_guards=False)
    equalize(after, samples)
    gain = simulate.output_sqnr(after, simulate.ranges_of(after, samples), samples)
    assert gain > simulate.output_sqnr(before, simulate.ranges_of(before, samples), samples) + 1


def test_dead_channels_are_left_alone() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    with torch.no_grad():
        network[0].weight[2] = 0.0
        network[0].bias[2] = -1.0
        network[2].weight[:, 3] = 0.0
    samples = random_samples(IMAGE)
    module = exported_of(network, *samples[0]).module(check_guards=False)
    assert equalize(module, samples) == 1
    (weight,) = (value for name, value in module.named_buffers() if name == "p_2_weight")
    assert torch.equal(weight[:, 2:4], network[2].weight[:, 2:4])
    assert all(value.isfinite().all() for value in module.buffers())


def test_bias_correction_takes_the_shift_off() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 5)
    )
    samples = random_samples(IMAGE, 64)
    exported = exported_of(network, *samples[0])
    original, module = exported.module(check_guards=False), exported.module(check_guards=False)
    ranges = simulate.ranges_of(original, samples)
    ranges["conv2d_1"] = (-0.3, 0.2)  # clips, and so shifts the mean
    assert correct_biases(module, ranges, samples) == 3

    def shift(changed: torch.fx.GraphModule) -> float:
        run = simulate.Simulation(changed, ranges).run
        errors = torch.cat([run(*sample)[0] - original(*sample)[0] for sample in samples])
        return float(errors.mean(0).abs().max())

    assert shift(module) < 0.3 * shift(original)
    assert any("corrected" in name for name, _ in module.named_buffers())  # the bias that there was none of


def job(exported: torch.export.ExportedProgram, data: np.ndarray, folder: Path) -> OptimizeResult:
    program.save(exported, folder / "float.pt2")
    feeds.write(folder / "feeds", feeds.Feeds({"image": data}))
    return optimize(str(folder / "float.pt2"), str(folder / "optimized.pt2"), str(folder / "feeds"), SETTINGS)


@pytest.mark.parametrize(
    ("build", "spread", "least", "gain"),
    [(depthwise.Separable, 0.8, 26.0, 1.0), (depthwise.InvertedResidual, 0.3, 17.0, 0.0)],
    ids=["like V1", "like V2"],
)
def test_depthwise_networks(build: type[nn.Module], spread: float, least: float, gain: float, tmp_path: Path) -> None:
    network, pictures = depthwise.uneven(build(), spread), depthwise.pictures(128, 3)
    with torch.no_grad():
        assert network(pictures).std(0).mean() > 0.05  # else every figure below would mean nothing
    exported = exported_of(network, pictures[:1])
    result = job(exported, pictures[:, None].numpy(), tmp_path)
    first, last = result["steps"][0], result["steps"][-1]
    final = last["after_db"] if last["kept"] else last["before_db"]
    assert first["before_db"] is not None and first["before_db"] > least
    assert final is not None and final >= first["before_db"] + gain
    assert [step["name"] for step in result["steps"]] == ["Cross-layer equalization", "Bias correction"]
    assert len(result["notes"]) == 2 and "dB in simulated int8" in result["notes"][0]
    made = program.load(str(tmp_path / "optimized.pt2"))
    assert paths(made) == paths(exported)
    assert [node.name for node in made.graph.nodes if node.op == "placeholder"][-1] == "image"
    assert [tuple(value.shape) for value in program.example_inputs(made)] == [(1, 3, 32, 32)]


def paths(exported: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    nodes = (node for node in exported.graph.nodes if node.op == "call_function")
    return [(str(node.target), operators.module_path(node)) for node in nodes]


def test_a_program_that_cannot_gain_is_copied(tmp_path: Path) -> None:
    class Scale(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.relu(image) * 2.0

    result = job(
        exported_of(Scale(), torch.randn(1, 5)), np.random.default_rng(0).normal(size=(8, 1, 5)).astype("f"), tmp_path
    )
    assert [note.partition(":")[2] for note in result["notes"]] == [" nothing to do in this model."] * 2
    assert not any(step["kept"] for step in result["steps"])
    assert (tmp_path / "optimized.pt2").read_bytes() == (tmp_path / "float.pt2").read_bytes()


def test_layers_that_rules_leave_float_are_not_corrected(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 3))
    program.save(exported_of(network, torch.randn(IMAGE)), tmp_path / "float.pt2")
    images = np.random.default_rng(0).normal(size=(16, *IMAGE)).astype("f")
    feeds.write(tmp_path / "feeds", feeds.Feeds({"input": images}))
    settings = {
        **SETTINGS,
        "rules": [{"match": "conv", "scheme": "float32"}, {"match": "NOT_HERE", "scheme": "float32"}],
    }
    result = optimize(str(tmp_path / "float.pt2"), str(tmp_path / "out.pt2"), str(tmp_path / "feeds"), settings)
    assert result["notes"][1] == "Bias correction: nothing to do in this model."


def test_one_sample_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="there is 1"):
        job(exported_of(nn.Linear(5, 3), torch.randn(1, 5)), np.ones((1, 1, 5), "f"), tmp_path)

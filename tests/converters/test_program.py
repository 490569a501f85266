"""The normal shape of programs: BatchNorm, spellings, names. Pure torch, no converter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import UnsupportedError

torch = pytest.importorskip("torch", reason="needs the extra torch")
nn = torch.nn

from converters.torch_export import operators, program  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
import shapes  # noqa: E402 - found through the line above


def flat(network: nn.Module, *args: torch.Tensor, decompose: bool = False) -> program.Flat:
    exported = torch.export.export(network, args, strict=False)
    if decompose:
        exported = exported.run_decompositions()
    return program.flatten(exported, program.leaves(network(*args)))


def targets(module: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def images(*channels: int) -> torch.Tensor:
    return torch.randn(1, *channels, 9, 9)


@pytest.mark.parametrize("decompose", [False, True], ids=["fresh", "decomposed"])
@pytest.mark.parametrize(
    ("build", "example", "left"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)), images(3), 0),
        (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8)), images(4), 0),
        (lambda: nn.Sequential(nn.Conv1d(3, 6, 3, dilation=2), nn.BatchNorm1d(6)), torch.randn(1, 3, 20), 0),
        (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)), torch.randn(1, 1, 4, 4, 4), 0),
        (lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7)), torch.randn(1, 5), 0),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)), images(3), 0),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6)), images(3), 2),
        (lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 3), nn.BatchNorm2d(6)), images(3), 2),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3)), images(3), 0),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, bias=False, stride=2)), images(3), 0),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, padding=1)), images(3), 2),
        (lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4)), images(4), 2),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.AvgPool2d(2)), images(3), 2),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(243, 5)), images(3), 0),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 7, bias=False)), torch.randn(1, 5), 0),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 7)), torch.randn(1, 5, 5), 2),
    ],
    ids=["conv2d", "grouped", "conv1d", "conv3d", "linear", "no affine", "after relu", "transposed", "before conv",
         "before conv without bias", "before padding", "before groups", "before pooling", "before flattening",
         "before linear",
         "before linear of the last axis"],
)  # fmt: skip
def test_batch_norm_is_gone_and_nothing_changed(
    build: Callable[[], nn.Module], example: torch.Tensor, left: int, decompose: bool
) -> None:
    network = shapes.settled(build(), example)
    made = flat(network, example, decompose=decompose)
    assert not [name for name in targets(made.module) if "batch_norm" in name]
    assert sum(name in ("aten.mul.Tensor", "aten.add.Tensor") for name in targets(made.module)) == left
    with torch.no_grad():
        (found,) = made.module(example)
        torch.testing.assert_close(found, network(example), rtol=1e-5, atol=1e-5)


def test_a_weight_shared_by_two_layers_is_folded_apart() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.conv(self.one(self.conv(x))))

    network, example = shapes.settled(Shared(), images(3)), images(3)
    with torch.no_grad():
        torch.testing.assert_close(flat(network, example).module(example)[0], network(example), rtol=1e-4, atol=1e-5)


def test_a_layer_with_two_readers_is_not_folded() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    network, example = shapes.settled(Forked(), images(3)), images(3)
    with torch.no_grad():
        torch.testing.assert_close(flat(network, example).module(example)[0], network(example), rtol=1e-5, atol=1e-5)


def test_decomposed_programs_are_spelled_as_fresh_ones() -> None:
    """Else ExecuTorch's quantizer leaves their convolutions float."""
    network, example = shapes.settled(shapes.sequential(), images(3)), images(3)
    names = targets(flat(network, example, decompose=True).module)
    assert "aten.conv2d.default" in names
    assert "aten.linear.default" in names
    assert not {"aten.convolution.default", "aten.addmm.default"} & set(names)


def test_names_are_safe_and_outputs_are_named() -> None:
    made = flat(shapes.settled(shapes.sequential(), images(3)), images(3))
    attributes = [str(node.target) for node in made.module.graph.nodes if node.op == "get_attr"]
    assert attributes
    assert all(name.isidentifier() for name in attributes)
    assert [spec.name for spec in made.signature.inputs] == ["input"]
    assert [spec.name for spec in made.signature.outputs] == ["output"]


def test_places_in_the_model_survive_the_second_export() -> None:
    made = flat(shapes.settled(shapes.sequential(), images(3)), images(3))
    again = program.export(made.module, (images(3),))
    paths = {str(node.target): operators.module_path(node) for node in again.graph.nodes if node.op == "call_function"}
    assert paths["aten.conv2d.default"] == "0"
    assert paths["aten.linear.default"] == "5"


def test_a_model_with_state_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return x + self.seen

    with pytest.raises(UnsupportedError, match="changes its own state at every run \\(seen\\)"):
        flat(Counter(), torch.randn(1, 3))

"""Data against the statistics that BatchNorm kept: what is suspicious, and what must not be."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
from torch import nn  # noqa: E402 - after the check above

from converters.torch_export.training_data import suspicion, untrained_scale_note  # noqa: E402

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "models"), str(ROOT / "examples" / "digits")]
import model as digits_model  # noqa: E402 - found through the line above
import networks  # noqa: E402

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Small(nn.Module):
    """Convolution, BatchNorm, linear, BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)
        self.last = nn.BatchNorm1d(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.fc(torch.relu(self.norm(self.conv(image))).mean((2, 3))))


class Table(nn.Module):
    """BatchNorm behind a linear layer: one value per channel and sample."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 12)
        self.norm = nn.BatchNorm1d(12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.fc(x))


def trained(network: nn.Module, data: torch.Tensor) -> nn.Module:
    """Statistics of the data, ``(samples, *shape)``; nothing else is trained."""
    network.train()
    with torch.no_grad():
        for _ in range(40):
            network(data[torch.randperm(len(data))[:64]])
    return network.eval()


def judged(network: nn.Module, data: torch.Tensor, names: Sequence[str] | None = None) -> str:
    """The suspicion on samples ``(samples, *shape)``, one at a time as calibration takes them."""
    samples = [((sample[None],), {}) for sample in data]
    exported = torch.export.export(network.eval(), samples[0][0])
    with torch.no_grad():
        return suspicion(exported, samples, names)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


def pictures(count: int = 200) -> torch.Tensor:
    """Whole numbers from 0 to 255, of different brightness."""
    return (torch.rand(count, 1, 1, 1) * torch.rand(count, 3, 10, 10) * 255).round()


def test_pixels_for_a_model_of_zero_to_one() -> None:
    data = pictures()
    said = judged(trained(Small(), data / 255), data, ["picture"])
    assert "picture spans 0 to 25" in said
    assert "whole numbers" in said
    found = re.search(r"BatchNorm norm, which keeps the statistics of training, sees ([\d.]+) times the spread", said)
    assert found is not None
    assert 255 / 2 < float(found[1]) < 255 * 2
    assert "With x / 255 it would see " in said


def test_zero_to_one_for_a_model_of_pixels() -> None:
    data = pictures()
    said = judged(trained(Small(), data), data / 255)
    assert "sees 1/2" in said
    assert "With x * 255 it would see" in said


@pytest.mark.parametrize("scale", [1.0, 1 / 255, 1 / 127.5])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_data_like_that_of_training(scale: float, count: int) -> None:
    data = pictures() * scale
    assert judged(trained(Small(), data), data[:count]) == ""


def test_a_few_dark_pictures() -> None:
    data = pictures()
    assert judged(trained(Small(), data), data[:3] * 0.05) == ""


@pytest.mark.parametrize("count", [1, 4, 40])
def test_one_value_per_sample(count: int) -> None:
    data = torch.randn(200, 6) * 3 + 10
    network = trained(Table(), data)
    assert judged(network, data[:count]) == ""


def test_another_unit_of_a_table() -> None:
    data = torch.randn(200, 6) * 3 + 10
    assert "times the spread of training" in judged(trained(Table(), data), data[:40] * 1000)


def test_one_huge_sample_is_not_the_fault_of_the_others() -> None:
    data = pictures() / 255
    network = trained(Small(), data)
    spoiled = data[:40].clone()
    spoiled[5] *= 1e4
    assert judged(network, spoiled) == ""


def test_statistics_that_training_never_touched() -> None:
    assert judged(Small(), pictures()) == ""


def test_no_batch_norm() -> None:
    assert judged(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), pictures()) == ""


def test_channels_that_were_silent_in_training_do_not_vote() -> None:
    data = pictures() / 255
    network = Small()
    with torch.no_grad():
        network.conv.weight[:6] = 0
    assert judged(trained(network, data), data[:40]) == ""


def test_the_digits_network() -> None:
    network = digits_model.Digits()
    network.load_state_dict(torch.load(ROOT / "examples/digits/digits.pt", weights_only=True))
    data = torch.from_numpy(np.load(ROOT / "examples/digits/calibration.npz")["image"])
    assert judged(network, data) == ""
    assert "With x / 255 it would see about the spread" in judged(network, data * 255)


def test_a_trained_resnet(shared_models: Path) -> None:
    kept = torch.load(next((shared_models / "cifar10_resnet_akamaster").glob("resnet20-*.th")), map_location="cpu")
    network = networks.resnet20()
    network.load_state_dict({name.removeprefix("module."): value for name, value in kept["state_dict"].items()})
    pixels = np.load(shared_models / "_data_cifar10/cifar10_lossless_dev100.npz")["x"]
    data = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    assert judged(network, (data / 255 - IMAGENET_MEAN) / IMAGENET_DEVIATION) == ""
    said = judged(network, data)
    assert "BatchNorm bn1" in said
    assert "With (x - 1" in said


def test_raw_pixels_that_a_classifier_makes_nothing_of() -> None:
    random = np.random.default_rng(0)
    raw = random.integers(0, 256, (64, 1, 1, 8, 8)).astype(np.float32)
    labels = random.integers(0, 10, (64, 1))
    guesses, right = random.normal(0, 1, (64, 1, 10)), np.eye(10)[labels]
    assert "was it trained on x / 255?" in untrained_scale_note([raw], [guesses], labels)
    assert untrained_scale_note([raw], [right], labels) == ""
    assert untrained_scale_note([raw / 255], [guesses], labels) == ""
    assert untrained_scale_note([raw], [guesses], None) == ""

"""Evidence on why int8 drifts, on small networks that each have one fault; and the words made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import causes as words
from edgekit import feeds
from edgekit.feeds import Feeds
from edgekit.types import Quantization, Rule, to_json

torch = pytest.importorskip("torch", reason="needs the extra torch")
from torch import nn  # noqa: E402 - after the check above

from converters.torch_export import program as programs  # noqa: E402
from converters.torch_export.calibrate import calibrate  # noqa: E402
from converters.torch_export.causes import gather  # noqa: E402


class Plain(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.body = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.body(torch.relu(self.stem(image))))
        return self.fc(x.mean((2, 3)))


class Head(nn.Module):
    """Boxes in pixels and scores in one tensor, as detectors return them."""

    def __init__(self, size: float = 640.0) -> None:
        super().__init__()
        self.size = size
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.boxes = nn.Conv2d(8, 4, 1)
        self.scores = nn.Conv2d(8, 6, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        boxes = torch.sigmoid(self.boxes(x)).flatten(2) * self.size
        return torch.cat([boxes, torch.sigmoid(self.scores(x)).flatten(2)], 1)


class Poisoned(nn.Module):
    """One channel is a thousand times as large as the others, and the next layer hardly reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.bad = nn.Conv2d(8, 8, 1)
        self.after = nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            self.bad.weight[0] *= 3000
            self.after.weight[:, 0] = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.after(self.bad(torch.tanh(self.first(image)))).mean((2, 3))


class Masked(nn.Module):
    """Attention over four places, one of them masked."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.fill = fill
        self.attend = nn.Linear(6, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.attend(x).masked_fill(torch.tensor([False, False, False, True]), self.fill)
        return self.fc(torch.softmax(scores, -1))


class Filled(Masked):
    """The same before another function, which does not take low numbers for masks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.attend(x).masked_fill(torch.tensor([False, False, False, True]), self.fill)))


class Depthwise(nn.Module):
    """A depthwise convolution with one channel a hundred times as large as another."""

    def __init__(self) -> None:
        super().__init__()
        self.dw = nn.Conv2d(3, 3, 3, groups=3)
        with torch.no_grad():
            self.dw.weight[1] = self.dw.weight[0]
            self.dw.weight[2] = self.dw.weight[0] * 100

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.dw(image)


def saved(network: nn.Module, example: torch.Tensor, folder: Path) -> str:
    exported = torch.export.export(network.eval(), (example,))
    with torch.no_grad():
        flat = programs.flatten(exported, [network(example)])
    programs.save(programs.export(flat.module, (example,)), folder / "program.pt2")
    return str(folder / "program.pt2")


def evidence(
    network: nn.Module,
    samples: np.ndarray[Any, Any],
    folder: Path,
    *,
    quantization: Quantization | None = None,
    scheme: str = "int8",
    calibrated: bool = False,
) -> dict[str, Any]:
    """Of a seeded network; through JSON, as a job hands it over."""
    source = saved(network, torch.from_numpy(samples[0]), folder)
    data = feeds.write(folder / "feeds", Feeds({"image": samples}, None, "test data"))
    ranges = str(folder / "ranges.json") if calibrated else None
    if ranges is not None:
        calibrate(source, ranges, str(data), 99.99)
    found = gather(source, str(data), ranges, to_json(quantization or Quantization(method="minmax")), scheme)
    through_json: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return through_json


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def pictures(count: int = 40) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(0, 1, (count, 1, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("calibrated", [False, True])
def test_one_huge_sample(tmp_path: Path, calibrated: bool) -> None:
    data = pictures(64)
    data[17] *= 1e4
    found = evidence(Plain(), data, tmp_path, calibrated=calibrated)
    (outlier,) = found["outliers"]
    assert (outlier["input"], outlier["places"], outlier["samples"], outlier["of"]) == ("image", [17], 1, 64)
    assert found["wasted"][0]["kind"] == "input"
    assert found["wasted"][0]["steps"] < 0.1
    said, hint = words.explain(found, "output 'output': dead: the same output for every input")
    assert "1 of 64 calibration samples (number 17) reaches 9.96e+03 in input 'image'" in said
    assert "stays within 0.99" in said
    assert hint.endswith("--calibration-method percentile:98")


def test_the_hint_about_a_huge_sample_is_true(tmp_path: Path) -> None:
    """A percentile that cuts it off leaves nothing to blame it for."""
    data = pictures(64)
    data[17] *= 1e4
    source = saved(Plain(), torch.from_numpy(data[0]), tmp_path)
    folder = feeds.write(tmp_path / "feeds", Feeds({"image": data}, None, "test data"))
    calibrate(source, str(tmp_path / "ranges.json"), str(folder), 98.0)
    found = gather(source, str(folder), str(tmp_path / "ranges.json"), to_json(Quantization("percentile:98")))
    assert found["wasted"] == []
    assert found["simulated_db"] > 15


def test_a_detection_head_of_mixed_ranges(tmp_path: Path) -> None:
    found = evidence(Head(), pictures(), tmp_path)
    (mixed,) = found["mixed"]
    assert mixed["is_output"]
    assert mixed["preset"]
    said, hint = words.explain(found, "output 'output': mixed ranges: along axis 1, slices 4-9 of 10 vary by …")
    assert said.startswith("One tensor with mixed ranges: concat puts 0 to ")
    assert "--exclude @detection-head" in hint
    normalized = evidence(Head(1.0), pictures(), tmp_path)
    assert normalized["mixed"] == []


def test_the_layer_that_8_bits_break(tmp_path: Path) -> None:
    found = evidence(Poisoned(), pictures(), tmp_path)
    assert found["first_collapse"]["path"] == "after"
    assert found["first_collapse"]["sqnr_after"] < 10 < found["first_collapse"]["sqnr_before"]
    assert found["simulated_db"] < 10
    said, hint = words.explain(found)
    assert said.startswith("The first layer that 8 bits break is after (conv): SQNR ")
    assert hint.startswith("--exclude ")
    rules = tuple(Rule(pattern) for pattern in hint.split()[1::2])
    kept = evidence(Poisoned(), pictures(), tmp_path, quantization=Quantization("minmax", rules=rules))
    assert kept["simulated_db"] > 20, "what the hint says works"


def test_a_mask_of_large_numbers(tmp_path: Path) -> None:
    data = np.random.default_rng(2).normal(0, 1, (40, 1, 6)).astype(np.float32)
    found = evidence(Filled(-1e5), data, tmp_path)
    (constant,) = found["huge_constants"]
    assert constant["value"] == "-1e+05"
    said, hint = words.explain(found)
    assert said.startswith("masked_fill brings in the constant -1e+05: ")
    assert "--exclude masked_fill" in hint
    assert evidence(Filled(-20.0), data, tmp_path)["huge_constants"] == []


@pytest.mark.parametrize("fill", [-1e9, torch.finfo(torch.float32).min, -float("inf")])
def test_a_mask_that_calibration_knows_as_one(tmp_path: Path, fill: float) -> None:
    data = np.random.default_rng(2).normal(0, 1, (40, 1, 6)).astype(np.float32)
    found = evidence(Masked(fill), data, tmp_path)
    assert found["huge_constants"] == found["not_finite"] == []
    assert found["simulated_db"] > 20
    assert found["first_collapse"] is None


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    data = pictures()
    data[3, 0, 0, 0, 0] = np.nan
    said, hint = words.explain(evidence(Plain(), data, tmp_path))
    assert said.startswith("Input 'image' holds values that are not finite")
    assert "NaN in the data" in hint


def test_depthwise_weights_with_one_scale(tmp_path: Path) -> None:
    found = evidence(Depthwise(), pictures(), tmp_path)
    (layer,) = found["depthwise"]
    assert (layer["path"], layer["lost"], layer["channels"]) == ("dw", 2, 3)
    assert "100 times the least" in words.explain(found, per_tensor=True)[0]
    assert "Depthwise" not in words.explain(found)[0], "edgekit's own files have a scale per channel"


def test_a_network_that_works_in_8_bits(tmp_path: Path) -> None:
    found = evidence(Plain(), pictures(), tmp_path)
    assert found["simulated_db"] > 20
    assert found["first_collapse"] is None
    assert not any(found[key] for key in ("outliers", "not_finite", "huge_constants", "wasted", "mixed", "depthwise"))
    said, hint = words.explain(found)
    assert "8 bits alone do not explain it" in said
    assert "another target" in hint


def test_other_schemes_are_not_blamed_on_8_bit_activations(tmp_path: Path) -> None:
    found = evidence(Poisoned(), pictures(), tmp_path, scheme="int8-dynamic")
    assert found["simulated_db"] is None
    assert words.explain(found) == ("", "")

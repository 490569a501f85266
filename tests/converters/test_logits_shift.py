"""Logits before a softmax, shifted: the arithmetic, and files of the three runtimes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.calibration import ranges as ranges_file
from converters.calibration import shift as shifts
from converters.calibration.ranges import Collector, Ranges
from converters.calibration.relevance import softmax_reach
from converters.calibration.shift import LinearLayer, Rows, Shift, fit
from edgekit import feeds
from edgekit.errors import ConversionError
from edgekit.types import Quantization, Rule, to_json

INPUTS, CLASSES = 12, 6
RNG = np.random.default_rng(7)
COMMON = RNG.uniform(0.5, 3, INPUTS).astype(np.float32)
"""What each input adds to all classes."""
WEIGHTS = RNG.normal(0, 1, (CLASSES, INPUTS)).astype(np.float32) + COMMON
BIAS = RNG.normal(3, 1, CLASSES).astype(np.float32)
LAYER = LinearLayer("z", "h", WEIGHTS, BIAS)


def rows(count: int, seed: int = 0) -> Any:
    return np.maximum(np.random.default_rng(seed).normal(0, 2, (count, INPUTS)), 0).astype(np.float32)


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def found_in(samples: Any, layer: LinearLayer = LAYER) -> Ranges:
    collector = Collector({"z": -1}, layers=[layer])
    for sample in samples:
        collector.add("h", sample[None])
        collector.add("z", sample[None] @ layer.weights.T + layer.bias)
    return collector.finish("form", len(samples), "here", 99.99)


def test_softmax_does_not_see_a_shift_and_the_range_does() -> None:
    found = found_in(rows(200))
    shift, shifted = found.shifted["z"].shift, found.chosen_shifted("minmax", ["z"])["z"]
    new = rows(500, 1).astype(np.float64)
    before = new @ WEIGHTS.T + BIAS
    after = new @ shift.weights(WEIGHTS).T + shift.bias(BIAS)
    np.testing.assert_allclose(softmax(after), softmax(before), atol=1e-5)
    assert shift.gain_db >= shifts.LEAST_GAIN_DB
    assert shifts.step(shifted) < 0.5 * shifts.step(found.chosen("minmax")["z"])
    # Samples that calibration has not seen fit in but for a few.
    assert (after.max(1) > shifted[1] + 0.5).mean() < 0.02


def test_tensors_keep_the_range_without_a_shift() -> None:
    samples = rows(200)
    found, plain = found_in(samples), samples @ WEIGHTS.T + BIAS
    assert found.chosen("minmax")["z"][1] == pytest.approx(plain.max())
    assert found.chosen_shifted("minmax", ["other"]) == {}


def test_sixteen_bits_keep_what_they_tell_apart() -> None:
    """A result of 16 bits holds classes that one of 8 bits rounds to zero."""
    layer = LinearLayer("z", "h", WEIGHTS * 4, BIAS)
    samples = rows(200)
    found = found_in(samples, layer)
    logits = samples @ layer.weights.T + layer.bias
    lifted = np.maximum(logits, logits.max(1, keepdims=True) - softmax_reach(CLASSES, 16))
    assert found.tensors["z"].wide == pytest.approx((min(0, lifted.min()), logits.max()), rel=1e-5)
    assert found.chosen("minmax", 16)["z"] == found.chosen("auto", 16)["z"] == found.tensors["z"].wide


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_what_is_out_of_reach_adds_up_to_half_a_step(bits: int, classes: int) -> None:
    assert classes * math.exp(-softmax_reach(classes, bits)) == pytest.approx(0.5 / 2**bits)


@pytest.mark.parametrize(
    ("layer", "samples"),
    [
        (LAYER, rows(shifts._LEAST_ROWS - 1)),
        (LAYER, np.full((100, INPUTS), np.inf, np.float32)),
        (LinearLayer("z", "h", WEIGHTS[:1], BIAS[:1]), rows(100)),  # softmax of one class is 1
        (LinearLayer("z", "h", np.zeros_like(WEIGHTS), BIAS * 0), rows(100)),  # nothing to gain
        (LinearLayer("z", "h", np.eye(CLASSES, INPUTS, dtype=np.float32), BIAS * 0), rows(100)),
    ],
    ids=["few rows", "infinite", "one class", "no logits", "no common part"],
)
def test_no_shift_where_none_pays(layer: LinearLayer, samples: Any) -> None:
    assert fit(layer, samples) is None


def test_a_fit_to_noise_is_not_taken() -> None:
    """With more inputs than rows the fit is perfect on what it has seen, and useless on the rest."""
    weights = RNG.normal(0, 1, (CLASSES, 400)).astype(np.float32)
    samples = RNG.normal(0, 1, (60, 400)).astype(np.float32)
    assert fit(LinearLayer("z", "h", weights, BIAS), samples) is None


def test_rows_are_kept_until_they_are_too_many() -> None:
    kept = Rows(INPUTS)
    kept.add(rows(5).reshape(1, 5, INPUTS))
    kept.add(rows(3))
    np.testing.assert_array_equal(kept.kept, np.concatenate([rows(5), rows(3)]))
    kept.add(np.zeros((shifts.ROWS, INPUTS), np.float32))
    kept.add(rows(3))
    assert kept.kept is None
    assert Rows(INPUTS).kept is None
    broad = Rows(shifts.VALUES)
    broad.add(np.zeros(shifts.VALUES // 1000))  # not a whole row
    assert broad.kept is None


def test_the_ranges_file_carries_it(tmp_path: Path) -> None:
    found = found_in(rows(100))
    ranges_file.write(tmp_path / "ranges.json", found)
    back = ranges_file.read(tmp_path / "ranges.json")
    assert list(back.shifted["z"].shift.direction) == list(found.shifted["z"].shift.direction)
    assert back.shifted["z"].shift.offset == found.shifted["z"].shift.offset
    for method in ("auto", "minmax", "mse"):
        assert tuple(back.chosen_shifted(method, ["z"])["z"]) == found.chosen_shifted(method, ["z"])["z"]


def test_a_shift_of_another_layer_is_refused() -> None:
    with pytest.raises(ConversionError, match="another model"):
        Shift([1.0, 2.0], 0.0, 9.0).weights(WEIGHTS)


# Files

torch = pytest.importorskip("torch", reason="needs the extra torch")


class Confident(torch.nn.Module):
    """A classifier whose logits all rise and fall together.

    Args:
        bias: Of the last layer: its own, ``"none"``, or ``"shared"`` with another layer that is returned.
    """

    def __init__(self, bias: str = "own") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body, self.head = torch.nn.Linear(8, INPUTS), torch.nn.Linear(INPUTS, CLASSES, bias=bias != "none")
        self.other = torch.nn.Linear(8, CLASSES) if bias == "shared" else None
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(WEIGHTS * 1.5))
            if bias != "none":
                self.head.bias.copy_(torch.from_numpy(BIAS))
        if self.other is not None:
            self.other.bias = self.head.bias

    def forward(self, x: Any) -> Any:
        scores = torch.softmax(self.head(torch.relu(self.body(x * 3))), -1)
        return scores if self.other is None else (scores, self.other(x))


CALIBRATION = np.random.default_rng(0).standard_normal((120, 1, 8), np.float32)
SAMPLES = np.random.default_rng(1).standard_normal((150, 1, 8), np.float32)


class Made:
    """A network as a program, and what becomes of it on one target."""

    def __init__(self, folder: Path, target: str, network: Any) -> None:
        from converters.torch_export import program as programs

        self.folder, self.target = folder, target
        example = (torch.from_numpy(CALIBRATION[0]),)
        with torch.no_grad():
            outputs = network.eval()(*example)
            flat = programs.flatten(torch.export.export(network, example), programs.leaves(outputs))
            results = [programs.leaves(network(torch.from_numpy(sample))) for sample in SAMPLES]
        self.reference = [np.stack([item[place].numpy() for item in results]) for place in range(len(results[0]))]
        programs.save(programs.export(flat.module, example), folder / "program.pt2")
        self.signature = to_json(flat.signature)
        name = flat.signature.inputs[0].name
        self.feeds = feeds.write(folder / "feeds", feeds.Feeds({name: CALIBRATION}, None, "tests"))
        self.source = str(folder / "program.pt2")
        self.module = pytest.importorskip(f"converters.{target}.quantize")
        calibrate = pytest.importorskip(f"converters.{_FORMS[target]}.calibrate").calibrate
        if target != "executorch":
            lower = pytest.importorskip(f"converters.{target}.lower").lower
            lower(self.source, str(folder / "float"), "float32", self.signature, None, {})
            self.source = str(folder / "float")
        calibrate(self.source, str(folder / "ranges.json"), str(self.feeds), 99.99)
        self.ranges = ranges_file.read(folder / "ranges.json")

    def quantize(self, scheme: str, *rules: Rule, shifted: bool = True) -> tuple[list[Any], list[str]]:
        """Outputs for the samples, and notes on shifts."""
        given, output = self.folder / "given.json", self.folder / "made"
        output.unlink(missing_ok=True)
        ranges_file.write(given, self.ranges if shifted else replace(self.ranges, shifted={}))
        settings = to_json(Quantization(rules=rules))
        result = self.module.quantize(self.source, str(output), scheme, self.signature, str(given), settings)
        notes = [note for note in result["notes"] if "shifted" in note]
        return _RUNS[self.target](output), notes

    def sqnr_db(self, outputs: list[Any]) -> list[float]:
        pairs = zip(self.reference, outputs, strict=True)
        return [float(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())) for wanted, got in pairs]


def _tflite(path: Path) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    results = [runner(**{name: sample}) for sample in SAMPLES]
    return [np.stack([item[key] for item in results]) for key in results[0]]


def _onnx(path: Path) -> list[Any]:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    results = [session.run(None, {session.get_inputs()[0].name: sample}) for sample in SAMPLES]
    return [np.stack(items) for items in zip(*results, strict=True)]


def _executorch(path: Path) -> list[Any]:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    results = [[item.numpy().copy() for item in method.execute([torch.from_numpy(sample)])] for sample in SAMPLES]
    return [np.stack(items) for items in zip(*results, strict=True)]


_RUNS: dict[str, Callable[[Path], list[Any]]] = {"tflite": _tflite, "onnx": _onnx, "executorch": _executorch}
_FORMS = {"tflite": "tflite", "onnx": "onnx", "executorch": "torch_export"}
_NEEDS = {"tflite": "litert_quantizer", "onnx": "onnxruntime", "executorch": "executorch"}


@pytest.mark.parametrize("bias", ["own", "none", "shared"])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_int8_gains(target: str, bias: str, tmp_path: Path) -> None:
    pytest.importorskip(_NEEDS[target])
    _gains(Made(tmp_path, target, Confident(bias)))


def test_int8_gains_on_executorch(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    _gains(Made(tmp_path, "executorch", Confident("shared")))


def _gains(made: Made) -> None:
    (name,) = made.ranges.shifted
    (plain, silent), (shifted, notes) = made.quantize("int8", shifted=False), made.quantize("int8")
    assert silent == []
    assert len(notes) == 1 and name in notes[0]
    before, after = made.sqnr_db(plain), made.sqnr_db(shifted)
    assert after[0] > before[0] + 3
    for other in range(1, len(after)):  # the layer with the same bias
        assert after[other] > 30 and after[other] == pytest.approx(before[other], abs=0.1)


@pytest.mark.parametrize(("scheme", "rules"), [("int16x8", ()), ("int8", (Rule("head"),))], ids=["16 bits", "float"])
@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_other_layers_are_left_alone(target: str, scheme: str, rules: tuple[Rule, ...], tmp_path: Path) -> None:
    pytest.importorskip(_NEEDS[target])
    made = Made(tmp_path, target, Confident())
    (plain, _), (shifted, notes) = made.quantize(scheme, *rules, shifted=False), made.quantize(scheme, *rules)
    assert notes == []
    assert np.array_equal(plain[0], shifted[0])
    assert made.ranges.shifted


def test_logits_with_other_readers_stay_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("litert_quantizer")

    class Returned(Confident):
        def forward(self, x: Any) -> Any:
            logits = self.head(torch.relu(self.body(x * 3)))
            return torch.softmax(logits, -1), logits

    for target in _RUNS:
        (tmp_path / target).mkdir()
        assert Made(tmp_path / target, target, Returned()).ranges.shifted == {}

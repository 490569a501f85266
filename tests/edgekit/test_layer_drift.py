"""Files with a fault planted in their bytes: the layer is named, in three formats. And how that is shown."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgekit import registry
from edgekit.drift_types import FileDrift, LayerDrift, LayersResult, Verdict
from edgekit.errors import MeasurementError, UnsupportedError
from edgekit.feeds import Feeds
from edgekit.jobs import Workers
from edgekit.layers import MOST_SAMPLES, layers
from edgekit.report import layers_plot, layers_table
from edgekit.types import Report
from profiles.layers.finding import COLLAPSE_DB

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")

MODELS = Path(__file__).parent.parent / "models"
RUNTIMES = {".tflite": "ai_edge_litert", ".onnx": "onnxruntime", ".pte": "executorch"}
SUFFIXES = [pytest.param(suffix, id=suffix[1:]) for suffix in RUNTIMES]

Change = Callable[[np.ndarray], np.ndarray]
Look = Callable[..., LayersResult]


def weights_of(name: str) -> dict[str, np.ndarray]:
    """The weights of one of the float networks, as its ONNX file has them; the others hold the same numbers."""
    graph = onnx.load(MODELS / f"{name}_float32.onnx").graph
    return {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}


def planted(content: bytes, weight: np.ndarray, change: Change) -> bytes:
    """A file with one of its weights changed, in whatever order of axes the format stores it."""
    orders = [(0, 1, 2, 3), (0, 2, 3, 1), (1, 2, 3, 0)] if weight.ndim == 4 else [tuple(range(weight.ndim))]
    for order in orders:
        old = np.ascontiguousarray(weight.transpose(order)).tobytes()
        if content.count(old) == 1:
            return content.replace(old, np.ascontiguousarray(change(weight).astype("f4").transpose(order)).tobytes())
    raise AssertionError("the weight is not in the file")


def images(count: int = 8, shape: tuple[int, ...] = (1, 3, 16, 16)) -> Feeds:
    return Feeds({"image": np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)})


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One for all: what it has imported stays imported."""
    with Workers(tmp_path_factory.mktemp("scratch")) as shared:
        yield shared


@pytest.fixture
def look(workers: Workers) -> Look:
    """Compares two files; nothing of that may be left in the scratch folder."""

    def compared(file: Path, float_file: Path, samples: Feeds | None = None, **others: Any) -> LayersResult:
        scratch, (target, _) = workers.scratch, registry.identify(file)
        try:
            return layers(file, float_file, target, samples or images(), workers=workers, scratch=scratch, **others)
        finally:
            assert not list(scratch.glob("layers-*"))

    return compared


def needs(suffix: str) -> None:
    pytest.importorskip(RUNTIMES[suffix], reason=f"runs {suffix} files")


def named(found: LayersResult) -> LayerDrift:
    assert found.first is not None, found.words
    return next(layer for layer in found.layers if layer.index == found.first)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_times_eight(suffix: str, tmp_path: Path, look: Look) -> None:
    needs(suffix)
    healthy = MODELS / f"work_cnn_float32{suffix}"
    faulty = tmp_path / f"faulty{suffix}"
    faulty.write_bytes(planted(healthy.read_bytes(), weights_of("work_cnn")["p_second_weight"], lambda w: w * 8))
    found = look(faulty, healthy)
    layer = named(found)
    assert 16 in layer.shape  # the only one with so many channels
    assert 4 in layer.shape
    assert "conv" in layer.operator.lower()
    assert layer.lost_db > 60
    assert found.worst[0] == found.first
    assert all(item.sqnr_db is None for item in found.layers if item.index < layer.index)
    if layer.module:
        assert "second" in layer.module


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_last_bias_dropped(suffix: str, tmp_path: Path, look: Look) -> None:
    needs(suffix)
    healthy = MODELS / f"work_cnn_float32{suffix}"
    faulty = tmp_path / f"faulty{suffix}"
    faulty.write_bytes(planted(healthy.read_bytes(), weights_of("work_cnn")["p_linear_bias"], lambda b: b * 0))
    found = look(faulty, healthy)
    layer = named(found)
    assert layer.shape == (1, 10)
    assert layer.lost_db > COLLAPSE_DB
    assert all(item.sqnr_db is None for item in found.layers if item.index < layer.index)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_depthwise_layer_with_one_scale_for_all_channels(suffix: str, tmp_path: Path, look: Look) -> None:
    """The healthy network has one channel with weights 64 times as large; rounding to its scale loses the others."""
    needs(suffix)
    weight = weights_of("work_depthwise")["p_layers_6_weight"]
    wide = weight.copy()
    wide[0] *= 64
    step = abs(wide).max() / 127
    content = (MODELS / f"work_depthwise_float32{suffix}").read_bytes()
    healthy, faulty = tmp_path / f"healthy{suffix}", tmp_path / f"faulty{suffix}"
    healthy.write_bytes(planted(content, weight, lambda _: wide))
    faulty.write_bytes(planted(content, weight, lambda _: np.rint(wide / step) * step))
    layer = named(look(faulty, healthy))
    assert 16 in layer.shape
    assert 4 in layer.shape  # the first depthwise layer is 8x8 of 8, the layer before 8x8 of 16
    assert "conv" in layer.operator.lower() or "clip" in layer.operator.lower()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["work_cnn", "work_depthwise"])
def test_int8_files_without_a_fault(name: str, suffix: str, look: Look) -> None:
    needs(suffix)
    found = look(MODELS / f"{name}_int8{suffix}", MODELS / f"{name}_float32{suffix}", scheme="int8")
    assert found.first is None, found.words
    assert len(found.layers) >= 5
    assert all(layer.exclude for layer in found.layers if "onv" in layer.operator and "ert" not in layer.operator)


def test_a_file_against_itself(look: Look) -> None:
    needs(".onnx")
    file = MODELS / "work_cnn_float32.onnx"
    found = look(file, file)
    assert found.first is None
    assert found.worst == ()
    assert found.words == "No layer drifts: all that could be compared are identical."


def test_a_few_of_many_samples(look: Look) -> None:
    needs(".onnx")
    found = look(MODELS / "work_cnn_int8.onnx", MODELS / "work_cnn_float32.onnx", images(50))
    assert found.samples == MOST_SAMPLES
    assert "Layers: compared on 16 of the 50 samples, evenly spread." in found.notes


def test_groups_of_samples_give_the_same_figures(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(".onnx")
    files = (MODELS / "work_cnn_int8.onnx", MODELS / "work_cnn_float32.onnx")
    at_once = look(*files)
    monkeypatch.setattr("edgekit.layers._GROUP_BYTES", 1)
    one_by_one = look(*files)
    for layer, other in zip(at_once.layers, one_by_one.layers, strict=True):
        assert layer.sqnr_db == pytest.approx(other.sqnr_db)


def test_another_network_is_refused(look: Look, tmp_path: Path) -> None:
    needs(".onnx")
    node = onnx.helper.make_node("Softmax", ["image"], ["scores"], name="softmax")
    image, scores = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 16, 16]) for name in ("image", "scores")
    )
    graph = onnx.helper.make_graph([node], "other", [image], [scores])
    other = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), other)
    with pytest.raises(MeasurementError, match="has a counterpart in"):
        look(other, MODELS / "work_cnn_float32.onnx")


def test_a_format_without_a_tap(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "taps", dict)
    with pytest.raises(UnsupportedError, match="cannot look into ONNX files"):
        look(MODELS / "work_cnn_int8.onnx", MODELS / "work_cnn_float32.onnx")


def result() -> LayersResult:
    """Four layers, of which the third collapses."""
    one = LayerDrift(0, "Conv", "stem", "a", "a", "name", (1, 4), 40.0, 0.0, -1.0, 1.0, -1.0, 1.0, exclude="stem")
    four = (
        one,
        replace(one, index=1, module="$m$_1", sqnr_db=None, reference_low=None, reference_high=None),
        replace(one, index=2, module="broken", sqnr_db=3.0, lost_db=37.0, exclude="broken", finding="dead: …"),
        replace(one, index=3, module="head", sqnr_db=2.0, lost_db=1.0),
    )
    return LayersResult(
        "float.onnx", 16, four, 2, (2, 3), None, "Drift begins at Conv broken.", ("x", "y"), ("A note.",)
    )


def test_what_is_printed_fits_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    layers_table.show(result(), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    lines = text.splitlines()
    bars, mark = lines[1], lines[2]
    assert bars.endswith("▆█▁▁")
    assert mark.index("^") == bars.index("▁")
    assert "Conv broken: dead: …" in lines
    assert "2 of its tensors have no counterpart in the float file: x, y" in lines
    assert "A note." in lines
    assert text.index("Conv broken") < text.index("Conv head")


def test_many_layers_share_columns_and_the_lowest_shows() -> None:
    few = result()
    many = [replace(few.layers[0], index=place) for place in range(300)]
    many[150] = replace(many[150], sqnr_db=1.0)
    (bars,) = layers_table.depth(replace(few, layers=tuple(many), first=None))
    assert len(bars) <= 80
    assert bars.count("▁") == 1


def drift_of(name: str) -> FileDrift:
    return FileDrift(name, "onnx", "int8", "", (), Verdict("none", ()), layers=result())


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra metrics")
    place = tmp_path / "depth.svg"
    layers_plot.draw(result(), "cost_$5$.onnx", place)
    text = place.read_text()
    assert "<svg" in text
    for word in ("cost_$5$.onnx", "$m$_1", "drift begins: broken", "SQNR (dB)", "identical"):
        assert word in text
    layers_plot.draw(result(), "cost_$5$.onnx", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text


def test_plots_of_several_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra metrics")
    report = Report(command="edgekit drift", source="", drifts=(drift_of("a/one.onnx"), drift_of("b/two.onnx")))
    written = layers_plot.draw_all(report, tmp_path / "depth.svg")
    assert [path.name for path in written] == ["depth-one.onnx.svg", "depth-two.onnx.svg"]
    assert all(path.exists() for path in written)

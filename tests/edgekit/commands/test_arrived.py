"""Models that come in a target's own format, float or quantized already, through the whole command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check, left

pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
pytest.importorskip("litert_quantizer", reason="needs the extra tflite")
onnx = pytest.importorskip("onnx", reason="needs the extra onnx")

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from tflite_files import Builder  # noqa: E402 - found through the line above

SIZES = (16, 32, 24, 10)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network of three dense layers as a TFLite file, without a signature and with an open batch, and as ONNX."""
    folder = tmp_path_factory.mktemp("arrived")
    generator = np.random.default_rng(11)
    shapes = list(zip(SIZES[1:], SIZES[:-1], strict=True))
    weights = [generator.standard_normal(shape).astype(np.float32) / 3 for shape in shapes]
    biases = [generator.standard_normal(shape[0]).astype(np.float32) / 5 for shape in shapes]
    file = Builder()
    tensors = [file.tensor("features", [-1, SIZES[0]])]
    tensors += [file.tensor(f"net/dense_{place}/BiasAdd", [-1, size]) for place, size in enumerate(SIZES[1:])]
    nodes = []
    for place, (kernel, bias) in enumerate(zip(weights, biases, strict=True)):
        file.dense(tensors[place], tensors[place + 1], kernel, bias, relu=place < 2)
        gemm = [f"h{place}" if place else "features", f"w{place}", f"b{place}"]
        nodes.append(onnx.helper.make_node("Gemm", gemm, [f"g{place}"], f"dense_{place}", transB=1))
        after = "Relu" if place < 2 else "Identity"
        nodes.append(onnx.helper.make_node(after, [f"g{place}"], [f"h{place + 1}"], f"act_{place}"))
    nodes[-1].output[0] = "scores"
    file.write(folder / "net.tflite", tensors[:1], tensors[-1:])
    stored = [onnx.numpy_helper.from_array(item, f"{word}{place}") for word, group in (("w", weights), ("b", biases))
              for place, item in enumerate(group)]  # fmt: skip
    sides = [onnx.helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in
             (("features", SIZES[0]), ("scores", SIZES[-1]))]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "net", sides[:1], sides[1:], stored)
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "net.onnx")
    np.savez(folder / "data.npz", features=generator.standard_normal((60, SIZES[0])).astype(np.float32))
    return folder


@pytest.fixture(autouse=True)
def linked(models: Path, here: Path) -> None:
    for name in ("net.tflite", "net.onnx", "data.npz"):
        (here / name).symlink_to(models / name)


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_every_scheme_of_its_own_format(target: str, run: Run) -> None:
    flags = ("--fp16", "--int8-dynamic", "--int8-weights", "--int4-weights", "--int16x8", "--int8")
    done = run(f"net.{target}", *flags, "--data", "data.npz", "--json", to=target)
    assert done.code == 0, done.err
    made = json.loads(done.out)["artifacts"]
    assert [item["scheme"] for item in made] == [
        "float16", "int8-dynamic", "int8-weights", "int4-weights", "int16x8", "int8"
    ]  # fmt: skip
    for item in made:
        assert item["verification"]["status"] == "passed"
        assert [spec["shape"] for spec in item["signature"]["inputs"]] == [[1, 16]]
        assert item["verification"]["inputs"] == "12 held-out samples of 60 samples of data.npz"
        assert any("fixed: features: float32[1,16]" in note for note in item["notes"])


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_a_quantized_file_is_recognised(target: str, run: Run, here: Path) -> None:
    assert run(f"net.{target}", "--int8", "--data", "data.npz", to=target, output=f"arrived.{target}").code == 0
    said = "in int8 already: nothing is to be converted"
    check(run(f"arrived.{target}", to=target), 4, said, "edgekit profile FILE")
    check(run(f"arrived.{target}", "--int8", "--data", "data.npz", to=target), 4, said)
    # No word about data: it is not needed for what the model is in already.
    assert "without --data" not in run(f"arrived.{target}", "--int8", to=target).err
    said = "arrived in int8; "
    check(
        run(f"arrived.{target}", "--fp16", to=target), 4, said, "files in float16 come from float models", "Convert the"
    )
    assert left(Path("out")) == []


def test_layers_stay_float_by_the_names_of_the_keras_model(run: Run) -> None:
    done = run("net.tflite", "--int8", "--data", "data.npz", "--exclude", "dense_1", "--json", to="tflite")
    assert done.code == 0, done.err
    (made,) = json.loads(done.out)["artifacts"]
    assert [item["name"] for item in made["stayed_float"] if item["operator"] == "FULLY_CONNECTED"] == [
        "net/dense_1/BiasAdd"
    ]


def test_layers_stay_float_in_onnx_files(run: Run) -> None:
    done = run("net.onnx", "--int8", "--data", "data.npz", "--exclude", "dense_1", "--json")
    assert done.code == 0, done.err
    (made,) = json.loads(done.out)["artifacts"]
    assert [item["name"] for item in made["stayed_float"] if item["operator"] == "Gemm"] == ["dense_1"]


def test_ranges_of_one_file_serve_its_next_command(run: Run) -> None:
    arguments = ("net.onnx", "--int8", "--data", "data.npz", "--calibration-samples", "30", "--force", "--json")
    for method, reused in (("auto", False), ("minmax", True)):
        done = run(*arguments, "--calibration-method", method)
        (made,) = json.loads(done.out)["artifacts"]
        assert made["calibration"]["reused"] is reused


def test_a_quantized_file_keeps_its_scheme_in_another_format(run: Run) -> None:
    """Nothing is asked for but the format; its 8 bits are compared as the floats that they stand for."""
    pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
    arguments = ("net.tflite", "--int8", "--io", "int8", "--data", "data.npz")
    assert run(*arguments, to="tflite", output="arrived.tflite").code == 0
    done = run("arrived.tflite", "--data", "data.npz", "--json", to="onnx")
    assert done.code == 0, done.err
    (made,) = json.loads(done.out)["artifacts"]
    assert (made["scheme"], made["calibration"]) == ("int8", None)
    assert made["verification"]["outputs"][0]["top1_agreement"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "target", "code", "said"),
    [
        (["net.onnx"], "onnx", 4, ["ONNX in float32 already"]),
        (["net.onnx", "--signature", "x"], "onnx", 2, ["--signature does not go with a ONNX model", "TFLite"]),
        (["net.tflite", "--fp16", "--signature", "x"], "tflite", 2, ["net.tflite has no signatures"]),
        (["net.tflite", "--fp16", "--input", "features=1,17"], "tflite", 2, ["takes features: float32[?,16]"]),
        (["net.onnx", "--fp16", "--input", "pixels=1,16"], "onnx", 2, ["--input pixels", "features: float32[?,16]"]),
        (["net.onnx", "--int16x8"], "onnx", 2, ["takes its ranges from data"]),
        (["net.onnx", "--fp16", "--data", "wide.npz"], "onnx", 2, ["expected shape [N,16]", "found [9, 17]"]),
        (["net.tflite", "--fp16", "--data", "pixels.npz"], "tflite", 2, ["expected float32", "found uint8"]),
        (["cut.tflite", "--fp16"], "tflite", 5, ["cut.tflite: this TFLite file is truncated"]),
        (["cut.onnx", "--fp16"], "onnx", 5, ["cut.onnx: the ONNX file is truncated"]),
        (["net.tflite", "--int8", "--data", "data.npz", "--exclude", "dens_1"], "tflite", 2, ["no layer", "dense_1"]),
    ],
)
def test_what_cannot_be_done(
    arguments: list[str], target: str, code: int, said: list[str], run: Run, here: Path
) -> None:
    for suffix in ("tflite", "onnx"):
        content = (here / f"net.{suffix}").read_bytes()
        (here / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
    np.savez("wide.npz", features=np.ones((9, 17), np.float32))
    np.savez("pixels.npz", features=np.ones((9, 16), np.uint8))
    check(run(*arguments, to=target), code, *said)

"""Hugging Face folders through the whole command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conversion import Run, check

pytest.importorskip("transformers", reason="needs the extra huggingface")
pytest.importorskip("PIL", reason="needs the extra huggingface")

sys.path.append(str(Path(__file__).parents[2] / "converters"))
from huggingface_folders import Folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="module")
def shallow(folders: Folders) -> Path:
    """A classifier of one layer, which is converted in half the time."""
    return Path(folders.module.distilbert(folders.place / "shallow", layers=1))


def sqnr(out: str) -> dict[str, tuple[str, float]]:
    artifacts = json.loads(out)["artifacts"]
    return {
        item["scheme"]: (item["verification"]["inputs"], min(o["sqnr_db"] for o in item["verification"]["outputs"]))
        for item in artifacts
    }


def test_a_sentence_embedding_on_onnx(run: Run, folders: Folders) -> None:
    """Its output is called like an operator inside, which torch.onnx mixes up."""
    done = run(str(folders["minilm"]), "--json")
    assert done.code == 0, done.err
    (inputs, found) = sqnr(done.out)["float32"]
    assert inputs == "8 sentences, tokenized by the folder's tokenizer"
    assert found >= 80
    artifact = json.loads(done.out)["artifacts"][0]
    assert [item["name"] for item in artifact["signature"]["inputs"]] == [
        "input_ids", "attention_mask", "token_type_ids"
    ]  # fmt: skip
    assert [item["name"] for item in artifact["signature"]["outputs"]] == ["embedding"]
    assert any("mean pooling, normalized" in note for note in artifact["notes"])


@pytest.mark.parametrize(
    ("target", "package"), [("tflite", "litert_torch"), ("onnx", "onnx"), ("executorch", "executorch")]
)
def test_a_classifier_in_float_and_int8(run: Run, shallow: Path, here: Path, target: str, package: str) -> None:
    """Padding is masked with -3.4e38: with that number in their ranges, the scores would not have one step left."""
    pytest.importorskip(package, reason=f"needs the extra {target}")
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 150, (48, 32))
    mask = (np.arange(32) < rng.integers(6, 33, (48, 1))).astype(np.int64)
    np.savez(here / "data.npz", input_ids=ids * mask, attention_mask=mask)
    arguments = (
        str(shallow),
        "--quant",
        "float32",
        "--int8",
        "--data",
        "data.npz",
        "--json",
        "--calibration-samples",
    )
    done = run(*arguments, "32", to=target)
    assert done.code == 0, done.err
    found = sqnr(done.out)
    assert found["float32"][1] >= 80
    assert found["int8"][1] >= 22


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--task", "summarization"), 2, "--task summarization: edgekit knows no such task."),
        (("--task", "fill-mask"), 2, "which has no such head"),
        (("--input", "input_ids=1,4000"), 2, "sequences of 4000 tokens are too long: the model has 128 positions."),
        (("--input", "ids=1,64"), 2, "--input ids=…"),
        (("--signature", "x"), 2, "--signature does not go with a Hugging Face model."),
    ],
)
def test_wrong_options(run: Run, folders: Folders, arguments: tuple[str, ...], code: int, said: str) -> None:
    check(run(str(folders["bert"]), *arguments), code, said)


def test_text_generation(run: Run, folders: Folders) -> None:
    check(run(str(folders["gpt2"])), 4, "GPT2LMHeadModel writes text token by token", "--task feature-extraction")


def test_code_in_the_folder(run: Run, folders: Folders, here: Path) -> None:
    folder = folders.copy("bert", here)
    (folder / "modeling_own.py").write_text("raise SystemExit(3)")
    check(run("bert"), 9, "bert: the folder brings code of its own (modeling_own.py)", "--trust")


def test_cut_weights(run: Run, folders: Folders, here: Path) -> None:
    weights = folders.copy("bert", here) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    check(run("bert"), 5, "bert/model.safetensors: not a complete safetensors file")


def test_weights_missing(run: Run, folders: Folders, here: Path) -> None:
    (folders.copy("bert", here) / "model.safetensors").unlink()
    check(run("bert"), 5, "bert: no weights: neither model.safetensors nor pytorch_model.bin")


def test_data_without_the_mask(run: Run, folders: Folders, here: Path) -> None:
    np.savez(here / "data.npz", input_ids=np.ones((4, 16), np.int64))
    check(run(str(folders["distilbert"]), "--data", "data.npz"), 2, "attention_mask")

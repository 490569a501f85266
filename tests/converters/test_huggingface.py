"""Hugging Face folders to programs: what goes in and comes out, and that it is what transformers computes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_folders import Folders

from edgekit import feeds
from edgekit.errors import ConversionError, UnsupportedError, UntrustedError, UsageError
from edgekit.requests import Loaded, LoadRequest
from edgekit.types import Signature, from_json

torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")
pytest.importorskip("PIL", reason="needs the extra huggingface")

from converters.huggingface import inspect as inspecting  # noqa: E402
from converters.huggingface.loading import load_and_run, opened  # noqa: E402
from converters.torch_export import program as programs  # noqa: E402
from edgekit.data import Dataset  # noqa: E402
from edgekit.types import to_json  # noqa: E402


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("folders"))


def loaded(folder: Path, into: Path, **asked: Any) -> Loaded:
    into.mkdir(exist_ok=True)
    return load_and_run(LoadRequest(path=str(folder), into=str(into), **asked))


def names_of(result: Loaded) -> tuple[list[str], list[str]]:
    signature = from_json(Signature, result["signature"])
    return [str(spec) for spec in signature.inputs], [str(spec) for spec in signature.outputs]


TEXT_INPUTS = ["input_ids: int64[1,128]", "attention_mask: int64[1,128]", "token_type_ids: int64[1,128]"]


@pytest.mark.parametrize(
    ("name", "task", "inputs", "outputs", "origin"),
    [
        ("bert", None, TEXT_INPUTS, ["logits: float32[1,3]"], "8 sentences, tokenized"),
        ("distilbert", None, TEXT_INPUTS[:2], ["logits: float32[1,3]"], "8 sentences, tokenized"),
        ("minilm", None, [item.replace("128", "64") for item in TEXT_INPUTS], ["embedding: float32[1,64]"], "8 sent"),
        ("tokens", None, TEXT_INPUTS, ["logits: float32[1,128,3]"], "8 sentences, tokenized"),
        ("mask", "feature-extraction", TEXT_INPUTS, ["last_hidden_state: float32[1,128,64]"], "8 sentences"),
        (
            "answers",
            None,
            TEXT_INPUTS,
            ["start_logits: float32[1,128]", "end_logits: float32[1,128]"],
            "8 sentences, tokenized",
        ),
        ("vit", None, ["pixel_values: float32[1,3,32,32]"], ["logits: float32[1,5]"], "8 generated pictures"),
        (
            "vit",
            "image-feature-extraction",
            ["pixel_values: float32[1,3,32,32]"],
            ["last_hidden_state: float32[1,17,64]"],
            "8 generated pictures",
        ),
        (
            "whisper",
            None,
            ["input_features: float32[1,80,100]"],
            ["last_hidden_state: float32[1,50,64]"],
            "8 generated sounds",
        ),
        (
            "clip",
            "image-embedding",
            ["pixel_values: float32[1,3,32,32]"],
            ["embedding: float32[1,32]"],
            "8 generated pictures",
        ),
        (
            "clip",
            "text-embedding",
            ["input_ids: int64[1,32]", "attention_mask: int64[1,32]"],
            ["embedding: float32[1,32]"],
            "8 sentences, tokenized",
        ),
        (
            "gpt2",
            "feature-extraction",
            ["input_ids: int64[1,64]", "attention_mask: int64[1,64]"],
            ["last_hidden_state: float32[1,64,64]"],
            "8 sentences, tokenized",
        ),
    ],
)
def test_what_goes_in_and_comes_out(
    folders: Folders, tmp_path: Path, name: str, task: str | None, inputs: list[str], outputs: list[str], origin: str
) -> None:
    result = loaded(folders[name], tmp_path / "into", task=task)
    assert names_of(result) == (inputs, outputs)
    given, reference = feeds.read(tmp_path / "into" / "feeds"), feeds.read(tmp_path / "into" / "reference")
    assert given.origin.startswith(origin)
    program = programs.load(result["program"]).module(check_guards=False)
    for place, sample in enumerate(given.samples()):
        with torch.no_grad():
            computed = program(*(torch.from_numpy(array) for array in sample.values()))
        for array, own in zip(computed, reference.arrays.values(), strict=True):
            np.testing.assert_allclose(array.numpy(), own[place], atol=1e-4)
    for array in reference.arrays.values():  # nothing is proven on outputs that do not vary
        assert array.std(0).max() > 0.01


def test_embeddings_are_those_of_sentence_transformers(folders: Folders, tmp_path: Path) -> None:
    """Mean over the tokens that are no padding, then length 1; worked out here from the states."""
    loaded(folders["minilm"], tmp_path / "into")
    given, reference = feeds.read(tmp_path / "into" / "feeds"), feeds.read(tmp_path / "into" / "reference")
    model = transformers.BertModel.from_pretrained(folders["minilm"]).eval()
    for place, sample in enumerate(given.samples()):
        real = int(sample["attention_mask"].sum())
        assert 0 < real < 64  # padded
        with torch.no_grad():
            short = {name: torch.from_numpy(array[:, :real]) for name, array in sample.items()}
            mean = model(**short).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(reference.arrays["embedding"][place][0], mean / np.linalg.norm(mean), atol=1e-5)


def test_logits_are_those_of_transformers(folders: Folders, tmp_path: Path) -> None:
    loaded(folders["bert"], tmp_path / "into", inputs=("input_ids=1,32",))
    given, reference = feeds.read(tmp_path / "into" / "feeds"), feeds.read(tmp_path / "into" / "reference")
    model = transformers.BertForSequenceClassification.from_pretrained(folders["bert"]).eval()
    for place, sample in enumerate(given.samples()):
        with torch.no_grad():
            own = model(**{name: torch.from_numpy(array) for name, array in sample.items()}).logits.numpy()
        np.testing.assert_allclose(reference.arrays["logits"][place], own, atol=1e-5)


def test_sizes_of_the_data(folders: Folders, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (5, 24)) for name in ("input_ids", "attention_mask", "token_type_ids")}
    data = Dataset("data.npz", arrays).save(tmp_path / "data")
    result = loaded(folders["bert"], tmp_path / "into", data=str(data))
    assert names_of(result)[0][0] == "input_ids: int64[1,24]"
    assert feeds.read(tmp_path / "into" / "feeds").count == 5


def test_random_calibration_is_of_sentences_too(folders: Folders, tmp_path: Path) -> None:
    loaded(folders["distilbert"], tmp_path / "into", random_calibration=40)
    calibration = feeds.read(tmp_path / "into" / "calibration")
    assert calibration.origin.startswith("40 sentences")
    assert len({array.tobytes() for array in calibration.arrays["input_ids"]}) == 40


def test_without_a_tokenizer_ids_are_random_and_the_notes_say_so(folders: Folders, tmp_path: Path) -> None:
    folder = folders.copy("distilbert", tmp_path)
    (folder / "tokenizer.json").unlink()
    result = loaded(folder, tmp_path / "into")
    assert any("no tokenizer" in note for note in result["notes"])
    given = feeds.read(tmp_path / "into" / "feeds")
    assert given.origin.startswith("8 random samples")
    assert given.arrays["input_ids"].max() > 100  # of 154 words


def test_half_precision_is_widened(folders: Folders, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(folders["minilm"], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    result = loaded(tmp_path / "half", tmp_path / "into")
    assert "Its weights are stored as bfloat16 and were widened to float32." in result["notes"]
    assert names_of(result)[1] == ["last_hidden_state: float32[1,128,64]"]


def test_weights_in_several_files(folders: Folders, tmp_path: Path) -> None:
    model = transformers.BertForSequenceClassification.from_pretrained(folders["bert"])
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    tokens = {name: np.arange(64).reshape(4, 16) % 2 for name in ("input_ids", "attention_mask", "token_type_ids")}
    data = str(Dataset("data.npz", tokens).save(tmp_path / "data"))
    for name, folder in (("many", tmp_path / "shards"), ("one", folders["bert"])):
        loaded(folder, tmp_path / name, data=data)
    np.testing.assert_array_equal(
        *(feeds.read(tmp_path / name / "reference").arrays["logits"] for name in ("many", "one"))
    )


def test_positions_of_roberta_begin_behind_that_of_padding(folders: Folders, tmp_path: Path) -> None:
    config = transformers.RobertaConfig(
        vocab_size=154, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, type_vocab_size=1,
    )  # fmt: skip
    model = transformers.RobertaForTokenClassification(config)
    folder = folders.module.write(tmp_path / "roberta", model, folders.module.tokenizer())
    assert names_of(loaded(folder, tmp_path / "into"))[0] == ["input_ids: int64[1,64]", "attention_mask: int64[1,64]"]
    error = refused(folder, tmp_path, UsageError, "the model has 64 positions", inputs=("input_ids=1,65",))
    assert error.hint == "--input input_ids=1,64"


def test_inspect(folders: Folders) -> None:
    facts = inspecting.inspect(to_json(LoadRequest(path=str(folders["bert"]))))
    assert facts["format"] == "Hugging Face"
    assert facts["metadata"]["model_type"] == "bert"
    assert facts["metadata"]["task"] == "text-classification"
    assert facts["metadata"]["tokenizer"] == "BertTokenizer, 154 tokens, at most 128 in a sequence"
    assert facts["metadata"]["labels"] == "LABEL_0, LABEL_1, LABEL_2"
    assert any(layer["path"] == "bert.encoder.layer.0.attention.self.query" for layer in facts["layers"])


# Refused


def refused(folder: Path, tmp_path: Path, error: type[Exception], said: str, **asked: Any) -> Any:
    with pytest.raises(error, match=said) as caught:
        loaded(folder, tmp_path / "into", **asked)
    return caught.value


def edited(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_weights_of_another_shape(folders: Folders, tmp_path: Path) -> None:
    folder = edited(folders.copy("bert", tmp_path), intermediate_size=96)
    refused(folder, tmp_path, ConversionError, r"of another shape: bert\.encoder\.layer\.0\.intermediate\.dense\.bias")


def test_weights_that_are_not_there(folders: Folders, tmp_path: Path) -> None:
    folder = edited(folders.copy("bert", tmp_path), num_hidden_layers=3)
    refused(folder, tmp_path, ConversionError, r"missing from the files: bert\.encoder\.layer\.2\.")


def test_weights_that_the_network_does_not_know(folders: Folders, tmp_path: Path) -> None:
    folder = edited(folders.copy("bert", tmp_path), num_hidden_layers=1)
    refused(folder, tmp_path, ConversionError, r"unknown to the network: bert\.encoder\.layer\.1\.")


def test_a_pooler_that_no_output_needs_may_be_missing(folders: Folders, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(folders["minilm"], add_pooling_layer=False)
    model.save_pretrained(tmp_path / "headless")
    assert names_of(loaded(tmp_path / "headless", tmp_path / "into"))[1] == ["last_hidden_state: float32[1,128,64]"]


def test_a_model_type_of_the_future(folders: Folders, tmp_path: Path) -> None:
    folder = edited(folders.copy("bert", tmp_path), model_type="bert9000")
    error = refused(folder, tmp_path, UnsupportedError, "knows no model type 'bert9000'")
    assert "--upgrade transformers" in error.hint


def test_an_architecture_of_the_future(folders: Folders, tmp_path: Path) -> None:
    folder = edited(folders.copy("bert", tmp_path), architectures=["BertForMindReading"])
    refused(folder, tmp_path, UnsupportedError, "has no architecture BertForMindReading")


def test_two_towers_need_a_task(folders: Folders, tmp_path: Path) -> None:
    error = refused(folders["clip"], tmp_path, UsageError, "an encoder for text and one for images")
    assert "--task text-embedding" in error.hint


def test_a_task_of_another_modality(folders: Folders, tmp_path: Path) -> None:
    error = refused(folders["vit"], tmp_path, UsageError, "is about text", task="feature-extraction")
    assert error.hint == "--task image-feature-extraction"


def test_text_generation(folders: Folders, tmp_path: Path) -> None:
    error = refused(folders["gpt2"], tmp_path, UnsupportedError, "GPT2LMHeadModel writes text token by token")
    assert "--task feature-extraction" in error.hint


def test_too_many_tokens(folders: Folders, tmp_path: Path) -> None:
    asked = {"inputs": ("input_ids=1,200",)}
    error = refused(folders["bert"], tmp_path, UsageError, "sequences of 200 tokens are too long", **asked)
    assert error.hint == "--input input_ids=1,128"


def test_lengths_that_differ(folders: Folders, tmp_path: Path) -> None:
    asked = {"inputs": ("input_ids=1,20", "attention_mask=1,30")}
    refused(folders["bert"], tmp_path, UsageError, "all inputs of .* have the same length", **asked)


def test_a_damaged_tokenizer(folders: Folders, tmp_path: Path) -> None:
    folder = folders.copy("bert", tmp_path)
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    error = refused(folder, tmp_path, ConversionError, "its tokenizer or processor fails")
    assert "--data FILE" in error.hint


# Code

CODE = """\
from pathlib import Path

from transformers import BertConfig, BertForSequenceClassification

Path({mark!r}).touch()


class OwnConfig(BertConfig):
    model_type = "own"


class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        found.logits = found.logits * 2
        return found
"""


@contextmanager
def own_code(folder: Path, mark: Path) -> Iterator[Path]:
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnForSequenceClassification"}
    edited(folder, model_type="own", architectures=["OwnForSequenceClassification"], auto_map=auto)
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    yield folder


def test_code_runs_with_trust_alone(folders: Folders, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with own_code(folders.copy("bert", tmp_path), mark) as folder:
        error = refused(folder, tmp_path, UntrustedError, "brings code of its own")
        assert "--trust" in error.hint
        assert not mark.exists()
        result = loaded(folder, tmp_path / "into", trust=True)
        assert mark.exists()
        assert "Code in the folder was run (--trust)." in result["notes"]
    own = feeds.read(tmp_path / "into" / "reference").arrays["logits"]
    loaded(folders["bert"], tmp_path / "plain")
    np.testing.assert_allclose(own, 2 * feeds.read(tmp_path / "plain" / "reference").arrays["logits"], rtol=1e-5)


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pickle_of_tensors_is_read(folders: Folders, tmp_path: Path) -> None:
    folder = folders.copy("distilbert", tmp_path)
    state = transformers.DistilBertForSequenceClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    loaded(folder, tmp_path / "into")
    loaded(folders["distilbert"], tmp_path / "safe")
    np.testing.assert_array_equal(
        *(feeds.read(tmp_path / name / "reference").arrays["logits"] for name in ("into", "safe"))
    )


def test_a_pickle_with_code_is_refused(folders: Folders, tmp_path: Path) -> None:
    folder, mark = folders.copy("distilbert", tmp_path), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Trap(mark)}, folder / "pytorch_model.bin", pickle_module=pickle)
    error = refused(folder, tmp_path, UntrustedError, "a pickle that needs code of its own")
    assert "--trust" in error.hint
    assert not mark.exists()


def test_layers_have_the_names_of_transformers(folders: Folders, tmp_path: Path) -> None:
    with opened(LoadRequest(path=str(folders["vit"]), into=str(tmp_path))) as (_, exported):
        names = set(exported.state_dict)
    assert "classifier.weight" in names

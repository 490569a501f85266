"""What a Hugging Face folder is, and what is refused before any of it is loaded; standard library only."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.huggingface import folder as folders
from converters.huggingface import tasks
from converters.huggingface.tasks import Pooling
from converters.sources.huggingface import SOURCE
from edgekit.errors import ConversionError, UnsupportedError, UntrustedError, UsageError

CONFIG = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}


def write(path: Path, config: object = CONFIG, **files: object) -> Path:
    """A folder with a configuration and files: text, bytes, or JSON; ``__`` in a name stands for a dot."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in {"config__json": config, **files}.items():
        place = path / name.replace("__", ".")
        data = content if isinstance(content, bytes | str) else json.dumps(content)
        place.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def safetensors(floats: int = 4) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [floats], "data_offsets": [0, 4 * floats]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * floats)


def test_kind(tmp_path: Path) -> None:
    assert SOURCE.identify(write(tmp_path)) == "Hugging Face folder (bert, BertForSequenceClassification)"


def test_kind_of_sentence_transformers(tmp_path: Path) -> None:
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    assert str(SOURCE.identify(write(tmp_path, modules__json=modules))).startswith("sentence-transformers folder (bert")


def test_older_sentence_transformers_keep_the_model_in_a_folder_of_its_own(tmp_path: Path) -> None:
    modules = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    write(tmp_path / "0_Transformer")
    assert folders.read(tmp_path).model == tmp_path / "0_Transformer"


@pytest.mark.parametrize(
    "config", [b"", b"{", b"\xff\xfe\0", b"[]", b"3", b"{}", b'{"class_name": "Functional"}', b"[" * 100_000],
    ids=["empty", "cut", "no text", "list", "number", "nothing", "Keras", "deep"],
)  # fmt: skip
def test_other_folders(tmp_path: Path, config: bytes) -> None:
    assert SOURCE.identify(tmp_path) is None
    (tmp_path / "config.json").write_bytes(config)
    assert SOURCE.identify(tmp_path) is None
    assert SOURCE.identify(tmp_path / "config.json") is None
    assert SOURCE.identify(tmp_path / "missing") is None


def test_a_saved_model_is_not_taken(tmp_path: Path) -> None:
    assert SOURCE.identify(write(tmp_path, saved_model__pb=b"")) is None


def test_identifying_imports_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from converters.sources.huggingface import SOURCE;"
        f"assert SOURCE.identify(Path({str(write(tmp_path))!r}));"
        "print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Code


@pytest.mark.parametrize(
    "files",
    [
        {"modeling_own__py": "raise SystemExit"},
        {"config__json": {**CONFIG, "auto_map": {"AutoModel": "modeling_own.Own"}}},
        {"tokenizer_config__json": {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}},
        {"preprocessor_config__json": {"auto_map": {"AutoImageProcessor": "own.Own"}}},
        {"processor_config__json": {"image_processor": {"auto_map": {"AutoImageProcessor": "own.Own"}}}},
        {"modules__json": [{"path": "", "type": "own_module.Transformer"}]},
    ],
    ids=["file", "model", "tokenizer", "image processor", "nested", "module"],
)
def test_code_is_refused(tmp_path: Path, files: dict[str, object]) -> None:
    folder = folders.read(write(tmp_path, **{"model__safetensors": safetensors(), **files}))
    with pytest.raises(UntrustedError, match="own") as caught:
        folders.check(folder, trust=False)
    assert "--trust" in caught.value.hint
    folders.check(folder, trust=True)


# Weights


def no_weights(path: Path) -> None:
    write(path)


def cut_short(path: Path) -> None:
    write(path, model__safetensors=safetensors()[:-1])


def cut_in_header(path: Path) -> None:
    write(path, model__safetensors=safetensors()[:20])


def nearly_empty(path: Path) -> None:
    write(path, model__safetensors=b"\0" * 5)


def strange_header(path: Path) -> None:
    write(path, model__safetensors=struct.pack("<Q", 8) + b'{"w": 1}')


def pointer(path: Path) -> None:
    write(path, model__safetensors="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1000000\n")


def shard_missing(path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    write(path, model__safetensors__index__json=index, **{"model-1__safetensors": safetensors()})


def shard_elsewhere(path: Path) -> None:
    write(path, model__safetensors__index__json={"weight_map": {"a": "../other.safetensors"}})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_weights, "no weights: neither model.safetensors nor"),
        (cut_short, "not a complete safetensors file"),
        (cut_in_header, "not a complete safetensors file"),
        (nearly_empty, "not a complete safetensors file"),
        (strange_header, "not a complete safetensors file"),
        (pointer, "a Git LFS pointer"),
        (shard_missing, "of 2 files of weights, 1 are missing: model-2.safetensors"),
        (shard_elsewhere, "it lists no files of weights"),
    ],
)
def test_weights(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path)
    with pytest.raises(ConversionError, match=said):
        folders.check(folders.read(tmp_path), trust=False)


def test_weights_of_another_framework(tmp_path: Path) -> None:
    folder = folders.read(write(tmp_path, tf_model__h5=b"1"))
    with pytest.raises(UnsupportedError, match=r"TensorFlow \(tf_model\.h5\)"):
        folders.check(folder, trust=False)


def test_weights_that_are_quantized(tmp_path: Path) -> None:
    config = {**CONFIG, "quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(UnsupportedError, match=r"quantized already \(gptq"):
        folders.check(folders.read(write(tmp_path, config, model__safetensors=safetensors())), trust=False)


def test_the_shortest_limit_counts(tmp_path: Path) -> None:
    folder = write(tmp_path, tokenizer_config__json={"model_max_length": 1e30})
    assert folders.read(folder).longest is None
    write(
        tmp_path, tokenizer_config__json={"model_max_length": 512}, sentence_bert_config__json={"max_seq_length": 256}
    )
    assert folders.read(folder).longest == 256


# Tasks


@pytest.mark.parametrize(
    ("architecture", "asked", "expected"),
    [
        ("BertForSequenceClassification", None, "text-classification"),
        ("RobertaForTokenClassification", None, "token-classification"),
        ("DistilBertForQuestionAnswering", None, "question-answering"),
        ("BertForMaskedLM", None, "fill-mask"),
        ("BertForMaskedLM", "feature-extraction", "feature-extraction"),
        ("DeiTForImageClassificationWithTeacher", None, "image-classification"),
        ("BertModel", "sentence-embedding", "sentence-embedding"),
    ],
)
def test_task(tmp_path: Path, architecture: str, asked: str | None, expected: str) -> None:
    task = tasks.choose(folders.read(write(tmp_path, {"architectures": [architecture]})), asked)
    assert task is not None
    assert task.name == expected


@pytest.mark.parametrize(
    ("architectures", "asked", "said", "hint"),
    [
        (["BertModel"], "summarization", "knows no such task", "text-classification, "),
        (["BertForMaskedLM"], "text-classification", "has no such head", "--task fill-mask"),
        (["BertModel"], "fill-mask", "has no such head", "feature-extraction"),
        ([], None, "does not say what the model is for", "--task NAME"),
    ],
)
def test_wrong_task(tmp_path: Path, architectures: list[str], asked: str | None, said: str, hint: str) -> None:
    folder = folders.read(write(tmp_path, {"model_type": "bert", "architectures": architectures}))
    with pytest.raises(UsageError, match=said) as caught:
        tasks.choose(folder, asked)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM", "T5ForConditionalGeneration"])
def test_generation_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = folders.read(write(tmp_path, {"architectures": [name]}))
    assert tasks.choose(folder, None) is None
    with pytest.raises(UnsupportedError, match=f"{name} writes text token by token"):
        tasks.from_model(folder, tasks.TEXT, pair=False)


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no task for the head of DetrForObjectDetection") as caught:
        tasks.from_model(
            folders.read(write(tmp_path, {"architectures": ["DetrForObjectDetection"]})), tasks.IMAGE, False
        )
    assert "--task image-feature-extraction" in caught.value.hint


# Sentence embeddings


def embedding(path: Path, names: list[str], pooling: dict[str, object]) -> folders.Folder:
    entries = [{"path": "" if not place else f"{place}_{name}", "type": f"sentence_transformers.models.{name}"}
               for place, name in enumerate(names)]  # fmt: skip
    write(path, modules__json=entries)
    write(path / "1_Pooling", pooling)
    return folders.read(path)


@pytest.mark.parametrize(
    ("names", "settings", "expected"),
    [
        (["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True}, Pooling("mean", False)),
        (
            ["Transformer", "Pooling", "Normalize"],
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            Pooling("cls", True),
        ),
        (["Transformer", "Pooling"], {"pooling_mode": "max"}, Pooling("max", False)),
    ],
)
def test_pooling(tmp_path: Path, names: list[str], settings: dict[str, object], expected: Pooling) -> None:
    assert tasks.pooling(embedding(tmp_path, names, settings)) == expected


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_mean_tokens": True}, "Transformer, Pooling, Dense"),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pooling by lasttoken"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            "pooling by mean_tokens and max_tokens",
        ),
        (["Transformer", "Pooling"], {}, "pooling by nothing"),
    ],
)
def test_pooling_that_is_refused(tmp_path: Path, names: list[str], settings: dict[str, object], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        tasks.pooling(embedding(tmp_path, names, settings))

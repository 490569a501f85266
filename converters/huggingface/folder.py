"""What lies in a Hugging Face folder, read with the standard library alone: before anything of it could run."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError, UnsupportedError, UntrustedError

_CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_OTHERS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "adapter_model.safetensors": "a PEFT adapter"}
_MOST_BYTES = 16 << 20
"""Of a JSON file that is read: configurations are far smaller."""
_MOST_LENGTH = 1 << 20
"""Tokenizers without a limit say 1e30."""


@dataclass(frozen=True)
class Module:
    """One of the steps of a sentence-transformers folder: ``Pooling`` with its settings."""

    name: str
    type: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Folder:
    """A folder that ``save_pretrained`` or sentence-transformers wrote.

    Attributes:
        path: As typed.
        model: Where the configuration and the weights lie: mostly ``path`` itself.
        config: Of the model.
        modules: Of sentence-transformers, in order; empty for other folders.
    """

    path: Path
    model: Path
    config: Mapping[str, Any]
    modules: tuple[Module, ...]

    @property
    def model_type(self) -> str:
        """``bert``; empty where the configuration does not say."""
        return str(self.config.get("model_type") or "")

    @property
    def architectures(self) -> tuple[str, ...]:
        """``BertForSequenceClassification``."""
        found = self.config.get("architectures")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def kind(self) -> str:
        """In words."""
        inside = ", ".join(dict.fromkeys(filter(None, (self.model_type, *self.architectures))))
        return f"{'sentence-transformers' if self.modules else 'Hugging Face'} folder ({inside})"

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a vocabulary."""
        return any((self.model / name).is_file() for name in _TOKENIZERS)

    @property
    def has_processor(self) -> bool:
        """Whether there are settings of an image processor or a feature extractor."""
        return any((self.model / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))

    @property
    def longest(self) -> int | None:
        """Tokens that the tokenizer or sentence-transformers allow at most; ``None`` where nothing is said."""
        settings = self.settings("tokenizer_config.json"), self.settings("sentence_bert_config.json")
        said = [settings[0].get("model_max_length"), settings[1].get("max_seq_length")]
        sizes = [int(size) for size in said if isinstance(size, int | float) and 0 < size < _MOST_LENGTH]
        return min(sizes, default=None)

    def settings(self, name: str) -> dict[str, Any]:
        """A JSON file beside the model; empty where there is none.

        Raises:
            ConversionError: It is no JSON object.
        """
        for place in dict.fromkeys((self.model, self.path)):
            if (place / name).is_file():
                found = _json(place / name)
                if not isinstance(found, dict):
                    raise ConversionError(f"{place / name}: not a JSON object.", hint="Copy or download it again.")
                return found
        return {}


def identify(path: Path) -> str | None:
    """The kind of a folder in words, or ``None`` when it is not Hugging Face's."""
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return None
    try:
        return read(path).kind
    except ConversionError:
        return None


def read(path: Path) -> Folder:
    """Read a folder's descriptions.

    Raises:
        ConversionError: There is no configuration of a model.
    """
    entries = _json(path / "modules.json") if (path / "modules.json").is_file() else []
    modules = tuple(_modules(path, entries)) if isinstance(entries, list) else ()
    first = path / str(entries[0].get("path", "")) if modules else path
    model = first if (first / "config.json").is_file() else path
    config = _json(model / "config.json")
    if not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        raise ConversionError(f"{path}: its config.json is not that of a Hugging Face model.")
    return Folder(path, model, config, modules)


def check(folder: Folder, trust: bool) -> None:
    """Refuse a folder whose weights cannot be read, or that would run code of its own.

    Raises:
        UntrustedError: It holds code, and nobody said that it may run.
        UnsupportedError: Its weights are of another framework or quantized.
        ConversionError: Weights are missing or cut short.
    """
    found = list(_code(folder))
    if found and not trust:
        raise UntrustedError(
            f"{folder.path}: the folder brings code of its own ({', '.join(found[:5])}). Loading the model could run "
            "it; nothing was run.",
            hint="Read that code, and add --trust if you know where it comes from.",
        )
    if folder.config.get("quantization_config"):
        method = dict(folder.config["quantization_config"]).get("quant_method", "some method")
        raise UnsupportedError(
            f"{folder.path}: its weights are quantized already ({method}).",
            hint="Convert the model it was made from: edgekit quantizes for the target (--int8).",
        )
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            _check_safetensors(file)


def has_code(folder: Folder) -> bool:
    """Whether the model, its tokenizer or its processor are code in the folder."""
    return any(_code(folder))


def weight_files(folder: Folder) -> list[Path]:
    """The files with weights: safetensors where there are any.

    Raises:
        UnsupportedError: They are of another framework.
        ConversionError: There are none, or not all that the index lists.
    """
    place = folder.model
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (place / name).is_file():
            return [place / name]
        index = place / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    for name, owner in _OTHERS.items():
        if (place / name).is_file():
            raise UnsupportedError(
                f"{place}: its weights are those of {owner} ({name}); edgekit reads PyTorch's.",
                hint="Save it from PyTorch: AutoModel.from_pretrained(…).save_pretrained(FOLDER)",
            )
    raise ConversionError(
        f"{place}: no weights: neither model.safetensors nor pytorch_model.bin is there.",
        hint="Download or copy the folder again; files kept with Git LFS come with git lfs pull.",
    )


def _shards(index: Path) -> list[Path]:
    listed = _json(index)
    names = sorted(set(map(str, listed.get("weight_map", {}).values()))) if isinstance(listed, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ConversionError(f"{index}: it lists no files of weights.", hint="Download or copy it again.")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ConversionError(
            f"{index.parent}: of {len(names)} files of weights, {len(missing)} are missing: {', '.join(missing[:5])}.",
            hint="Download or copy the folder again.",
        )
    return [index.parent / name for name in names]


def _check_safetensors(path: Path) -> None:
    """Its header says how long it is.

    Raises:
        ConversionError: It is shorter.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if (start + file.read(60)).startswith(b"version https://git-lfs"):
            raise ConversionError(f"{path}: a Git LFS pointer, not the weights themselves.", hint="git lfs pull")
        file.seek(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length + 8 <= size:
            try:
                header = json.loads(file.read(length))
                ends = [item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"]
                if max(ends, default=0) + length + 8 <= size:
                    return
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                pass  # said below, as for a file that is too short
    raise ConversionError(
        f"{path}: not a complete safetensors file ({size} bytes).", hint="Copy or download it again and compare sizes."
    )


def _code(folder: Folder) -> Iterator[str]:
    """What would run: names of files, and of classes that configurations point to."""
    for place in dict.fromkeys((folder.path, folder.model)):
        yield from (file.name for file in sorted(place.glob("*.py")))
        for name in _CONFIGS:
            if (place / name).is_file():
                yield from (f"auto_map in {name}: {entry}" for entry in _auto_maps(_json(place / name)))
    for module in folder.modules:
        if not module.type.startswith("sentence_transformers."):
            yield f"modules.json: {module.type}"


def _auto_maps(value: Any) -> Iterator[str]:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            if item.get("auto_map"):
                yield str(next(iter(item["auto_map"].values()), "")) if isinstance(item["auto_map"], dict) else "?"
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def _modules(path: Path, entries: list[Any]) -> Iterator[Module]:
    for entry in entries:
        if not isinstance(entry, dict) or not entry.get("type"):
            raise ConversionError(f"{path / 'modules.json'}: not what sentence-transformers writes.")
        place = path / str(entry.get("path", ""))
        settings = _json(place / "config.json") if place != path and (place / "config.json").is_file() else {}
        kind = str(entry["type"])
        yield Module(kind.rpartition(".")[2], kind, settings if isinstance(settings, dict) else {})


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConversionError(f"{path}: cannot be read as JSON: {error}.", hint="Copy or download it again.") from error

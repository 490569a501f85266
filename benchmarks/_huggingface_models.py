"""Small Hugging Face folders with random weights: what ``save_pretrained`` leaves, for tests and for the docs' table.

Run ``python benchmarks/_huggingface_models.py FOLDER`` to write them all. Nothing is downloaded: configurations are
small, the vocabulary is the words of a few sentences.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the a in on of to and is was it this that we you i he she they not very no with "
    "for from model runs small board cat sat mat hot lot mail sun rose over hill good bad film train late again new "
    "red blue house river city milk bread buy please turn lights off kitchen when where how what who open window cold "
    "warm rain today ##s ##ed ##ing ##er ##ly ##e ##n ##d ##t ##a ##o ##i ##r . , ? ! ' -"
).split()
_LETTERS = [letter for one in "abcdefghijklmnopqrstuvwxyz0123456789" for letter in (one, f"##{one}")]

_GAIN = 4.0
"""Transformers starts weights at a deviation of 0.02; outputs would hardly depend on the input."""

_TEXT: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def vocabulary() -> dict[str, int]:
    """Word pieces: some words, and all letters, so that any English text is covered."""
    return {word: place for place, word in enumerate(dict.fromkeys([*WORDS, *_LETTERS]))}


def write(folder: Path, model: Any, *companions: Any) -> Path:
    """Save a model with stirred weights, and what belongs to it (a tokenizer, an image processor)."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1 and not parameter.any():  # class tokens start at zero
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
            elif parameter.dim() > 1:
                parameter.mul_(_GAIN if parameter.std() < 0.05 else 1.0)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    if any("running_var" in name for name, _ in model.named_buffers()):
        _settle_batch_norms(model, generator)
    model.eval().save_pretrained(folder)
    for companion in companions:
        companion.save_pretrained(folder)
    return folder


def _settle_batch_norms(model: Any, generator: Any) -> None:
    """Give BatchNorms the statistics of smooth random pictures; else outputs would fade to a constant."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    coarse = torch.rand(64, model.config.num_channels, 6, 6, generator=generator)
    size = model.config.image_size
    with torch.no_grad():
        for _ in range(3):  # each layer's statistics depend on those before it
            model.train()(torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear"))


def tokenizer() -> Any:
    """A word piece tokenizer of BERT's kind, for sequences of up to 128 tokens."""
    from transformers import BertTokenizer

    return BertTokenizer(vocab=vocabulary(), model_max_length=128)


def bert(folder: Path, architecture: str = "BertForSequenceClassification", **changes: Any) -> Path:
    """A BERT of two layers, 64 wide, with the head of that architecture."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary()), max_position_embeddings=128, **{**_TEXT, "num_labels": 3, **changes}
    )
    return write(folder, getattr(transformers, architecture)(config), tokenizer())


def distilbert(folder: Path, layers: int = 2) -> Path:
    """A DistilBERT text classifier."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        vocab_size=len(vocabulary()),
        max_position_embeddings=128,
        dim=64,
        n_layers=layers,
        n_heads=4,
        hidden_dim=128,
        num_labels=3,
    )
    return write(folder, transformers.DistilBertForSequenceClassification(config), tokenizer())


def sentence_embedding(folder: Path) -> Path:
    """A BERT with the files of sentence-transformers: mean pooling, then length 1."""
    bert(folder, "BertModel")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    entries = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
        for place, (path, name) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def vision(folder: Path, name: str = "ViT", architecture: str = "ForImageClassification", **changes: Any) -> Path:
    """A ViT or DeiT for pictures of 32 pixels, patches of 8."""
    import torch
    import transformers
    from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **{**_TEXT, "image_size": 32, "patch_size": 8, "num_labels": 5, **changes}
    )
    size = {"height": 32, "width": 32}
    processor = ViTImageProcessorPil(size=size) if name == "ViT" else DeiTImageProcessorPil(size=size, crop_size=size)
    return write(folder, getattr(transformers, f"{name}{architecture}")(config), processor)


def mobilevit(folder: Path) -> Path:
    """A narrow MobileViT for pictures of 64 pixels."""
    import torch
    import transformers
    from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

    torch.manual_seed(0)
    config = transformers.MobileViTConfig(
        image_size=64,
        hidden_sizes=[24, 32, 40],
        neck_hidden_sizes=[8, 8, 12, 16, 20, 24, 48],
        num_labels=5,
        num_attention_heads=4,
    )
    processor = MobileViTImageProcessorPil(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64})
    return write(folder, transformers.MobileViTForImageClassification(config), processor)


def whisper(folder: Path) -> Path:
    """A Whisper for one second of sound."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=100,
        num_mel_bins=80,
        d_model=64,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=50,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    extractor = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    return write(folder, transformers.WhisperForConditionalGeneration(config), extractor)


def clip(folder: Path) -> Path:
    """A CLIP of two small towers."""
    import torch
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**_TEXT, "vocab_size": len(vocabulary()), "max_position_embeddings": 32, "eos_token_id": 3},
        vision_config={**_TEXT, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return write(folder, transformers.CLIPModel(config), processor, tokenizer())


def gpt2(folder: Path) -> Path:
    """A decoder that writes text."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(vocabulary()), n_positions=64, n_embd=64, n_layer=2, n_head=4)
    return write(folder, transformers.GPT2LMHeadModel(config), tokenizer())


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "bert": bert,
    "distilbert": distilbert,
    "minilm": sentence_embedding,
    "tokens": lambda folder: bert(folder, "BertForTokenClassification"),
    "answers": lambda folder: bert(folder, "BertForQuestionAnswering", num_labels=2),
    "mask": lambda folder: bert(folder, "BertForMaskedLM"),
    "vit": vision,
    "deit": lambda folder: vision(folder, "DeiT"),
    "mobilevit": mobilevit,
    "whisper": whisper,
}
"""What edgekit converts without being told the task, by name."""


if __name__ == "__main__":
    for title, make in FOLDERS.items():
        print(make(Path(sys.argv[1]) / title))

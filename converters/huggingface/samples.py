"""Inputs to check a model on where there is no data: sentences, pictures and sounds, through the folder's own files.

They are no calibration data worth its name, but they are of the kind that the model knows, which noise is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from converters.huggingface import folder as folders
from converters.huggingface.network import Built
from converters.huggingface.tasks import IMAGE, TEXT
from edgekit.errors import ConversionError, first_line
from edgekit.feeds import Array, Feeds
from edgekit.types import Signature

SENTENCES = (
    "The train to the city was late again.",
    "I would buy this film twice, it is that good!",
    "Please turn the lights off in the kitchen.",
    "Where is the nearest open pharmacy?",
    "It rained on the river all day, and nobody minded.",
    "This is the worst coffee that we have ever had.",
    "Maria moved from Lisbon to Toronto in 2019.",
    "A small model runs on a small board.",
    "The battery lasts two days, but the screen is dim.",
    "He said no.",
    "Our team lost the match, although we had the better players and more luck than usual.",
    "Add a pinch of salt, stir, and let it rest for an hour.",
    "The court will decide on Monday whether the bridge may be built.",
    "Thanks, the package arrived this morning.",
    "Prices rose by three per cent in the last quarter.",
    "My phone does not charge any more since the update!",
    "The cat sat on the warm window sill and watched the birds.",
    "Can you remind me to call Dr. Weber tomorrow at nine?",
    "Neither of the two answers was right.",
    "The old house on the hill has a red door and a blue roof.",
    "What a wonderful surprise to see you here in Oslo!",
    "To reset the device, hold both buttons until the light blinks.",
    "I am not sure that this was a good idea.",
    "Water boils at a lower temperature in the mountains, so the eggs take longer.",
)
"""Plain English; of our own, so that nobody's licence comes along."""
_RATE = 16_000


def maker(built: Built, signature: Signature, trust: bool) -> Callable[[int, int], Feeds] | None:
    """What makes samples, ``(count, seed)``; ``None`` where the folder lacks the files, which is added to the notes."""
    if built.task.modality == TEXT:
        if not built.folder.has_tokenizer:
            built.notes.append("The folder has no tokenizer: without --data, token ids are random.")
            return None
        return _checked(built, signature, lambda count, rng: _texts(built, signature, trust, count, rng))
    if not built.folder.has_processor:
        built.notes.append("The folder has no preprocessor_config.json: without --data, inputs are random.")
        return None
    make = _pictures if built.task.modality == IMAGE else _sounds
    return _checked(built, signature, lambda count, rng: make(built, signature, trust, count, rng))


Make = Callable[[int, np.random.Generator], tuple[Mapping[str, Array], str]]


def _checked(built: Built, signature: Signature, make: Make) -> Callable[[int, int], Feeds]:
    def made(count: int, seed: int) -> Feeds:
        batch = signature.inputs[0].shape[0] or 1
        try:
            arrays, words = make(count * batch, np.random.default_rng(seed))
        except Exception as error:  # whatever the folder's tokenizer or processor met
            raise ConversionError(
                f"{built.folder.path}: its tokenizer or processor fails: {type(error).__name__}: {first_line(error)}",
                hint="--data FILE with samples does without it; edgekit needs Pillow for images, and sentencepiece "
                "for some tokenizers.",
            ) from error
        ready: dict[str, Array] = {}
        for spec in signature.inputs:
            array = np.asarray(arrays[spec.name], spec.dtype)
            if array.shape != (count * batch, *spec.shape[1:]):
                raise ConversionError(
                    f"{built.folder.path}: its processor makes {spec.name} of shape {list(array.shape[1:])}, and the "
                    f"model takes {list(spec.shape[1:])}.",
                    hint=f"--input {spec.name}=1,{','.join(map(str, array.shape[1:]))}, or --data FILE with samples",
                )
            ready[spec.name] = array.reshape(count, *spec.shape)
        return Feeds(ready, origin=words.format(count=count * batch, seed=seed))

    return made


def _texts(
    built: Built, signature: Signature, trust: bool, count: int, rng: np.random.Generator
) -> tuple[Mapping[str, Array], str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(built.folder.model), **_local(built, trust))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts = _sentences(count, rng)
    pairs = {"text_pair": _sentences(count, rng)} if built.task.name == "question-answering" else {}
    found = tokenizer(
        texts,
        **pairs,
        padding="max_length",
        truncation=True,
        max_length=signature.inputs[0].shape[1],
        return_attention_mask=True,
        return_token_type_ids="token_type_ids" in built.inputs,
        return_tensors="np",
    )
    return found, "{count} sentences, tokenized by the folder's tokenizer"


def _sentences(count: int, rng: np.random.Generator) -> list[str]:
    """Each sentence once before any comes again; then two or three in a row, so that lengths differ."""
    found: list[str] = []
    while len(found) < count:
        order = [SENTENCES[place] for place in rng.permutation(len(SENTENCES))]
        number = 1 if len(found) < len(SENTENCES) else int(rng.integers(2, 4))
        found += [" ".join(order[place : place + number]) for place in range(0, len(order), number)]
    return found[:count]


def _pictures(
    built: Built, signature: Signature, trust: bool, count: int, rng: np.random.Generator
) -> tuple[Mapping[str, Array], str]:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(str(built.folder.model), backend="pil", **_local(built, trust))
    height, width = (int(size or 1) for size in signature.inputs[0].shape[2:])
    pictures = [_picture(height * 9 // 8, width * 9 // 8, rng) for _ in range(count)]
    values = processor(images=pictures, return_tensors="np")["pixel_values"]
    return {"pixel_values": values}, "{count} generated pictures (seed {seed}), through the folder's image processor"


def _picture(height: int, width: int, rng: np.random.Generator) -> Array:
    """Smooth waves in each colour, as ``(height, width, 3)`` bytes: dark and bright, flat and busy ones."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    picture = np.full((height, width, 3), rng.uniform(0.2, 0.8, 3))
    for frequency in rng.uniform(0.5, 8, 6):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        wave = np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        picture += wave[..., None] * rng.uniform(-0.4, 0.4, 3) / np.sqrt(frequency + 1)
    return np.asarray(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _sounds(
    built: Built, signature: Signature, trust: bool, count: int, rng: np.random.Generator
) -> tuple[Mapping[str, Array], str]:
    from transformers import AutoFeatureExtractor

    (spec,) = signature.inputs
    extractor = AutoFeatureExtractor.from_pretrained(str(built.folder.model), **_local(built, trust))
    rate = int(getattr(extractor, "sampling_rate", _RATE))
    samples = int(spec.shape[1] or 1) if len(spec.shape) == 2 else int(getattr(extractor, "n_samples", rate))
    sounds = [_sound(samples, rate, rng) for _ in range(count)]
    values = extractor(sounds, sampling_rate=rate, return_tensors="np")[spec.name]
    return {spec.name: values}, "{count} generated sounds (seed {seed}), through the folder's feature extractor"


def _sound(samples: int, rate: int, rng: np.random.Generator) -> Array:
    """Tones that come and go, in a little noise; mono, within -1 and 1."""
    time = np.arange(samples) / rate
    sound = rng.normal(0, 0.01, samples)
    for start in rng.uniform(0, samples / rate, 6):
        tone = np.sin(2 * np.pi * rng.uniform(100, 2000) * time)
        sound += 0.3 * tone * np.exp(-((time - start) ** 2) / (2 * rng.uniform(0.02, 0.2) ** 2))
    return np.asarray(np.clip(sound, -1, 1), np.float32)


def _local(built: Built, trust: bool) -> dict[str, Any]:
    return {"local_files_only": True, "trust_remote_code": trust and folders.has_code(built.folder)}

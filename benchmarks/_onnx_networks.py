"""Small networks of the usual kinds, with random weights, that are made into ONNX by what users make ONNX with.

Weights are not trained, but BatchNorm has the statistics of its data and outputs depend on inputs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

_SAMPLES = 48
_BATCHES = 4


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, after: Any = nn.ReLU6) -> Any:
    parts = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*parts, *([] if after is None else [after()]))


class _Squeeze(nn.Module):  # type: ignore[misc]
    """Squeeze and excitation of MobileNetV3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool, self.act = nn.AdaptiveAvgPool2d(1), nn.ReLU()
        self.down, self.up, self.gate = (
            nn.Conv2d(width, width // 4, 1),
            nn.Conv2d(width // 4, width, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(self.up(self.act(self.down(self.pool(x)))))


class _Inverted(nn.Module):  # type: ignore[misc]
    """Inverted residual of MobileNetV2, or of V3 with its squeeze and Hardswish."""

    def __init__(self, inputs: int, outputs: int, stride: int, three: bool) -> None:
        super().__init__()
        wide, act = inputs * 4, nn.Hardswish if three else nn.ReLU6
        squeeze = [_Squeeze(wide)] if three else []
        self.body = nn.Sequential(
            _conv(inputs, wide, 1, after=act), _conv(wide, wide, 3, stride, wide, act), *squeeze,
            _conv(wide, outputs, 1, after=None),
        )  # fmt: skip
        self.add = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.add else self.body(x)


_BLOCKS = ((16, 16, 1, False), (16, 24, 2, False), (24, 24, 1, False), (24, 32, 2, True), (32, 32, 1, True))


class MobileNet(nn.Module):  # type: ignore[misc]
    """Blocks of MobileNetV2 and of MobileNetV3; each has its channels in and out, its stride, whether it is V3's."""

    def __init__(self, blocks: tuple[tuple[int, int, int, bool], ...] = _BLOCKS) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 3, 2)
        self.blocks = nn.Sequential(*(_Inverted(*block) for block in blocks))
        self.last, self.head = _conv(32, 64, 1, after=nn.Hardswish), nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.blocks(self.stem(image))).mean((2, 3)))


class _Basic(nn.Module):  # type: ignore[misc]
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, outputs, 3, stride, after=nn.ReLU), _conv(outputs, outputs, 3, after=None)
        )
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else _conv(inputs, outputs, 1, stride, after=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.short(x))


class ResNet(nn.Module):  # type: ignore[misc]
    """A ResNet of three basic blocks, with the stem of the large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 7, 2, after=nn.ReLU), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(_Basic(16, 16, 1), _Basic(16, 32, 2), _Basic(32, 64, 2))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.blocks(self.stem(image))), 1))


class VisionTransformer(nn.Module):  # type: ignore[misc]
    """Patches, a class token, two encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 8, 8)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 48)), nn.Parameter(torch.randn(1, 17, 48))
        layer = nn.TransformerEncoderLayer(48, 4, 96, 0.0, functional.gelu, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(image), -1, -1), patches), 1) + self.places
        return self.head(self.norm(self.encoder(x)[:, 0]))


class Recurrent(nn.Module):  # type: ignore[misc]
    """An LSTM, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(12, 16, batch_first=True), nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, 6)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(series)[0])[0][:, -1])


class UNet(nn.Module):  # type: ignore[misc]
    """Two levels; one way up is a resize, the other a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            _conv(*size, after=nn.ReLU) for size in ((3, 8, 3), (8, 16, 3), (16, 32, 3))
        )
        self.up, self.joined = nn.ConvTranspose2d(32, 16, 2, 2), _conv(32, 16, 3, after=nn.ReLU)
        self.nearest, self.last = _conv(24, 8, 3, after=nn.ReLU), nn.Conv2d(8, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.first(image)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        joined = self.joined(torch.cat((second, self.up(third)), 1))
        wide = functional.interpolate(joined, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.last(self.nearest(torch.cat((first, wide), 1))))


class Audio(nn.Module):  # type: ignore[misc]
    """One-dimensional convolutions, strided and dilated, with GELU and SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 16, 9, 4, 4), nn.BatchNorm1d(16), nn.GELU(),
            nn.Conv1d(16, 32, 5, 2, 4, dilation=2), nn.BatchNorm1d(32), nn.SiLU(), nn.MaxPool1d(2),
            nn.Conv1d(32, 32, 3, padding=1, groups=32), nn.Conv1d(32, 32, 1), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.head = nn.Linear(32, 8)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.head(self.body(sound).mean(2)), 1)


class Detector(nn.Module):  # type: ignore[misc]
    """Two scales, decoded into boxes and scores as YOLO's head does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 16, 3, 2, after=nn.SiLU), _conv(16, 32, 3, 2, after=nn.SiLU))
        self.deep = _conv(32, 48, 3, 2, after=nn.SiLU)
        self.lateral, self.merged = _conv(48, 32, 1, after=nn.SiLU), _conv(64, 32, 3, after=nn.SiLU)
        self.heads = nn.ModuleList((nn.Conv2d(32, 9, 1), nn.Conv2d(48, 9, 1)))
        grids = [torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1) for n in (16, 8)]
        self.register_buffer("grid", torch.cat([grid.reshape(-1, 2) for grid in grids]).float())
        self.register_buffer("step", torch.tensor([1 / 16] * 256 + [1 / 8] * 64)[:, None])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.stem(image)
        deep = self.deep(fine)
        merged = self.merged(torch.cat((fine, functional.interpolate(self.lateral(deep), scale_factor=2.0)), 1))
        found = [head(x).flatten(2) for head, x in zip(self.heads, (merged, deep), strict=True)]
        x = torch.cat(found, 2).transpose(1, 2)
        centre = (torch.sigmoid(x[..., :2]) + self.grid) * self.step
        size = torch.exp(x[..., 2:4].clamp(-4, 4)) * self.step
        return torch.cat((centre - size / 2, centre + size / 2), 2), torch.sigmoid(x[..., 4:5]) * torch.sigmoid(
            x[..., 5:]
        )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, tuple[int, ...]]] = {
    "mobilenet": (MobileNet, "image", (3, 64, 64)),
    "resnet": (ResNet, "image", (3, 64, 64)),
    "transformer": (VisionTransformer, "image", (3, 32, 32)),
    "recurrent": (Recurrent, "series", (10, 12)),
    "unet": (UNet, "image", (3, 32, 32)),
    "audio": (Audio, "sound", (1, 512)),
    "detector": (Detector, "image", (3, 64, 64)),
}
"""What builds it, its input's name, that input's shape without the batch."""


def samples(shape: tuple[int, ...], seed: int = 0) -> Any:
    """Smooth random signals: neighbours are alike, as in pictures and sounds. float32 ``(48, *shape)``."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((_SAMPLES, *shape))
    for axis in range(2, values.ndim):
        values = values + np.roll(values, 1, axis) + np.roll(values, 2, axis)
    return (values / values.std() + generator.standard_normal((_SAMPLES, *([1] * len(shape)))) / 2).astype(np.float32)


def network(name: str) -> tuple[nn.Module, str, Any]:
    """A network in eval mode, the name of its input, and samples for it."""
    build, given, shape = NETWORKS[name]
    torch.manual_seed(0)
    module, data = build(), samples(shape)
    for item in module.modules():
        if isinstance(item, (nn.BatchNorm1d, nn.BatchNorm2d)):
            item.momentum = None  # the mean over all batches
            nn.init.uniform_(item.weight, 0.5, 1.5)
            nn.init.uniform_(item.bias, -0.3, 0.3)
    with torch.no_grad():
        for _ in range(_BATCHES):  # each layer's statistics depend on those before it
            module.train()(torch.from_numpy(data))
        module.eval()
        outputs = module(torch.from_numpy(data))
        for value in outputs if isinstance(outputs, tuple) else (outputs,):
            if float(value.std(0).mean()) < 1e-3:
                raise ValueError(f"{name}: its outputs hardly depend on its input; nothing could be compared.")
    return module, given, data


def to_program(name: str, folder: Path) -> Path:
    """The network as PyTorch itself saves it."""
    module, _, data = network(name)
    path = folder / f"{name}.pt2"
    torch.export.save(torch.export.export(module, (torch.from_numpy(data[:1].copy()),)), path)
    return path


def to_onnx(name: str, folder: Path, dynamo: bool) -> tuple[Path, dict[str, Any]]:
    """The network by torch.onnx, and samples by input name."""
    module, given, data = network(name)
    path = folder / f"{name}-{'dynamo' if dynamo else 'traced'}.onnx"
    # So old that GELU and LayerNorm, and at 13 hard-swish, are written out; attention needs 14.
    opset = None if dynamo else 14 if name == "transformer" else 13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.from_numpy(data[:1].copy()),)
        torch.onnx.export(
            module, example, path, input_names=[given], opset_version=opset, dynamo=dynamo, external_data=False,
            verbose=False,
        )  # fmt: skip
    return path, {given: data}


def keras_to_onnx(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A Keras network by tf2onnx: ``cnn`` or ``gru``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    keras.utils.set_random_seed(0)
    shape: tuple[int, ...] = (32, 32, 3) if kind == "cnn" else (10, 12)
    if kind == "cnn":
        given = keras.Input(shape)
        x = layers.BatchNormalization()(layers.Conv2D(8, 3, 2, padding="same", activation="relu")(given))
        x = layers.SeparableConv2D(16, 3, padding="same", activation="relu6")(x)
        x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2, padding="same")(x))
        x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(layers.Activation("silu")(x)))
    else:
        given = keras.Input(shape)
        x = layers.GRU(16)(layers.GRU(16, return_sequences=True)(given))
    data = samples(shape)
    model = keras.Model(given, layers.Dense(6, activation="softmax")(x))
    model.compile(loss="mse")
    model.fit(data, np.zeros((len(data), 6)), epochs=3, verbose=0)  # BatchNorm's statistics
    path = folder / f"keras-{kind}.onnx"
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, *shape), name="x")])
    tf2onnx.convert.from_function(function, list(function.input_signature), opset=17, output_path=str(path))
    return path, {"x": data}


def quantized(source: Path, kind: str, data: dict[str, Any]) -> Path:
    """A float file by ONNX Runtime's quantizer: ``QDQ``, ``QOperator`` or ``dynamic``."""
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, path = source.with_suffix(".prepared.onnx"), source.with_name(f"{source.stem}-{kind}.onnx")
    quant_pre_process(str(source), str(prepared))
    if kind == "dynamic":
        ort.quantize_dynamic(str(prepared), str(path), weight_type=ort.QuantType.QInt8)
        return path
    count = len(next(iter(data.values())))
    rows = iter([{name: values[place : place + 1] for name, values in data.items()} for place in range(count)])

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        """The samples, one at a time."""

        def get_next(self) -> dict[str, Any] | None:
            """The next one."""
            return next(rows, None)

    ort.quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=getattr(ort.QuantFormat, kind),
        per_channel=True,
        weight_type=ort.QuantType.QInt8,
        activation_type=ort.QuantType.QUInt8,
    )
    return path

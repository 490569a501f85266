"""Makes the files ``work_*`` beside it, for the tests of multiply-accumulates: three small networks in each format.

    python tests/models/make_work.py

Needs all extras; takes some minutes, which is why the files are kept.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - what everybody calls it

HERE = Path(__file__).parent


class Cnn(nn.Module):
    """Convolutions, one of them transposed, and a linear layer.

    Multiply-accumulates: first 16*16*8 * 27 = 55296, second 4*4*16 * 72 = 18432, up 4*4*16 inputs * 4*4 = 4096,
    linear 256 * 10 = 2560: 80384 in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 4, 2, stride=2)
        self.linear = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(image)), 2)
        x = self.up(F.relu(self.second(x)))
        return self.linear(x.flatten(1))


class Depthwise(nn.Module):
    """Depthwise and pointwise convolutions.

    Multiply-accumulates: stem 8*8*8 * 27 = 13824, depthwise 8*8*8 * 9 = 4608, pointwise 8*8*16 * 8 = 8192, depthwise
    4*4*16 * 9 = 2304, pointwise 4*4*24 * 16 = 6144, head 24 * 5 = 120: 35192 in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
            nn.Conv2d(8, 16, 1), nn.ReLU6(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16), nn.ReLU6(),
            nn.Conv2d(16, 24, 1), nn.ReLU6(),
        )  # fmt: skip
        self.head = nn.Linear(24, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.layers(image).mean((2, 3)))


class Transformer(nn.Module):
    """One block: 8 tokens of 32, 4 heads of 8, 64 in between.

    Multiply-accumulates: qkv 8*96 * 32 = 24576, scores and mixing 4*8*8 * 8 = 2048 each, out 8*32 * 32 = 8192, up and
    down 8*64 * 32 = 16384 each: 69632 in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(tokens)).reshape(1, 8, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(1, 8, 32))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


def main() -> None:
    """Convert each network to each format, in float32 and in int8."""
    examples = {
        Cnn: torch.zeros(1, 3, 16, 16),
        Depthwise: torch.zeros(1, 3, 16, 16),
        Transformer: torch.zeros(1, 8, 32),
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, example in examples.items():
            torch.manual_seed(0)
            name = kind.__name__.lower()
            source = Path(folder) / f"work_{name}.pt2"
            torch.export.save(torch.export.export(kind().eval(), (example,)), source)
            command = [sys.executable, "-m", "edgekit", "convert", str(source), "--to", "all", "-o", folder, "-q"]
            schemes = ["--quant", "float32", "--quant", "int8", "--data", "random"]
            subprocess.run([*command, *schemes], check=True)
        for file in Path(folder).iterdir():
            if file.suffix in (".tflite", ".onnx", ".pte"):
                file.replace(HERE / file.name.replace(".", "_", 1))


if __name__ == "__main__":
    main()

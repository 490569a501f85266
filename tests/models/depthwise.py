"""Two small networks of depthwise convolutions whose channels differ widely in scale: what int8 has trouble with."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

SIZE = 32
"""Height and width of their input, which has three channels."""


def _layer(planes_in: int, planes: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(planes_in, planes, size, stride, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(planes)]


class Separable(nn.Module):
    """Like MobileNet V1: depthwise, ReLU, pointwise, ReLU; nothing runs beside the main path."""

    def __init__(self, planes: tuple[int, ...] = (16, 24, 32, 48)) -> None:
        super().__init__()
        layers = [*_layer(3, planes[0], 3, 2), nn.ReLU()]
        for place, (before, after) in enumerate(pairwise(planes)):
            layers += [*_layer(before, before, 3, 1 + place % 2, before), nn.ReLU()]
            layers += [*_layer(before, after, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(planes[-1], 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


class Inverted(nn.Module):
    """A block of MobileNet V2: expand, depthwise, project without an activation; a shortcut where shapes allow."""

    def __init__(self, before: int, after: int, stride: int, factor: int = 3) -> None:
        super().__init__()
        wide = before * factor
        self.expand = nn.Sequential(*_layer(before, wide, 1), nn.ReLU6())
        self.depthwise = nn.Sequential(*_layer(wide, wide, 3, stride, wide), nn.ReLU6())
        self.project = nn.Sequential(*_layer(wide, after, 1))
        self.shortcut = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class InvertedResidual(nn.Module):
    """Like MobileNet V2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_layer(3, 16, 3, 2), nn.ReLU6())
        self.blocks = nn.Sequential(
            Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 24, 1), Inverted(24, 32, 2), Inverted(32, 40, 1)
        )
        self.head = nn.Sequential(*_layer(40, 64, 1), nn.ReLU6())
        self.classifier = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.head(self.blocks(self.stem(image))).mean((2, 3)))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures, float32 ``[count, 3, SIZE, SIZE]``, of mean 0 and standard deviation near 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 6, 6, generator=generator)
    fine = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear") * 1.2 + fine * 0.3


def uneven(network: nn.Module, spread: float = 1.0, seed: int = 1) -> nn.Module:
    """The network in eval mode with random weights, BatchNorm statistics of :func:`pictures`, and uneven channels.

    Args:
        network: Any of the above.
        spread: Decades between typical channels of every other BatchNorm: its factor and shift are multiplied by
            ``10**(spread * normal)``.
        seed: Of all weights.
    """
    torch.manual_seed(seed)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.1, 0.1)
    for place, norm in enumerate(norms):
        scale = 10 ** (spread * torch.randn(norm.num_features).clamp(-2, 1)) if place % 2 else 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.weight.data *= scale
        norm.bias.data *= scale
        norm.momentum = None  # a plain average over the batches below
        norm.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in range(8):
            network(pictures(16, seed=100 + batch))
    return network.eval()

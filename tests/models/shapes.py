"""Small networks that exercise what converters get wrong: names, nesting, BatchNorm in odd places."""

from __future__ import annotations

import torch
from torch import nn


class TwoInTwoOut(nn.Module):
    """Two named inputs, a dictionary of outputs, BatchNorm behind a convolution, a ReLU and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.after_conv = nn.BatchNorm2d(8)
        self.after_relu = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 + 4, 10)
        self.after_fc = nn.BatchNorm1d(10)

    def forward(self, picture: torch.Tensor, facts: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.after_conv(self.conv(picture)))
        x = self.after_relu(x).mean((2, 3))
        x = torch.cat([x, facts], 1)
        scores = self.after_fc(self.fc(x))
        return {"scores": scores, "features": x}


class Tuple(nn.Module):
    """A tuple of outputs, one of them an input's own function."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.fc(x)
        return y, torch.sigmoid(y)


class Nested(nn.Module):
    """Tensors inside a list and a keyword argument."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, pair: list[torch.Tensor], *, scale: torch.Tensor) -> torch.Tensor:
        return self.fc(pair[0] + pair[1]) * scale


class Tokens(nn.Module):
    """Integer input: an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.fc = nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embed(ids).mean(1))


def sequential() -> nn.Sequential:
    """Parameter names that start with a digit, with BatchNorm: what ExecuTorch's own path trips over."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


def settled(network: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """The network with BatchNorm statistics of random data, so that its outputs vary; in eval mode."""
    torch.manual_seed(7)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(*(torch.randn(16, *item.shape[1:]) for item in inputs))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval()


class Decided(nn.Module):
    """Scores, the class, and a flag that hardly ever changes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.fc(x)
        return {"scores": scores, "label": scores.argmax(1), "sure": scores.max(1).values > -100}

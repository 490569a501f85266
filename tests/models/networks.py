"""Networks whose trained weights lie in the shared folder of models, for tests and benchmarks.

Written from the descriptions there; the parameter names are those of the weight files. Each is a function
without arguments, as ``edgekit convert --model tests/models/networks.py:resnet20`` wants it. Needs torch.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - what everybody calls it

_SPREAD = 0.2
"""Of the logarithms of BatchNorm's random scales, and of its shifts."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights (option A of He et al. 2015)."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shrinks = stride != 1 or planes_in != planes

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.shrinks:
            quarter = self.conv1.out_channels // 4
            shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class CifarResNet(nn.Module):
    """ResNet for 32x32 pictures with ``blocks`` basic blocks in each of three stages."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(planes_in: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [BasicBlock(planes, planes, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(planes_in, planes, stride), *rest)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class BurnMnist(nn.Module):
    """Three convolutions, BatchNorm after them and after the last linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.conv3 = nn.Conv2d(16, 24, 3)
        self.norm1 = nn.BatchNorm2d(24)
        self.fc1 = nn.Linear(11616, 32)
        self.fc2 = nn.Linear(32, 10)
        self.norm2 = nn.BatchNorm1d(10)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.relu(conv(x))
        x = F.relu(self.fc1(self.norm1(x).flatten(1)))
        return F.log_softmax(self.norm2(self.fc2(x)), dim=1)


class WinmlCifar(nn.Module):
    """Four 5x5 convolutions, each with BatchNorm, around one pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 5, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 5, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.conv4 = nn.Conv2d(12, 24, 5, padding=1)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(24, 24, 5, padding=1)
        self.bn5 = nn.BatchNorm2d(24)
        self.fc1 = nn.Linear(24 * 10 * 10, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn4(self.conv4(x)))
        x = F.relu(self.bn5(self.conv5(x)))
        return self.fc1(x.flatten(1))


class WinmlIris(nn.Module):
    """Three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(4, 24)
        self.layer2 = nn.Linear(24, 24)
        self.layer3 = nn.Linear(24, 3)

    def forward(self, measures: Tensor) -> Tensor:
        return self.layer3(F.relu(self.layer2(F.relu(self.layer1(measures)))))


class NxpCifar(nn.Module):
    """Three 5x5 convolutions, each after an explicit padding and before a pooling; ends in a softmax.

    There is no activation between them, and the last pooling looks at one element in four: so the weights
    were trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5)
        self.conv2 = nn.Conv2d(32, 32, 5)
        self.conv3 = nn.Conv2d(32, 64, 5)
        self.fc = nn.Linear(1024, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for conv, window in ((self.conv1, 2), (self.conv2, 2), (self.conv3, 1)):
            x = F.max_pool2d(conv(F.pad(x, (2, 2, 2, 2))), window, stride=2)
        return F.softmax(self.fc(x.flatten(1)), dim=1)


def resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10 (``cifar10_resnet_akamaster``)."""
    return CifarResNet(3)


def resnet56() -> nn.Module:
    """ResNet-56 for CIFAR-10 (``cifar10_resnet_akamaster``)."""
    return CifarResNet(9)


def burn_mnist() -> nn.Module:
    """The MNIST network of ``burn_mnist``."""
    return BurnMnist()


def winml_cifar() -> nn.Module:
    """The CIFAR-10 network of ``winml_cifar10``."""
    return WinmlCifar()


def winml_iris() -> nn.Module:
    """The Iris network of ``winml_iris``."""
    return WinmlIris()


def nxp_cifar() -> nn.Module:
    """The CIFAR-10 network of ``executorch_nxp_cifar``."""
    return NxpCifar()


class Separable(nn.Sequential):
    """A 3x3 depthwise convolution and a 1x1 one, each with BatchNorm and ReLU (Howard et al. 2017)."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(planes_in, planes_in, 3, stride, padding=1, groups=planes_in, bias=False),
            nn.BatchNorm2d(planes_in),
            nn.ReLU(),
            nn.Conv2d(planes_in, planes, 1, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(),
        )


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down without activation, and a shortcut (Sandler et al. 2018)."""

    def __init__(self, planes_in: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = planes_in * expansion
        self.up = nn.Conv2d(planes_in, inner, 1, bias=False)
        self.bn_up = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        self.bn_depthwise = nn.BatchNorm2d(inner)
        self.down = nn.Conv2d(inner, planes, 1, bias=False)
        self.bn_down = nn.BatchNorm2d(planes)
        self.residual = stride == 1 and planes_in == planes

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn_up(self.up(x)))
        y = F.relu6(self.bn_depthwise(self.depthwise(y)))
        y = self.bn_down(self.down(y))
        return x + y if self.residual else y


class SmallMobileNetV1(nn.Module):
    """MobileNetV1 for 64x64 pictures, with a quarter of the width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        self.blocks = nn.Sequential(*(Separable(*width) for width in widths))
        self.classifier = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(image)).mean((2, 3)))


class SmallMobileNetV2(nn.Module):
    """MobileNetV2 for 64x64 pictures: inverted residuals with ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        shapes = ((16, 16, 1, 1), (16, 24, 2, 6), (24, 24, 1, 6), (24, 40, 2, 6), (40, 40, 1, 6), (40, 64, 2, 6))
        self.blocks = nn.Sequential(*(InvertedResidual(*shape) for shape in (*shapes, (64, 64, 1, 6))))
        self.head = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU6())
        self.classifier = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(image))).mean((2, 3)))


def mobilenet_v1() -> nn.Module:
    """A depthwise network with ReLU, 3x64x64."""
    return SmallMobileNetV1()


def mobilenet_v2() -> nn.Module:
    """A depthwise network with ReLU6 and shortcuts, 3x64x64."""
    return SmallMobileNetV2()


def re_estimate(network: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Replace the statistics of each BatchNorm by those of some inputs, in place; in eval mode afterwards."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average over the batches
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    return network.eval()


def with_statistics(network: nn.Module, image_size: int = 64, seed: int = 0) -> nn.Module:
    """Random weights that let the input through to the output, in place; in eval mode afterwards.

    With the statistics that BatchNorm starts with, each layer of a random network shrinks what it is given, and the
    outputs are all the same. Its scales differ from channel to channel, as they do after training.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data = torch.exp(_SPREAD * torch.randn(module.weight.shape, generator=generator))
            module.bias.data = _SPREAD * torch.randn(module.bias.shape, generator=generator)
    return re_estimate(network, (torch.randn(16, 3, image_size, image_size, generator=generator) for _ in range(8)))

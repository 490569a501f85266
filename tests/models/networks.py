"""Networks whose trained weights lie in the shared folder of models, for tests and benchmarks.

Written from the descriptions there; the parameter names are those of the weight files. Each is a function
without arguments, as ``edgekit convert --model tests/models/networks.py:resnet20`` wants it. Needs torch.
"""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - what everybody calls it


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

"""The network of the example: a small convolutional one for 8x8 pictures of handwritten digits."""

from torch import Tensor, nn


class Digits(nn.Module):
    """Three convolutions with BatchNorm and one linear layer.

    Input ``image``: float32 ``[batch, 1, 8, 8]``, grey values from 0 to 1. Output: ten class scores (logits).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(48)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(48 * 2 * 2, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Class scores of a batch of pictures."""
        x = self.act(self.norm1(self.conv1(image)))
        x = self.pool(self.act(self.norm2(self.conv2(x))))
        x = self.pool(self.act(self.norm3(self.conv3(x))))
        return self.classifier(x.flatten(1))

"""What the tests of whole commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CODE = """\
    import os
    import signal
    import time
    from pathlib import Path

    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, image):
            return self.drop(self.norm(self.conv(image))).mean((2, 3))


    class Wide(Net):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)


    class Constant(nn.Module):
        def forward(self, image):
            return image.mean((2, 3)) * 0 + 1


    class Slow(Net):
        def forward(self, image):
            y = super().forward(image)
            x = image.flatten(2)[:, :1].mT * image.flatten(2)[:, 1:2]
            for _ in range(4):
                x = torch.tanh(x @ x)
            return y + x.mean((1, 2), keepdim=True).flatten(1)


    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Inner()

        def forward(self, image):
            return torch.linalg.eigvalsh(self.first(image))


    class Inner(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x) + torch.linalg.inv(x)


    def broken():
        width = 1
        return width / 0  # the culprit


    def wrong_type():
        return {"a": 1}


    not_callable = 3


    def killed():
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


    def sleepy():
        Path("asleep").touch()
        time.sleep(300)
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


def line_of(code: str) -> int:
    """Where something stands in the user's file."""
    (number,) = (number for number, line in enumerate(CODE.splitlines(), 1) if code in line)
    return number


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file()) if folder.exists() else []


def check(done: Done, code: int, *said: str) -> None:
    """The exit code and parts of the message; nothing was written."""
    for part in said:
        assert part in done.err, done.err
    assert done.code == code, done.err
    assert left(Path("out")) == []

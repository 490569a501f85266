"""Trains the digits network and writes ``digits.pt``, ``calibration.npz`` and ``test.npz`` beside itself.

    python examples/digits/train.py

Needs torch and scikit-learn, which brings the pictures along: nothing is downloaded. Takes half a minute.
One thread and fixed seeds: a second run on the same machine with the same versions gives the same weights,
another machine may differ in the last digits.
"""

from pathlib import Path

import numpy as np
import torch
from model import Digits
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

HERE = Path(__file__).parent
SEED = 0
EPOCHS = 60
BATCH = 64
CALIBRATION_SAMPLES = 300


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each batch moved by up to one pixel in both directions: people do not centre their digits."""
    down, right = (int(torch.randint(-1, 2, (1,), generator=generator)) for _ in range(2))
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of pictures whose highest score is the right one."""
    model.eval()
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def train(images: Tensor, labels: Tensor) -> Digits:
    """A network trained on the pictures.

    Label smoothing and weight decay keep scores and weights in a narrow range, which suits 8-bit numbers.
    """
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = Digits()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(images), generator=generator)
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            loss = loss_of(model(shifted(images[batch], generator)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:2d}: loss {loss.item():.3f}", flush=True)
    return model


def main() -> None:
    """Train, say how good it is, write the files."""
    torch.set_num_threads(1)
    digits = load_digits()
    pixels = (digits.images[:, None] / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
    )
    model = train(torch.from_numpy(x_train), torch.from_numpy(y_train))
    score = accuracy(model, torch.from_numpy(x_test), torch.from_numpy(y_test))
    print(f"accuracy on {len(x_test)} held-out pictures: {score:.4f}")

    torch.save(model.state_dict(), HERE / "digits.pt")
    np.savez_compressed(HERE / "calibration.npz", image=x_train[:CALIBRATION_SAMPLES])
    np.savez_compressed(HERE / "test.npz", image=x_test, labels=y_test.astype(np.int64))


if __name__ == "__main__":
    main()

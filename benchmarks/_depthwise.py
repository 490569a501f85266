"""Two depthwise networks with weights of their own: trained here, in two minutes, once.

With random weights a depthwise network says little about quantization: its outputs are averages of noise. So both
learn the pictures of the shared folder; what counts is that their weights and ranges are those of training.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _shared_data import Samples, cifar_images

ROOT = Path(__file__).parent.parent
NETWORKS = ROOT / "tests" / "models" / "networks.py"
KEPT = ROOT / "build" / "depthwise"
NAMES = ("mobilenet_v1", "mobilenet_v2")
IMAGE_SIZE = 64

_CHECK = 461  # pictures that training does not see; the other 1500 it does
_EPOCHS, _BATCH, _RATE = 8, 32, 4e-3
_SEED = 0


def images(shared: Path) -> tuple[Samples, Samples]:
    """Pictures of 3x64x64 with labels, NCHW: to train and calibrate with, and to check with."""
    import torch
    from torch.nn.functional import interpolate

    small, labels = cifar_images(shared, "half")
    large = interpolate(torch.from_numpy(small), size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear").numpy()
    return (large[_CHECK:], labels[_CHECK:]), (large[:_CHECK], labels[:_CHECK])


def weights(name: str, train: Samples) -> Path:
    """The state dict of a network; trained when it is not kept from before.

    Args:
        name: One of ``NAMES``.
        train: Of :func:`images`.
    """
    import torch

    made_from = NETWORKS.read_bytes() + Path(__file__).read_bytes() + np.ascontiguousarray(train[0]).tobytes()
    path = KEPT / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}.pt"
    if not path.exists():
        print(f"{name}: training once, kept in {path}", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(_trained(name, train).state_dict(), partial)
        partial.replace(path)
    return path


def _trained(name: str, train: Samples) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    sys.path.insert(0, str(NETWORKS.parent))
    import networks

    torch.set_num_threads(1)  # on a busy machine several wait for one another, five times as long
    inputs, labels = (torch.from_numpy(array) for array in train)
    torch.manual_seed(_SEED)
    network = getattr(networks, name)().train()
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    steps = len(inputs) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_EPOCHS * steps)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(inputs))
        for step in range(steps):
            batch = order[step * _BATCH : (step + 1) * _BATCH]
            loss = cross_entropy(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    networks.re_estimate(network, inputs.split(50))
    return network

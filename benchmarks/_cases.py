"""The models of acceptance: real weights, how to read them, their data, their accuracy in plain PyTorch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _depthwise as depthwise
import numpy as np
from _depthwise import NETWORKS
from _shared_data import Samples, cifar_images, cifar_lossless, iris_rows, mnist_images

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"


@dataclass(frozen=True)
class Case:
    """One model file.

    Attributes:
        name: As in the table.
        weights: The file.
        options: What ``edgekit convert`` needs to read it, ``--input`` aside.
        input_name: Of its one input, where a run without data has to be told its shape; else empty.
        calibration: Samples to calibrate with.
        labelled: Sets of labelled samples, by name.
        network: Builds it in plain PyTorch with the weights loaded.
        min_int8_sqnr_db: Limit for static int8, where acceptance names one.
        check: Samples to compare outputs on, where there are no labelled ones.
        targets: That it can become.
        float_file: The same model as a float file of its only target; empty where edgekit has to make that.
    """

    name: str
    weights: Path
    options: tuple[str, ...]
    input_name: str
    calibration: Any
    labelled: dict[str, Samples]
    network: Callable[[], Any]
    min_int8_sqnr_db: float | None = None
    check: Any = None
    targets: tuple[str, ...] = ("tflite", "onnx", "executorch")
    float_file: Path | None = None

    @property
    def input_options(self) -> list[str]:
        """What to add for a run without data."""
        sizes = ",".join(str(size) for size in (1, *self.calibration.shape[1:]))
        return [f"--input={self.input_name}={sizes}"] if self.input_name else []

    def float_accuracy(self, samples: Samples) -> float:
        """Top-1 of the source in plain PyTorch: nothing of edgekit is in the way."""
        import torch

        inputs, labels = samples
        network = self.network().eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(inputs), 250):
                scores = network(torch.from_numpy(inputs[start : start + 250]))
                right += int((scores.argmax(1).numpy() == labels[start : start + 250]).sum())
        return right / len(labels)


def all_cases(shared: Path, scratch: Path, one_form: bool = False) -> list[Case]:
    """Every case whose files are there; those of the digits network are made in ``scratch``.

    Args:
        shared: The folder of shared models.
        scratch: An existing folder.
        one_form: Of weights that lie there in several forms, the first alone.
    """
    found = _digits(scratch)[: 1 if one_form else None]
    if not shared.is_dir():
        return found
    jpeg = {kind: cifar_images(shared, kind) for kind in ("imagenet", "half")}
    lossless = {kind: cifar_lossless(shared, kind) for kind in ("imagenet", "half")}
    for name, weights, factory, kind in (
        ("resnet20", "cifar10_resnet_akamaster/resnet20-12fca82f.th", "resnet20", "imagenet"),
        ("resnet56", "cifar10_resnet_akamaster/resnet56-4bfd9763.th", "resnet56", "imagenet"),
        ("winml-cifar", "winml_cifar10/myFirstModel.pth", "winml_cifar", "half"),
        ("nxp-cifar", "executorch_nxp_cifar/cifar_net.pth", "nxp_cifar", "half"),
    ):
        sets = {"jpeg": jpeg[kind], "lossless": lossless[kind]}
        found.append(_from_shared(name, shared / weights, factory, "image", sets))
    mnist = {"mnist": mnist_images(shared)}
    for suffix in ("pt",) if one_form else ("pt", "safetensors"):
        path = shared / f"burn_mnist/mnist.{suffix}"
        found.append(_from_shared(f"burn-mnist.{suffix}", path, "burn_mnist", "image", mnist))
    iris = {"iris": iris_rows(shared)}
    found.append(_from_shared("winml-iris", shared / "winml_iris/NetModel.pth", "winml_iris", "measures", iris))
    return found


def depthwise_cases(shared: Path, names: list[str]) -> list[Case]:
    """Depthwise networks, without labels; they are trained the first time.

    Args:
        shared: The folder of shared models.
        names: Of ``_depthwise.NAMES``.
    """
    if not names or not shared.is_dir():
        return []
    train, (check, _) = depthwise.images(shared)
    return [_unlabelled(name, depthwise.weights(name, train), train[0][::5], check) for name in names]


def _unlabelled(name: str, path: Path, calibration: Any, check: Any) -> Case:
    options = ("--model", f"{NETWORKS}:{name}")
    return Case(name, path, options, "image", calibration, {}, lambda: _load(path, name), check=check)


def unlike(samples: Samples, seen: Any) -> Samples:
    """Without the samples that are among those seen, value for value."""
    known = {row.tobytes() for row in seen}
    new = [index for index, row in enumerate(samples[0]) if row.tobytes() not in known]
    return samples[0][new], samples[1][new]


def _from_shared(name: str, weights: Path, factory: str, input_name: str, labelled: dict[str, Samples]) -> Case:
    inputs = next(iter(labelled.values()))[0]
    step = max(1, min(10, len(inputs) // 50))  # every tenth picture, every third flower
    options = ("--model", f"{NETWORKS}:{factory}")
    return Case(name, weights, options, input_name, inputs[::step][:300], labelled, lambda: _load(weights, factory))


def _load(weights: Path, factory: str) -> Any:
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(NETWORKS.parent))
    import networks

    if weights.suffix == ".safetensors":
        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    network = getattr(networks, factory)()
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return network


def digits_network() -> Any:
    """The digits network with its weights."""
    import torch

    sys.path.insert(0, str(DIGITS))
    import model

    network = model.Digits()
    network.load_state_dict(torch.load(DIGITS / "digits.pt", weights_only=True))
    return network.eval()


def _digits(scratch: Path) -> list[Case]:
    """The digits network in every form that PyTorch saves."""
    import torch

    network, example = digits_network(), torch.zeros(1, 1, 8, 8)
    shutil.copy(DIGITS / "model.py", scratch)  # a pickled module wants its class
    made = {form: scratch / f"digits-{form}.pt" for form in ("pt2", "traced", "scripted", "pickled")}
    made["pt2"] = made["pt2"].with_suffix(".pt2")
    torch.export.save(torch.export.export(network, (example,)), made["pt2"])
    torch.jit.save(torch.jit.trace(network, example), made["traced"])
    torch.jit.save(torch.jit.script(network), made["scripted"])
    torch.save(network, made["pickled"])
    with np.load(DIGITS / "calibration.npz") as file:
        calibration = file["image"]
    with np.load(DIGITS / "test.npz") as file:
        labelled = {"digits": (file["image"], file["labels"])}

    def case(form: str, path: Path, options: tuple[str, ...] = (), input_name: str = "image") -> Case:
        return Case(f"digits.{form}", path, options, input_name, calibration, labelled, digits_network, 32.0)

    return [
        case("pt2", made["pt2"], input_name=""),
        case("traced", made["traced"], input_name=""),
        case("scripted", made["scripted"]),
        case("pickled", made["pickled"], ("--trust",)),
        case("state_dict", DIGITS / "digits.pt", ("--model", f"{DIGITS / 'model.py'}:Digits")),
    ]

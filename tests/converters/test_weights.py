"""Weights without a network: where they lie in a checkpoint, what their names are prefixed with, what does not fit."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from converters import user_code
from converters.pytorch import reading, weights
from converters.pytorch.reading import WeightsAloneError
from edgekit.errors import ConversionError, UntrustedError

torch = pytest.importorskip("torch", reason="needs the extra torch")

CODE = """\
import torch

class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc = torch.nn.Linear(3, width)
        self.norm = torch.nn.BatchNorm1d(width)

    def forward(self, x):
        return self.norm(self.fc(x))

def wide():
    return Net(8)
"""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "net_of_weights.py").write_text(CODE)
    return f"{tmp_path}/net_of_weights.py:Net"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    network = Net()
    for tensor in network.state_dict().values():
        if tensor.dtype is torch.float32:
            tensor.copy_(torch.randn_like(tensor))
    return network.state_dict()


def read_file(path: Path, code: str | None, trust: bool = False) -> reading.Network:
    with user_code.user_imports(*user_code.folders_of(code, path)):
        return reading.read(path, model_code=code, trust=trust)


def read(content: object, folder: Path, code: str | None, trust: bool = False, **save: object) -> reading.Network:
    path = folder / "checkpoint.pt"
    torch.save(content, path, **save)
    return read_file(path, code, trust)


def check(network: reading.Network, state: dict[str, torch.Tensor], *notes: str) -> None:
    loaded = network.run.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(loaded[name], tensor), name
    assert network.notes == list(notes)
    assert not network.run.training


def test_plain_state_dict(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    check(read(state, tmp_path, code), state)


@pytest.mark.parametrize("key", weights._NESTED)
def test_nested(tmp_path: Path, code: str, state: dict[str, torch.Tensor], key: str) -> None:
    check(read({"epoch": 3, key: state}, tmp_path, code), state, f"The weights were under {key!r}.")


def test_nested_deeper(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    content = {"model": {"state_dict": state, "name": "resnet"}, "optimizer": {"lr": 0.1}}
    check(read(content, tmp_path, code), state, "The weights were under 'model.state_dict'.")


def test_state_dict_comes_before_a_tensor_beside_it(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    content = {"loss": torch.tensor(0.1), "model_state_dict": state}
    check(read(content, tmp_path, code), state, "The weights were under 'model_state_dict'.")


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net.backbone."])
def test_prefixes(tmp_path: Path, code: str, state: dict[str, torch.Tensor], prefix: str) -> None:
    content = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    note = f"The prefix {prefix!r} was taken off the names of the weights."
    check(read(content, tmp_path, code), state, note)


def test_what_lies_outside_the_prefix_is_listed(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    content = {"model." + name: tensor for name, tensor in state.items()} | {"criterion.weight": torch.ones(3)}
    check(
        read(content, tmp_path, code),
        state,
        "The prefix 'model.' was taken off the names of the weights.",
        "Not part of the network: tensors: criterion.weight.",
    )


def test_lightning_checkpoint(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    content = {
        "epoch": 9,
        "global_step": 1000,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(("model." + name, tensor) for name, tensor in state.items()),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.93), "best_k_models": {}}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        "hyper_parameters": {"width": 4, "name": "net"},
    }
    check(
        read(content, tmp_path, code),
        state,
        "The weights were under 'state_dict'.",
        "The prefix 'model.' was taken off the names of the weights.",
    )


def test_batch_counters_may_be_missing(tmp_path: Path, code: str, state: dict[str, torch.Tensor]) -> None:
    del state["norm.num_batches_tracked"]
    check(read(state, tmp_path, code), state)


def test_half_precision_weights_are_taken_as_they_are(tmp_path: Path, code: str, state: dict) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    check(read(half, tmp_path, code), {name: tensor.float() for name, tensor in half.items()})


def test_missing_extra_and_misshapen_weights_are_all_listed(tmp_path: Path, code: str, state: dict) -> None:
    del state["norm.weight"]
    state["head.weight"] = torch.zeros(2)
    state["fc.bias"] = torch.zeros(7)
    with pytest.raises(ConversionError) as caught:
        read(state, tmp_path, code)
    assert f"the weights do not belong to {code}: " in caught.value.message
    assert caught.value.message.endswith(
        "missing from the file: norm.weight; unknown to the network: head.weight; "
        "of another shape: fc.bias is [7] in the file and [4] in the network."
    )
    assert "width" in caught.value.hint


def test_long_lists_are_cut(tmp_path: Path, code: str, state: dict) -> None:
    content = {f"layer{number}.weight": torch.zeros(1) for number in range(20)}
    with pytest.raises(ConversionError, match=r"unknown to the network: .* and 14 more"):
        read(content, tmp_path, code)


def test_another_width(tmp_path: Path, code: str, state: dict) -> None:
    with pytest.raises(ConversionError, match=r"fc\.weight is \[4, 3\] in the file and \[8, 3\] in the network"):
        read(state, tmp_path, code.replace(":Net", ":wide"))


def test_a_whole_module_under_a_key_needs_trust(tmp_path: Path, code: str) -> None:
    with pytest.raises(UntrustedError):
        read({"model": torch.nn.Linear(3, 4)}, tmp_path, code)


def test_a_whole_module_under_a_key_gives_its_weights(tmp_path: Path, code: str) -> None:
    linear = torch.nn.Sequential(OrderedDict(fc=torch.nn.Linear(3, 4), norm=torch.nn.BatchNorm1d(4)))
    network = read({"epoch": 1, "model": linear}, tmp_path, code, trust=True)
    check(network, linear.state_dict(), "The weights were under 'model'.")


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_numbers_beside_the_weights_need_no_trust(tmp_path: Path, code: str, state: dict, legacy: bool) -> None:
    """``best_acc`` is one in many a checkpoint."""
    numbers = [np.dtype(name).type(1) for name in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    content = {"state_dict": state, "best_acc": np.float64(0.9), "history": numbers}
    network = read(content, tmp_path, code, _use_new_zipfile_serialization=not legacy)
    check(network, state, "The weights were under 'state_dict'.")


def test_numpy_numbers_of_numpy_1(tmp_path: Path, code: str, state: dict) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": state, "best_acc": np.float64(0.9)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    check(read_file(path, code), state, "The weights were under 'state_dict'.")


@pytest.mark.parametrize("content", [np.array([{}], dtype=object), np.zeros(3), np.datetime64("2026-01-01")])
def test_other_things_of_numpy_need_trust(tmp_path: Path, code: str, state: dict, content: object) -> None:
    with pytest.raises(UntrustedError, match="numpy") as caught:
        read({"state_dict": state, "extra": content}, tmp_path, code)
    assert "numpy.dtype," not in caught.value.message  # which is let, and so no reason
    network = read({"state_dict": state, "extra": content}, tmp_path, code, trust=True)
    check(network, state, "The weights were under 'state_dict'.")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_needs_trust_is_named(tmp_path: Path, code: str, state: dict, legacy: bool) -> None:
    with pytest.raises(UntrustedError, match=r"needs code of its own \(pathlib\.PosixPath\)"):
        read({"state_dict": state, "path": tmp_path}, tmp_path, code, _use_new_zipfile_serialization=not legacy)


def test_no_weights_at_all(tmp_path: Path, code: str) -> None:
    with pytest.raises(ConversionError, match="no weights found; the file holds a dict with keys 'epoch', 'lr'"):
        read({"epoch": 1, "lr": 0.1}, tmp_path, code)
    with pytest.raises(ConversionError, match="no weights found; the file holds list"):
        read([1, 2], tmp_path, code)
    with pytest.raises(ConversionError, match="no weights found; the file holds Tensor"):
        read(torch.zeros(3), tmp_path, code)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_weights_alone_tell_what_is_needed(tmp_path: Path, state: dict, kind: str) -> None:
    path = tmp_path / "weights.bin"
    if kind == "safetensors":
        pytest.importorskip("safetensors.torch", reason="needs the extra torch").save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsAloneError, match=r"weights alone \(7 tensors, 33 numbers: .*fc\.weight") as caught:
        read_file(path, None)
    assert "--model FILE.py:NAME" in caught.value.hint
    assert caught.value.to_json()["error"] == "UsageError"


def test_safetensors(tmp_path: Path, code: str, state: dict) -> None:
    path = tmp_path / "weights.safetensors"
    pytest.importorskip("safetensors.torch", reason="needs the extra torch").save_file(state, path)
    check(read_file(path, code), state)


def test_truncated_safetensors(tmp_path: Path, code: str, state: dict) -> None:
    path = tmp_path / "weights.safetensors"
    pytest.importorskip("safetensors.torch", reason="needs the extra torch").save_file(state, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConversionError, match="not a complete safetensors file"):
        read_file(path, code)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_damaged_torch_save(tmp_path: Path, code: str, state: dict, kind: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = bytearray(path.read_bytes())
    place = content.index(b"fc.weight") - 20
    content[place : place + 60] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises((ConversionError, UntrustedError)):
        read_file(path, code)


def test_cuda_storages_come_to_the_cpu(shared_models: Path) -> None:
    """A real checkpoint: nested, ``module.``, trained on a GPU, accuracy beside it."""
    path = next((shared_models / "cifar10_resnet_akamaster").glob("resnet20-*.th"))
    with pytest.raises(WeightsAloneError) as caught:
        read_file(path, None)
    assert {tensor.device.type for tensor in caught.value.state.values()} == {"cpu"}
    network = read_file(path, f"{Path(__file__).parent.parent}/models/networks.py:resnet20")
    weight = caught.value.state["module.layer3.2.conv2.weight"]
    assert torch.equal(network.run.state_dict()["layer3.2.conv2.weight"], weight)
    assert network.notes == [
        "The weights were under 'state_dict'.",
        "The prefix 'module.' was taken off the names of the weights.",
    ]

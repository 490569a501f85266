"""Inner tensors of a ``.pte`` as outputs: the file computes what it did, and shows what its layers compute."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.executorch._editing import Editor
from converters.executorch._exposed import Inside
from converters.executorch._modules import Modules
from converters.executorch._program import MODULES, Program
from converters.executorch._tree import ALIGNMENT, Record, pack, unpack
from converters.executorch.inspect import inspect
from converters.executorch.tap import tap
from converters.tapping import Row
from edgekit import registry
from edgekit.errors import ConversionError, UnsupportedError

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("executorch", reason="needs the extra executorch")

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from pte_runs import Case, case  # noqa: E402 - found through the lines above
from torch import nn  # noqa: E402

from profiles.runtimes import executorch as runtime  # noqa: E402

MODELS = Path(__file__).parent.parent / "models"
SHAPES = {
    "small": (1, 2, 8, 8),
    "work_cnn": (1, 3, 16, 16),
    "work_depthwise": (1, 3, 16, 16),
    "work_transformer": (1, 8, 32),
}
FILES = sorted(path.stem for path in MODELS.glob("*.pte"))
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Tapped:
    """A tapped file, run once.

    Attributes:
        rows: By ``tensor``.
        arrays: Of the rows, floats, by ``tensor``.
        notes: Of the tap.
        finals: Pairs of a final output of the file itself and of the tapped one.
    """

    rows: dict[str, Row]
    arrays: dict[str, np.ndarray]
    notes: list[str]
    finals: list[tuple[np.ndarray, np.ndarray]]


def tapped(path: Path, folder: Path, sample: np.ndarray, exact: bool = False) -> Tapped:
    """Tap a file and run both."""
    runtime.start()
    found = tap(str(path), str(folder / "tapped.pte"), exact)
    before, after = (_outputs(item, sample) for item in (path, folder / "tapped.pte"))
    arrays = {}
    for row in found["taps"]:
        array = after[row["output"]]
        if row["scale"] is not None and row["zero_point"] is not None:
            array = (array.astype(np.float32) - row["zero_point"]) * np.float32(row["scale"])
        arrays[row["tensor"]] = array.astype(np.float32)
    rows = {row["tensor"]: row for row in found["taps"]}
    assert len(rows) == len(found["taps"])
    return Tapped(rows, arrays, found["notes"], [(before[name], after[name]) for name in before])


def _outputs(path: Path, sample: np.ndarray) -> dict[str, np.ndarray]:
    model = runtime.load(str(path), 1)
    found = model.run({model.inputs[0]["name"]: sample})
    return {name: np.array(value) for name, value in found.items()}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def sqnr_db(reference: np.ndarray, found: np.ndarray) -> float:
    assert reference.shape == found.shape
    noise = ((reference.astype(np.float64) - found) ** 2).sum()
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / max(noise, 1e-30)))


def shape_of(name: str) -> tuple[int, ...]:
    return next(shape for start, shape in SHAPES.items() if name.startswith(start))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_the_file_computes_what_it_did(name: str, exact: bool, tmp_path: Path) -> None:
    sample = normal(*shape_of(name))
    if name == "small_float16":
        sample = sample.astype(np.float16)  # made without what keeps inputs float32
    found = tapped(MODELS / f"{name}.pte", tmp_path, sample, exact)
    for before, after in found.finals:
        assert np.ptp(before) > 0
        np.testing.assert_array_equal(before, after)
    known = {"image", "tokens", "input_0"}
    for tensor, row in found.rows.items():
        assert np.isfinite(found.arrays[tensor]).all()
        assert row["inputs"], tensor
        assert set(row["inputs"]) <= known, tensor  # in order of execution
        known.add(tensor)
    assert len(found.rows) > 5


def test_open_sizes(tmp_path: Path) -> None:
    one, four = (tapped(MODELS / "small_batch.pte", tmp_path, normal(count, 2, 8, 8)) for count in (1, 4))
    for tensor, array in four.arrays.items():
        assert array.shape == (4, *one.arrays[tensor].shape[1:])
        assert four.rows[tensor]["shape"] == [None] * array.ndim


def test_delegates_and_kernels_agree(tmp_path: Path) -> None:
    """The same network twice: one file with XNNPACK, one of portable kernels that share all their memory."""
    sample = normal(1, 2, 8, 8)
    inside = tapped(MODELS / "small_float32.pte", tmp_path, sample).arrays
    outside = tapped(MODELS / "small_portable.pte", tmp_path, sample).arrays
    pairs = {
        "Conv2d_1x4x4x4_0": "relu_1x4x4x4_0", "DepthwiseConv2d_1x4x4x4_0": "convolution_1x4x4x4_1",
        "Add_1x4x4x4_0": "add_1x4x4x4_0", "ConvTranspose2d_1x8x8x2_0": "convolution_1x2x8x8_0",
        "FullyConnected_1x5_0": "addmm_1x5_0", "BatchMatrixMultiply_1x1x1_0": "bmm_1x1x1_0", "Exp_1x5_0": "exp_1x5_0",
        "FullyConnected_1x3_0": "addmm_1x3_0", "Softmax_1x3_0": "_softmax_1x3_0",
    }  # fmt: skip
    for delegated, portable in pairs.items():
        array = inside[delegated]
        array = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
        assert sqnr_db(outside[portable], array) > 110, delegated


class Network(nn.Module):
    """What fuses and what does not, a kernel outside of delegates, and a change of shape that leaves no instruction."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.border = nn.ZeroPad2d((0, 2, 1, 1))
        self.deep = nn.Conv2d(8, 8, 3, groups=8)
        self.pool = nn.MaxPool2d(2)
        self.clip = nn.ReLU6()
        self.inner = nn.Linear(8 * 4 * 4, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.clip(self.pool(x + self.deep(self.border(x))))
        x = torch.cumsum(self.inner(x.flatten(1)), 1)
        return self.head(x)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Case]:
    torch.manual_seed(3)
    made = Network().eval()
    return made, case(made, normal(6, 1, 3, 16, 16), tmp_path_factory.mktemp("network"))


def _converted(found: Case, scheme: str, folder: Path) -> Path:
    path = folder / f"{scheme}.pte"
    path.write_bytes(found.convert(scheme).content)
    return path


def _of_modules(module: nn.Module, sample: np.ndarray) -> dict[str, np.ndarray]:
    """What torch computes in each module."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        return lambda _, __, output: seen.__setitem__(name, output.numpy().copy())

    hooks = [item.register_forward_hook(keep(name)) for name, item in module.named_modules() if name]
    with torch.no_grad():
        module(torch.from_numpy(sample))
    for hook in hooks:
        hook.remove()
    return seen


def test_against_torch(network: tuple[nn.Module, Case], tmp_path: Path) -> None:
    module, converted = network
    sample = converted.samples[0]
    found = tapped(_converted(converted, "float32", tmp_path), tmp_path, sample)
    torchs = _of_modules(module, sample)
    by_module = {(row["module"], row["operator"].rpartition("::")[2]): tensor for tensor, row in found.rows.items()}
    for place, computed in [
        (("stem.0", "Conv2d"), "stem"),  # with the activation, which was fused when the file was made
        (("border", "StaticConstantPad"), "border"),
        (("deep", "DepthwiseConv2d"), "deep"),
        (("pool", "MaxPooling2d"), "pool"),
        (("clip", "Clamp"), "clip"),
        (("inner", "FullyConnected"), "inner"),
        (("head", "FullyConnected"), "head"),
    ]:
        array = found.arrays[by_module[place]]
        assert sqnr_db(torchs[computed], array.transpose(0, 3, 1, 2) if array.ndim == 4 else array) > 110, place
    assert by_module[("(top)", "cumsum.out")] == "(top)/cumsum_1x12_0"
    (final,) = [row for row in found.rows.values() if row["output"] == "output"]
    assert (final["module"], final["inputs"]) == ("head", ["(top)/cumsum_1x12_0"])


def test_integers_stand_for_what_the_float_file_computes(network: tuple[nn.Module, Case], tmp_path: Path) -> None:
    _, converted = network
    sample = converted.samples[0]
    floats = tapped(_converted(converted, "float32", tmp_path), tmp_path, sample)
    integers = tapped(_converted(converted, "int8", tmp_path), tmp_path, sample)
    np.testing.assert_array_equal(*integers.finals[0])
    assert {row["dtype"] for row in integers.rows.values()} == {"int8", "float32"}
    met = set()
    for tensor, row in integers.rows.items():
        assert (row["scale"] is None) == (row["dtype"] == "float32")
        if row["twin"] in floats.rows:
            met.add(row["twin"])
            # What is before the clip is quantized over the range behind it.
            pair = [np.clip(array, 0, 6) for array in (floats.arrays[row["twin"]], integers.arrays[tensor])]
            assert sqnr_db(pair[0], pair[1]) > 20, tensor
    assert met == set(floats.rows)


def test_exact_leaves_out_what_is_fused(network: tuple[nn.Module, Case], tmp_path: Path) -> None:
    _, converted = network
    path = _converted(converted, "float32", tmp_path)
    every, exact = (tapped(path, tmp_path, converted.samples[0], choice) for choice in (False, True))
    fused = [every.rows[tensor]["operator"] for tensor in every.rows if tensor not in exact.rows]
    assert fused == ["xnnpack::StaticConstantPad", "xnnpack::MaxPooling2d"]
    assert "XNNPACK computes them together with what follows" in exact.notes[0]
    (clip,) = [row for row in exact.rows.values() if row["operator"] == "xnnpack::Clamp"]
    assert clip["inputs"] == ["(top)/Add_1x8x8x8_0"]  # through what is not shown
    for tensor, array in exact.arrays.items():
        np.testing.assert_array_equal(array, every.arrays[tensor])


def test_rows_quantized_at_run_time_are_said_to_be_left_out(tmp_path: Path) -> None:
    found = tapped(MODELS / "small_int8_dynamic.pte", tmp_path, normal(1, 2, 8, 8))
    assert "3 of its inner tensors are not looked at (they are quantized row by row" in found.notes[0]
    assert found.rows["FullyConnected_1x5_0"]["inputs"] == ["StaticReshape_1x128_0"]


def test_a_trained_network(shared_models: Path, tmp_path: Path) -> None:
    from networks import resnet20

    stored = torch.load(
        shared_models / "cifar10_resnet_akamaster" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True
    )
    module = resnet20()
    module.load_state_dict({name.removeprefix("module."): value for name, value in stored["state_dict"].items()})
    data = np.load(shared_models / "_data_cifar10" / "cifar10_lossless_dev100.npz")
    images = next(data[name] for name in data.files if data[name].ndim == 4)[:4].astype(np.float32) / 255
    images = images if images.shape[1] == 3 else images.transpose(0, 3, 1, 2)
    samples = np.ascontiguousarray((images - 0.45) / 0.23).reshape(-1, 1, 3, 32, 32)
    converted = case(module, samples, tmp_path / "case")
    floats = tapped(_converted(converted, "float32", tmp_path), tmp_path, samples[0])
    integers = tapped(_converted(converted, "int8", tmp_path), tmp_path, samples[0])
    for found in (floats, integers):
        np.testing.assert_array_equal(*found.finals[0])
    torchs = _of_modules(module, samples[0])
    ends = {row["module"]: tensor for tensor, row in floats.rows.items() if row["operator"] == "xnnpack::Conv2d"}
    assert len(ends) == 19
    for place in (f"layer{stage}.{block}.conv2" for stage in (1, 2, 3) for block in (0, 1, 2)):
        computed = torchs[place.replace("conv2", "bn2")]
        assert sqnr_db(computed, floats.arrays[ends[place]].transpose(0, 3, 1, 2)) > 110, place
    pairs = [(row["twin"], tensor) for tensor, row in integers.rows.items() if row["twin"] in floats.rows]
    assert {twin for twin, _ in pairs} >= set(ends.values())
    for twin, tensor in pairs:
        assert sqnr_db(floats.arrays[twin], integers.arrays[tensor]) > 8, tensor


class Odd(nn.Module):
    """State, lists of tensors, several outputs of one operator, outputs that are others in another shape."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("sum", torch.zeros(1, 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.linear(x)
        self.sum.add_(hidden)
        first, second = torch.split(hidden * 2, 4, 1)
        mixed = torch.cat([second, first], 1).cumsum(1)
        best, places = torch.topk(mixed, 3)
        return hidden, hidden.view(2, 4), self.sum + mixed, best, places


def test_state_lists_and_views(tmp_path: Path) -> None:
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(Odd().eval().requires_grad_(False), (torch.from_numpy(normal(1, 8)),))
    (tmp_path / "odd.pte").write_bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
    rows = tap(str(tmp_path / "odd.pte"), str(tmp_path / "tapped.pte"), False)["taps"]
    runtime.start()
    before, after = (runtime.load(str(tmp_path / name), 1) for name in ("odd.pte", "tapped.pte"))
    for scale in (1, 2):  # the second run finds what the first one left
        sample = {"input_0": scale * normal(1, 8)}
        wanted, found = before.run(sample), after.run(sample)
        for name, value in wanted.items():
            np.testing.assert_array_equal(value, found[name])
    arrays = {row["tensor"]: found[row["output"]] for row in rows}
    halves = [arrays[f"split_with_sizes_copy_1x4_{half}"] for half in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves, 1), arrays["mul_1x8_0"])
    np.testing.assert_array_equal(np.concatenate(halves[::-1], 1), arrays["cat_1x8_0"])
    np.testing.assert_array_equal(arrays["mul_1x8_0"], 2 * arrays["addmm_1x8_0"])


def test_kernels_have_modules_where_their_order_tells() -> None:
    stored = {"inside": {"a.0": [3, 4]}, "outside": {"mean": ["b", "c"], "cumsum": ["d"]}}
    modules = Modules(stored, ["mean", "cumsum", "mean", "cumsum"])
    assert [modules.of_node(handle) for handle in (3, 4, 5)] == ["a.0", "a.0", ""]
    assert [modules.of_kernel("mean", number) for number in (0, 1)] == ["b", "c"]
    assert modules.of_kernel("cumsum", 0) == ""  # there is one more than was stored
    assert modules.of_kernel("add", 0) == ""


def test_modules_are_no_metadata(network: tuple[nn.Module, Case], tmp_path: Path) -> None:
    path = _converted(network[1], "float32", tmp_path)
    assert MODULES in Program(path).constants
    assert MODULES not in inspect(str(path))["metadata"]


@pytest.mark.parametrize("name", ["small_int8", "small_portable", "work_transformer_int8"])
def test_flatbuffers_are_written_as_they_were_read(name: str) -> None:
    program = Program(MODELS / f"{name}.pte")
    contents = [program.delegate_content(program.methods[0], index) for index in range(_delegates(program))]
    for table in [program.root, *(Inside(content).graph for content in contents)]:
        tree = unpack(table)
        packed = pack(table.schema, tree, b"TEST")
        assert packed[4:8] == b"TEST"
        assert unpack(table.schema.read(memoryview(packed))) == tree


def _delegates(program: Program) -> int:
    return len(program.methods[0].tables("delegates"))


def test_bytes_are_aligned() -> None:
    schema = Program(MODELS / "small_portable.pte").root.schema
    stored = [Record("Buffer", {"storage": bytes([number]) * (1000 + number)}) for number in range(1, 6)]
    packed = pack(schema, Record("Program", {"version": 0, "constant_buffer": stored}), b"ET12")
    for buffer in stored:
        assert packed.index(buffer["storage"]) % ALIGNMENT == 0


def test_tapping_needs_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from converters.executorch.tap import tap\n"
        f"tap({str(MODELS / 'small_int8.pte')!r}, {str(tmp_path / 'tapped.pte')!r}, False)\n"
        "print([name for name in ('torch', 'executorch.exir') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_found() -> None:
    found = [item for item in registry.taps().values() if item.entry == "converters.executorch.tap:tap"]
    assert [item.form for item in found] == [registry.targets()["executorch"].form]


@pytest.mark.parametrize("kept", [40, 1000, 5000, 12000])
def test_a_truncated_file_is_refused(kept: int, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes((MODELS / "small_int8.pte").read_bytes()[:kept])
    with pytest.raises(ConversionError, match="truncated"):
        tap(str(damaged), str(tmp_path / "tapped.pte"), False)
    assert not (tmp_path / "tapped.pte").exists()


def test_a_damaged_delegate_is_refused(tmp_path: Path) -> None:
    program = Program(MODELS / "small_int8.pte")
    editor = Editor(program, program.methods[0])
    editor.set_delegate(0, bytes(program.delegate_content(program.methods[0], 0)[:200]))
    editor.write(tmp_path / "damaged.pte")
    with pytest.raises(ConversionError, match="damaged"):
        tap(str(tmp_path / "damaged.pte"), str(tmp_path / "tapped.pte"), False)


def test_another_backend_is_refused_by_name(tmp_path: Path) -> None:
    program = Program(MODELS / "small_int8.pte")
    editor = Editor(program, program.methods[0])
    editor.plan["delegates"][0]["id"] = "CoreMLBackend"
    editor.write(tmp_path / "other.pte")
    with pytest.raises(UnsupportedError, match="it runs on CoreMLBackend") as raised:
        tap(str(tmp_path / "other.pte"), str(tmp_path / "tapped.pte"), False)
    assert "leave --layers out" in raised.value.hint

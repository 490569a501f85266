"""Functions of JAX as TFLite files: the same numbers, names and operators."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("jax", reason="needs the extra jax")
pytest.importorskip("ai_edge_litert", reason="needs the extra jax")

import jax
import jax.numpy as jnp
from jax import lax
from jax_models import compare, convert, export, run, samples, settled, sqnr_db

from converters.jax import artifact, rows
from converters.tflite import _file, from_stablehlo
from converters.tflite.layers import layers_of
from edgekit.errors import ConversionError, MissingDependencyError, UnsupportedError, UsageError

F32 = "float32"
NHWC = ("NHWC", "HWIO", "NHWC")
IMAGE = ("image", (1, 16, 16, 3), F32)


@pytest.fixture(autouse=True, scope="module")
def _single_precision() -> Iterator[None]:
    """As in the jobs: litert-torch, imported by other tests, switches to 64 bits."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


def weights(*shape: int) -> np.ndarray:
    generator = np.random.default_rng(sum(shape))
    return (generator.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def kinds(file: Path) -> list[str]:
    return [item.kind for graph in _file.read(file).subgraphs for item in graph]


def cnn(image: Any) -> Any:
    x = jax.nn.gelu(lax.conv_general_dilated(image, weights(3, 3, 3, 8), (2, 2), "SAME", dimension_numbers=NHWC))
    x = (x - 0.1) / jnp.sqrt(weights(8) ** 2 + 1e-5) * 0.7 + 0.2
    x = lax.conv_general_dilated(x, weights(3, 3, 1, 8), (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=8)
    x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.softmax(x.mean((1, 2)) @ weights(8, 5))


def attention(ids: Any) -> Any:
    x = jnp.take(weights(40, 16), ids, axis=0)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
    q, k, v = (jnp.einsum("btd,dhe->bthe", x, weights(16, 2, 8 + place)[..., :8]) for place in range(3))
    shares = jax.nn.softmax(jnp.einsum("bthe,bshe->bhts", q, k) / np.sqrt(8))
    x = x + jnp.einsum("bhts,bshe->bthe", shares, v).reshape(x.shape)
    return {"hidden": jax.nn.gelu(x, approximate=False), "pooled": jnp.tanh(x.mean(1))}


def gru(sequence: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        a, b = x @ weights(4, 24), state @ weights(8, 24)
        update, reset = jax.nn.sigmoid(a[:, :8] + b[:, :8]), jax.nn.sigmoid(a[:, 8:16] + b[:, 8:16])
        state = (1 - update) * jnp.tanh(a[:, 16:] + reset * b[:, 16:]) + update * state
        return state, state

    last, states = lax.scan(step, jnp.zeros((1, 8)), jnp.swapaxes(sequence, 0, 1))
    return last, jnp.swapaxes(states, 0, 1)


def nested_loops(x: Any) -> Any:
    """An inner loop that uses values of the outer one, of the function, and constants."""

    def outer(i: Any, y: Any) -> Any:
        return lax.fori_loop(0, 2, lambda _, z: jnp.tanh(z @ weights(8, 8) + x * i), y)

    return lax.fori_loop(0, 3, outer, x)


def unet(image: Any) -> Any:
    x = lax.conv_general_dilated(image, weights(3, 3, 3, 4), (2, 2), "SAME", dimension_numbers=NHWC)
    return lax.conv_transpose(x, weights(3, 3, 4, 2), (2, 2), "SAME", dimension_numbers=NHWC)


@pytest.mark.parametrize(
    ("function", "spec", "operators"),
    [
        (cnn, IMAGE, {"CONV_2D", "DEPTHWISE_CONV_2D", "GELU", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"}),
        (attention, ("ids", (1, 6), "int32"), {"SOFTMAX", "BATCH_MATMUL", "GELU", "TANH"}),
        (gru, ("sequence", (1, 5, 4), F32), {"WHILE", "LOGISTIC"}),
        (nested_loops, ("x", (1, 8), F32), {"WHILE"}),
        (unet, IMAGE, {"TRANSPOSE_CONV"}),
        (lambda x: lax.cond(x.sum() > 0, lambda y: y * 2, jnp.tanh, x), ("x", (1, 8), F32), set()),
        (lambda x: (lax.top_k(x, 3), jnp.cumsum(x, -1), jnp.argmax(x, -1)), ("x", (1, 8), F32), {"TOPK_V2"}),
    ],
    ids=["cnn", "attention", "gru", "nested loops", "unet", "cond", "topk"],
)
def test_same_numbers(function: Callable[..., Any], spec: Any, operators: set[str], tmp_path: Path) -> None:
    file = compare(settled(function, spec), tmp_path)
    assert operators <= set(kinds(file))


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transposed_convolutions(kernel: int, stride: int, padding: str, tmp_path: Path) -> None:
    def net(image: Any) -> Any:
        kernels = weights(kernel, kernel, 3, 2)
        return lax.conv_transpose(image, kernels, (stride, stride), padding, dimension_numbers=NHWC)

    compare(settled(net, ("image", (1, 5, 6, 3), F32)), tmp_path)


def test_exact_gelu_is_one_operator(tmp_path: Path) -> None:
    file = compare(settled(lambda x: jax.nn.gelu(x, approximate=False), ("x", (2, 16), F32)), tmp_path)
    assert kinds(file) == ["GELU"]


@pytest.mark.parametrize(
    "almost",
    [
        lambda x: 0.5 * x * lax.erfc(-x * 0.8),
        lambda x: 0.4 * x * lax.erfc(-x * np.float32(np.sqrt(0.5))),
        lambda x: 0.5 * x * lax.erfc(x * np.float32(np.sqrt(0.5))),
        lambda x: 0.5 * x[::-1] * lax.erfc(-x * np.float32(np.sqrt(0.5))),
    ],
)
def test_what_is_almost_gelu_stays_what_it_is(almost: Callable[..., Any], tmp_path: Path) -> None:
    assert "GELU" not in kinds(compare(settled(almost, ("x", (2, 16), F32)), tmp_path))


def test_names_and_order(tmp_path: Path) -> None:
    """An input that is not used, one that is returned, an output twice, and keys of a dictionary."""

    def net(b: Any, a: Any, unused: Any) -> Any:
        return {"b": b, "sum": [a + b, a + b], "x/y": (a,), "x.y": b}

    program = settled(net, ("b", (1, 4), F32), ("a", (1, 4), F32), ("unused", (2,), F32))
    outputs = ["b_out", "sum_0", "sum_1", "x_y", "x_y_0"]
    assert [spec.name for spec in program.signature.outputs] == outputs
    file, _ = convert(program, tmp_path)
    sample = samples(program)
    found = run(file, sample)
    assert list(found) == outputs
    np.testing.assert_array_equal(found["b_out"], sample["b"])
    np.testing.assert_array_equal(found["x_y_0"], sample["a"])
    np.testing.assert_array_equal(found["sum_1"], sample["a"] + sample["b"])


def test_output_names() -> None:
    def names(result: Callable[..., Any]) -> list[str]:
        return [spec.name for spec in settled(result, ("x", (1, 2), F32)).signature.outputs]

    assert names(lambda x: x) == ["output"]
    assert names(lambda x: (x, x + 1)) == ["output_0", "output_1"]
    assert names(lambda x: {"a": x, "b": (x, None, [x])}) == ["a", "b_0", "b_2_0"]
    assert names(lambda x: {"a b": x, "a-b": x}) == ["a_b", "a_b_2"]


def test_scopes_name_the_layers(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        for place in range(2):
            with jax.named_scope(f"block{place}"):
                x = jax.nn.relu(x @ weights(8, 8) + weights(8))
        return x.sum(-1)

    file = compare(settled(net, ("x", (1, 8), F32)), tmp_path)
    paths = {layer.path for layer in layers_of(file) if layer.kind == "linear"}
    assert paths == {"block0", "block1"}


@pytest.mark.parametrize(
    ("function", "said", "hint"),
    [
        (jnp.linalg.inv, "lapack_", "jax.numpy.linalg"),
        (jnp.sort, "no kernel for operators of this program: sort", "top_k"),
        (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), "ui64", "Random numbers are drawn inside"),
        (lambda x: (x.astype("bfloat16") @ jnp.ones((8, 8), "bfloat16")).astype(F32), "matmul on bf16", "bfloat16"),
    ],
    ids=["lapack", "sort", "random", "bfloat16"],
)
def test_what_tflite_has_not(function: Callable[..., Any], said: str, hint: str, tmp_path: Path) -> None:
    program = settled(function, ("x", (8, 8), F32))
    with pytest.raises(UnsupportedError) as caught:
        convert(program, tmp_path)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert not (tmp_path / "net.tflite").exists()


def test_inputs_and_outputs_that_cannot_be() -> None:
    with pytest.raises(UsageError) as wide:
        settled(lambda x: x, ("x", (1, 4), "float64"))
    assert wide.value.hint.startswith("--input x=1,4:float32")
    with pytest.raises(UnsupportedError, match="complex64"):
        settled(jnp.fft.rfft, ("x", (1, 4), F32))
    with pytest.raises(UnsupportedError, match="bfloat16"):
        settled(lambda x: x.astype("bfloat16"), ("x", (1, 4), F32))
    with pytest.raises(UnsupportedError, match="returns no array"):
        settled(lambda x: None, ("x", (1, 4), F32))
    with pytest.raises(ConversionError) as text:
        settled(lambda x: "text", ("x", (1, 4), F32))
    assert text.value.hint == "Return arrays, alone or in tuples, lists and dicts."


def test_rows_of_tables_bound_random_numbers() -> None:
    def net(ids: Any, other: Any, x: Any) -> Any:
        return jnp.take(weights(40, 4), ids, axis=0).sum() + jnp.asarray(weights(7, 2))[other].sum() + x.sum()

    program = settled(net, ("ids", (1, 6), "int32"), ("other", (3,), "int32"), ("x", (2,), F32))
    assert rows.bounds(program) == {"ids": 40, "other": 7}
    assert rows.bounds(settled(jnp.sum, ("x", (2,), F32))) == {}


# Programs of jax.export


def opened(path: Path, *shapes: tuple[int, ...]) -> Any:
    found = artifact.read(path)
    specs = [(spec.name, shape, spec.dtype) for spec, shape in zip(found.inputs, shapes, strict=True)]
    return settled(found.call, *specs)


def test_program_round_trip(tmp_path: Path) -> None:
    file = export(cnn, tmp_path / "cnn.jaxexport", jax.ShapeDtypeStruct(IMAGE[1], F32))
    assert [str(spec) for spec in artifact.read(file).inputs] == ["image: float32[1,16,16,3]"]
    program = opened(file, IMAGE[1])
    sample = samples(program)
    np.testing.assert_allclose(program.runner()(sample)["output"], cnn(sample["image"]), rtol=1e-5)
    compare(program, tmp_path)


def test_open_sizes_and_platforms_are_settled(tmp_path: Path) -> None:
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 16, 16, 3), F32)
    file = export(cnn, tmp_path / "cnn.jaxexport", shape, platforms=("cpu", "tpu"))
    assert [str(spec) for spec in artifact.read(file).inputs] == ["image: float32[?,16,16,3]"]
    made = compare(opened(file, (2, 16, 16, 3)), tmp_path)
    plain = tmp_path / "plain"
    plain.mkdir()
    assert sorted(kinds(made)) == sorted(kinds(compare(settled(cnn, ("image", (2, 16, 16, 3), F32)), plain)))


def test_names_of_a_program(tmp_path: Path) -> None:
    """Also of inputs that it does not use, which are not in its module, and of keys and keyword arguments."""
    shape = jax.ShapeDtypeStruct((1, 4), F32)

    def net(params: Any, x: Any, unused: Any, *, scale: Any) -> Any:
        return x * params["w"] * scale

    file = tmp_path / "net.jaxexport"
    exported = jax.export.export(jax.jit(net), platforms=("cpu",))({"w": shape}, shape, shape, scale=shape)
    file.write_bytes(exported.serialize())
    found = artifact.read(file)
    assert [spec.name for spec in found.inputs] == ["params_w", "x", "args_2", "scale"]
    assert found.nested
    compare(opened(file, *[(1, 4)] * 4), tmp_path)


def test_other_platform(tmp_path: Path) -> None:
    shape = jax.ShapeDtypeStruct((1, 4), F32)
    file = export(jnp.sin, tmp_path / "net.jaxexport", shape, platforms=("tpu",))
    with pytest.raises(UnsupportedError) as caught:
        artifact.read(file)
    assert "exported for tpu only" in caught.value.message
    assert "platforms=('cpu',)" in caught.value.hint


def test_program_that_calls_out_is_not_run(tmp_path: Path) -> None:
    file = export(jnp.linalg.inv, tmp_path / "net.jaxexport", jax.ShapeDtypeStruct((4, 4), F32))
    with pytest.raises(UnsupportedError, match=r"lapack_sgetrf_ffi.*nothing was run"):
        artifact.read(file)


class Pair(NamedTuple):
    """A container of the user's, which the program names and does not hold."""

    first: Any
    second: Any


def test_containers_of_unknown_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jax._src.export import _export

    jax.export.register_namedtuple_serialization(Pair, serialized_name="users.Pair")
    shape = jax.ShapeDtypeStruct((1, 4), F32)
    file = export(lambda x: Pair(x, x + 1), tmp_path / "net.jaxexport", shape)
    monkeypatch.delitem(_export.deserialization_registry, "users.Pair")  # as in a process that has not its code
    with pytest.raises(UnsupportedError, match=r"a container of the type users\.Pair, which only its own code knows"):
        artifact.read(file)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.98])
def test_truncated(tmp_path: Path, keep: float) -> None:
    file = export(cnn, tmp_path / "net.jaxexport", jax.ShapeDtypeStruct(IMAGE[1], F32))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(ConversionError, match="cut short or damaged"):
        artifact.read(file)


def test_damaged_module(tmp_path: Path) -> None:
    file = export(cnn, tmp_path / "net.jaxexport", jax.ShapeDtypeStruct(IMAGE[1], F32))
    content = bytearray(file.read_bytes())
    start = content.index(b"ML\xefR") + 8
    content[start : start + 300] = bytes(300)
    file.write_bytes(content)
    with pytest.raises(ConversionError) as caught:
        artifact.read(file)
    assert f"JAX {jax.__version__} does not read the module" in caught.value.message
    assert "newer JAX" in caught.value.hint


# A converter with another interface


def test_another_interface_takes_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
    extension = importlib.import_module(from_stablehlo._EXTENSION)
    monkeypatch.delattr(extension, "set_signature")

    def net(b: Any, a: Any) -> Any:
        return {"z": a @ weights(4, 3), "c": b + 1}

    program = settled(net, ("b", (1, 2), F32), ("a", (1, 4), F32))
    file, notes = convert(program, tmp_path)
    assert "Converted through TensorFlow" in notes[0]
    sample = samples(program)
    wanted, found = program.runner()(sample), run(file, sample)
    assert list(found) == list(wanted) == ["c", "z"]
    assert all(sqnr_db(wanted[name], found[name]) > 100 for name in wanted)


def test_another_interface_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_stablehlo, "_USED", ["not_there"])
    monkeypatch.setattr(from_stablehlo.registry, "require", _refuse)
    with pytest.raises(MissingDependencyError, match="another interface than edgekit knows"):
        convert(settled(jnp.sin, ("x", (1, 2), F32)), tmp_path)


def _refuse(packages: object, extra: str, what: str) -> None:
    assert extra == "tensorflow"
    raise MissingDependencyError(what)

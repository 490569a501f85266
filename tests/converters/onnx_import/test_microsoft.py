"""Operators of ONNX Runtime's own domain: eagerly and after torch.export, as ONNX Runtime computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from imported_models import agree_with_runtime, called, one_node, run_in_runtime

from converters.onnx_import.operators import MICROSOFT
from edgekit.errors import UnsupportedError

BATCH, LENGTH, HEADS, SIZE = 2, 5, 3, 8
WIDTH = HEADS * SIZE
RANDOM = np.random.default_rng(3)


def random(*shape: int) -> Any:
    return RANDOM.standard_normal(shape, np.float32)


def integers(low: int, high: int, *shape: int, dtype: Any = np.int32) -> Any:
    return RANDOM.integers(low, high, shape, dtype)


def agree(
    kind: str,
    operands: dict[str, Any],
    outputs: int = 1,
    constants: tuple[str, ...] = (),
    least_db: float = 110.0,
    domain: str = MICROSOFT,
    **attributes: Any,
) -> Any:
    proto, feeds = one_node(kind, operands, outputs, constants, domain, **attributes)
    return agree_with_runtime(proto, feeds, least_db)


X = random(BATCH, LENGTH, WIDTH)
WEIGHT, BIAS = random(WIDTH, 3 * WIDTH) * 0.2, random(3 * WIDTH)
LEFT_PADDED = np.array([[0, 1, 1, 1, 1], [0, 0, 1, 1, 1]], np.int32)
BY_QUERY = np.tril(np.ones((LENGTH, LENGTH), np.int32))[None].repeat(BATCH, 0)


@pytest.mark.parametrize(
    ("keys", "attributes"),
    [
        (None, {}),
        (None, {"scale": 0.3}),
        (None, {"unidirectional": 1}),
        (LEFT_PADDED, {}),
        (1 - LEFT_PADDED[:, ::-1], {"mask_filter_value": -50.0}),
        (np.array([3, 5], np.int32), {}),
        (np.array([4, 5, 1, 2], np.int32), {}),
        (BY_QUERY, {"unidirectional": 1}),
    ],
)
def test_attention(keys: Any, attributes: dict[str, Any]) -> None:
    operands = {"x": X, "weight": WEIGHT, "bias": BIAS, "keys": keys}
    module = agree("Attention", operands, constants=("weight", "bias"), num_heads=HEADS, **attributes)
    assert called(module).count("linear") == 1
    assert "scaled_dot_product_attention" in called(module)


def test_attention_with_values_of_another_width() -> None:
    operands = {"x": X, "weight": random(WIDTH, 2 * WIDTH + HEADS * 4), "bias": random(2 * WIDTH + HEADS * 4)}
    agree("Attention", operands, num_heads=HEADS, qkv_hidden_sizes=[WIDTH, WIDTH, HEADS * 4])


def test_attention_with_a_past_or_a_bias() -> None:
    operands = {"x": X, "weight": WEIGHT, "bias": BIAS, "keys": None}
    past = {**operands, "past": random(2, BATCH, HEADS, 4, SIZE)}
    agree("Attention", past, 2, ("weight", "bias"), num_heads=HEADS, unidirectional=1)
    added = {**operands, "past": None, "added": random(1, HEADS, LENGTH, LENGTH)}
    agree("Attention", added, 1, ("weight", "bias"), num_heads=HEADS)


QUERY, KEY, VALUE = random(BATCH, LENGTH, WIDTH), random(BATCH, 7, WIDTH), random(BATCH, 7, HEADS * 4)
PAST = random(BATCH, HEADS, 4, SIZE)
SOME_KEYS = integers(0, 2, BATCH, 7) | np.eye(BATCH, 7, dtype=np.int32)
FORMS = {
    "apart": {"q": QUERY, "k": KEY, "v": VALUE},
    "with a bias": {"q": QUERY, "k": KEY, "v": VALUE, "bias": random(2 * WIDTH + HEADS * 4)},
    "of a cache": {"q": QUERY, "k": random(BATCH, HEADS, 7, SIZE), "v": random(BATCH, HEADS, 7, SIZE)},
    "padded": {"q": QUERY, "k": KEY, "v": KEY, "bias": None, "keys": SOME_KEYS},
    "biased": {"q": QUERY, "k": KEY, "v": KEY, "bias": None, "keys": None, "added": random(BATCH, 1, LENGTH, 7)},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_multi_head_attention(form: str) -> None:
    module = agree("MultiHeadAttention", FORMS[form], num_heads=HEADS)
    assert "scaled_dot_product_attention" in called(module)


@pytest.mark.parametrize("parts", ["qkv", "kv"])
def test_multi_head_attention_of_packed_data(parts: str) -> None:
    """ONNX Runtime computes packed data on a GPU alone, so its result is that of the parts."""
    apart = {"q": random(BATCH, LENGTH, WIDTH), "k": random(BATCH, LENGTH, WIDTH), "v": random(BATCH, LENGTH, WIDTH)}
    packed = np.stack([apart[name].reshape(BATCH, LENGTH, HEADS, SIZE) for name in parts], 3)
    operands = {"q": packed} if parts == "qkv" else {"q": apart["q"], "k": packed}
    wanted = run_in_runtime(*one_node("MultiHeadAttention", apart, 1, (), MICROSOFT, num_heads=HEADS))
    agree_with_runtime(*one_node("MultiHeadAttention", operands, 1, (), MICROSOFT, num_heads=HEADS), 110.0, wanted)


def test_multi_head_attention_with_a_past() -> None:
    own = {"q": QUERY, "k": random(BATCH, LENGTH, WIDTH), "v": random(BATCH, LENGTH, WIDTH)}
    operands = {**own, "bias": None, "keys": None, "added": None, "past_key": PAST, "past_value": PAST + 1}
    agree("MultiHeadAttention", operands, 3, num_heads=HEADS, unidirectional=1)


def grouped(past: int, last: Any, total: int, **more: Any) -> dict[str, Any]:
    """Four heads of queries, two of keys and values; two tokens, or one where there is a past of several samples."""
    batch, length = len(last), 1 if past and len(last) > 1 else 2 if past else LENGTH
    cache = {name: random(batch, 2, past, 16) if past else None for name in ("past_key", "past_value")}
    data = {"q": random(batch, length, 64), "k": random(batch, length, 32), "v": random(batch, length, 32)}
    sizes = {"last": np.array(last, np.int32), "total": np.array(total, np.int32)}
    return {**data, **cache, **sizes, **more}


TABLES = {"cos": random(16, 8), "sin": random(16, 8)}


@pytest.mark.parametrize("stored", [("total",), ("total", "last")])
@pytest.mark.parametrize(
    ("operands", "attributes"),
    [
        (grouped(0, [LENGTH - 1, LENGTH - 1], LENGTH), {}),
        (grouped(0, [LENGTH - 1], LENGTH, **TABLES), {"do_rotary": 1}),
        (grouped(0, [LENGTH - 1], LENGTH, **TABLES), {"do_rotary": 1, "rotary_interleaved": 1}),
        (grouped(0, [LENGTH - 1], LENGTH), {"local_window_size": 2, "scale": 0.5}),
        (grouped(0, [LENGTH - 1], LENGTH), {"softcap": 2.0}),
        (grouped(6, [7], 8, **TABLES), {"do_rotary": 1}),
        (grouped(6, [6, 6], 7, **TABLES), {"do_rotary": 1, "local_window_size": 4}),
        (grouped(6, [6, 3], 7, **TABLES), {"do_rotary": 1}),
    ],
)
def test_group_query_attention(operands: dict[str, Any], attributes: dict[str, Any], stored: tuple[str, ...]) -> None:
    proto, feeds = one_node(
        "GroupQueryAttention",
        operands,
        3,
        (*stored, "cos", "sin"),
        MICROSOFT,
        num_heads=4,
        kv_num_heads=2,
        **attributes,
    )
    if operands["last"].min() < operands["total"] - 1:
        del proto.graph.output[1:]  # what the cache holds behind a shorter sample is not told
    agree_with_runtime(proto, feeds, 110.0)


def test_group_query_attention_of_packed_data() -> None:
    operands = grouped(0, [LENGTH - 1], LENGTH)
    operands |= {"q": np.concatenate([operands.pop(name) for name in "qkv"], 2)}
    packed = {"q": operands.pop("q"), "k": None, "v": None, **operands}
    agree("GroupQueryAttention", packed, 3, ("total",), num_heads=4, kv_num_heads=2)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [np.array([3], np.int64), integers(0, 9, BATCH, LENGTH, dtype=np.int64)])
@pytest.mark.parametrize(
    ("x", "turned"), [(X, SIZE), (random(BATCH, HEADS, LENGTH, SIZE), SIZE), (X, SIZE // 2)], ids=["3d", "4d", "part"]
)
def test_rotary_embedding(x: Any, turned: int, places: Any, interleaved: int) -> None:
    partial = {} if turned == SIZE else {"num_heads": HEADS, "rotary_embedding_dim": turned}
    operands = {"x": x, "places": places, "cos": random(9, turned // 2), "sin": random(9, turned // 2)}
    agree("RotaryEmbedding", operands, constants=("cos", "sin"), interleaved=interleaved, **partial)


@pytest.mark.parametrize(
    ("bits", "block", "inputs", "zeros"),
    [(bits, *size, zeros) for bits, *size in ((4, 16, 48), (4, 32, 40), (8, 16, 32), (2, 16, 48))
     for zeros in ("middle", "packed", "float") if zeros != "float" or bits == 4],
)  # fmt: skip
def test_matmul_n_bits(bits: int, block: int, inputs: int, zeros: str) -> None:
    blocks = -(-inputs // block)
    operands = {
        "x": random(2, 3, inputs),
        "packed": integers(0, 256, 6, blocks, block * bits // 8, dtype=np.uint8),
        "scales": np.abs(random(6, blocks)) + 0.1,
        "zeros": {"middle": None, "packed": integers(0, 256, 6, -(-blocks * bits // 8), dtype=np.uint8),
                  "float": random(6, blocks) + 8}[zeros],
        "groups": None,
        "bias": random(6),
    }  # fmt: skip
    constants = ("packed", "scales", "zeros", "bias")
    module = agree("MatMulNBits", operands, constants=constants, bits=bits, block_size=block, N=6, K=inputs)
    assert called(module) == ["linear"]


def test_matmul_n_bits_wants_its_weights() -> None:
    operands = {"x": random(2, 16), "packed": integers(0, 256, 6, 1, 8, dtype=np.uint8), "scales": random(6, 1)}
    with pytest.raises(UnsupportedError, match=r"MatMulNBits \(its input 1, 'packed', must be constant\)"):
        agree("MatMulNBits", operands, constants=("scales",), bits=4, block_size=16, N=6, K=16)


def test_skip_and_embed_layer_normalization() -> None:
    scale, shift = random(WIDTH), random(WIDTH)
    skip = {"x": X, "skip": random(BATCH, LENGTH, WIDTH), "scale": scale, "shift": shift, "bias": random(WIDTH)}
    stored = ("scale", "shift", "bias")
    agree("SkipLayerNormalization", skip, constants=stored, epsilon=1e-6)
    agree("SkipLayerNormalization", {**skip, "skip": random(LENGTH, WIDTH)}, constants=stored)
    plain = {name: skip[name] for name in ("x", "skip", "scale", "bias")}
    agree("SkipSimplifiedLayerNormalization", plain, constants=stored)
    simple = {"x": X, "scale": scale}
    agree("SimplifiedLayerNormalization", simple, constants=stored, domain="", axis=-1, epsilon=1e-6)
    tables = {"word": random(11, WIDTH), "place": random(9, WIDTH), "segment": random(2, WIDTH)}
    ids = {"ids": integers(0, 11, BATCH, LENGTH), "segments": integers(0, 2, BATCH, LENGTH)}
    own = {"scale": scale, "shift": shift, "mask": LEFT_PADDED}
    given = {**ids, **tables, **own}
    for operands in (given, {**given, "segments": None, "segment": None},
                     {**given, "places": integers(0, 9, BATCH, LENGTH)}):  # fmt: skip
        agree("EmbedLayerNormalization", operands, 3, (*tables, *stored), least_db=105.0)


@pytest.mark.parametrize("kind", ["Gelu", "QuickGelu", "FastGelu", "BiasGelu"])
def test_gelus(kind: str) -> None:
    operands = {"x": X, **({"bias": random(WIDTH)} if kind in ("FastGelu", "BiasGelu") else {})}
    agree(kind, operands, constants=("bias",), least_db=100.0)


@pytest.mark.parametrize("kind", ["FusedMatMul", "TransposeMatMul"])
def test_fused_matmul(kind: str) -> None:
    a, b = random(2, 6, 4), random(2, 5, 6)
    agree(kind, {"a": a, "b": b}, transA=1, transB=1, alpha=0.5)
    agree(kind, {"a": a, "b": random(4, 7)}, constants=("b",), alpha=2.0)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", None),
        ("Sigmoid", None),
        ("Tanh", None),
        ("LeakyRelu", [0.2]),
        ("Clip", [-0.5, 0.5]),
        ("HardSigmoid", [0.3, 0.4]),
    ],
)
def test_fused_activations(activation: str, parameters: list[float] | None) -> None:
    more = {} if parameters is None else {"activation_params": parameters}
    operands = {"x": random(1, 3, 6, 6), "weight": random(4, 3, 3, 3), "bias": random(4)}
    agree("FusedConv", operands, constants=("weight", "bias"), activation=activation, **more)
    if activation != "Clip":  # ONNX Runtime has none for Gemm
        named = dict(zip(("activation_alpha", "activation_beta"), parameters or [], strict=False))
        gemm = {"a": random(2, 5), "b": random(4, 5), "c": random(4)}
        agree("FusedGemm", gemm, constants=("b", "c"), transB=1, activation=activation, **named)


def test_fused_conv_with_a_sum() -> None:
    operands = {"x": random(1, 3, 6, 6), "weight": random(4, 3, 3, 3), "bias": random(4), "z": random(1, 4, 4, 4)}
    agree("FusedConv", operands, constants=("weight", "bias"), activation="Relu")


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("zero", [None, np.int8])
def test_quantized_products(per_column: bool, zero: Any) -> None:
    columns = (7,) if per_column else (1,)
    weight, scale = integers(-100, 100, 6, 7, dtype=np.int8), np.abs(random(*columns)) + 0.01
    zeros = None if zero is None else integers(-9, 9, *columns, dtype=zero)
    stored = ("weight", "scale", "zeros", "bias")
    dynamic = {"x": random(2, 3, 6), "weight": weight, "scale": scale, "zeros": zeros, "bias": random(7)}
    module = agree("DynamicQuantizeMatMul", dynamic, constants=stored)
    assert called(module).count("linear") == 1
    static = {"x": integers(0, 255, 3, 6, dtype=np.uint8), "weight": weight, "x_scale": np.array([0.02], np.float32),
              "scale": scale, "x_zero": np.array([120], np.uint8), "zeros": zeros, "bias": random(7)}  # fmt: skip
    module = agree("MatMulIntegerToFloat", static, constants=(*stored, "x_scale", "x_zero"))
    assert called(module).count("linear") == 1


def test_a_model_after_the_optimizer_of_the_runtime(tmp_path: Any) -> None:
    """A transformer's block as ONNX Runtime stores it after its own fusions."""
    import onnxruntime
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Conv1d(5, 5, 3, padding=1), torch.nn.ReLU(), torch.nn.LayerNorm(24), torch.nn.Linear(24, 24),
              torch.nn.GELU()]  # fmt: skip
    path = tmp_path / "block.onnx"
    torch.onnx.export(torch.nn.Sequential(*layers).eval(), (torch.randn(2, 5, 24),), path, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    proto = onnx.load(tmp_path / "optimized.onnx")
    assert "FusedConv" in {node.op_type for node in proto.graph.node}
    agree_with_runtime(proto, {"x": random(2, 5, 24)}, 110.0)

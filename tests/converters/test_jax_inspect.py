"""What ``edgekit inspect`` says about JAX models, against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="needs the extra jax")
pytest.importorskip("ai_edge_litert", reason="needs the extra jax")

import jax
import jax.numpy as jnp
from jax import lax
from jax_models import export, settled

from converters.jax import counting, stablehlo
from converters.jax.inspect import inspect
from edgekit.requests import LoadRequest
from edgekit.types import to_json

F32 = "float32"
WEIGHTS = np.random.default_rng(0).standard_normal((8, 5)).astype(F32)
KERNEL = np.random.default_rng(1).standard_normal((3, 3, 2, 4)).astype(F32)
NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True, scope="module")
def _single_precision() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


def counts(function: Any, *spec: Any) -> counting.Counts:
    lowered = settled(function, *spec).lowered().compiler_ir("stablehlo")
    return counting.count(stablehlo.parse(stablehlo.static(str(lowered))))


def test_products_and_weights() -> None:
    found = counts(lambda x: x @ WEIGHTS, ("x", (3, 8), F32))
    assert found.macs == 3 * 8 * 5
    assert found.parameters == 40
    assert found.weights_bytes == {"float32": 160}
    assert found.operators == {"dot_general": 1}


def test_convolutions() -> None:
    spec = ("x", (1, 6, 6, 2), F32)
    found = counts(lambda x: lax.conv_general_dilated(x, KERNEL, (2, 2), "SAME", dimension_numbers=NHWC), spec)
    assert found.macs == 3 * 3 * 4 * 18
    kernel = KERNEL[:, :, :1, :2]
    depthwise = counts(
        lambda x: lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=2),
        spec,
    )
    assert depthwise.macs == 6 * 6 * 2 * 9


def test_functions_count_as_often_as_they_are_called() -> None:
    layer = jax.jit(lambda x: jnp.tanh(x @ WEIGHTS[:, :1] * jnp.ones((1, 8))))
    found = counts(lambda x: layer(layer(layer(x))), ("x", (1, 8), F32))
    assert found.operators["tanh"] == 3
    assert found.macs == 3 * 8


def test_loops_count_as_often_as_they_run() -> None:
    square = WEIGHTS[:5]
    found = counts(lambda x: lax.scan(lambda s, _: (s @ square, None), x, None, length=7)[0], ("x", (1, 5), F32))
    assert found.macs == 7 * 25
    nested = counts(
        lambda x: lax.fori_loop(0, 3, lambda _, y: lax.fori_loop(0, 2, lambda _, z: z @ square, y), x),
        ("x", (1, 5), F32),
    )
    assert nested.macs == 3 * 2 * 25


def test_loops_that_run_as_the_values_say() -> None:
    square = WEIGHTS[:5]
    found = counts(
        lambda x: lax.while_loop(lambda s: s.sum() < 3, lambda s: s @ square, x),
        ("x", (1, 5), F32),
    )
    assert found.macs is None
    assert "as the values say" in found.macs_note


def test_the_same_of_a_function_and_its_program(tmp_path: Path) -> None:
    code = f"import jax, numpy as np\nW = np.ones((8, 5), 'float32') + np.arange(5)\nW = W.astype('{F32}')\n"
    (tmp_path / "inspected.py").write_text(code + "def net(x):\n    return jax.nn.relu(x @ W)\n")
    request = LoadRequest(
        path=str(tmp_path / "inspected.py"), model_code=f"{tmp_path / 'inspected.py'}:net", inputs=("x=1,8",)
    )
    found = inspect({**to_json(request)})
    assert found["format"] == "JAX"
    assert found["kind"] == "JAX function net"
    assert (found["macs"], found["parameters"]) == (40, 40)
    weights = (np.ones((8, 5)) + np.arange(5)).astype(F32)
    (batch,) = jax.export.symbolic_shape("b")
    shape = jax.ShapeDtypeStruct((batch, 8), F32)
    file = export(lambda x: jax.nn.relu(x @ weights), tmp_path / "p.jaxexport", shape, platforms=("cpu", "cuda"))
    program = inspect({**to_json(LoadRequest(path=str(file)))})
    assert program["kind"] == "JAX program (jax.export)"
    assert (program["macs"], program["parameters"]) == (40, 40)
    assert program["signature"]["inputs"][0]["shape"] == (1, 8)

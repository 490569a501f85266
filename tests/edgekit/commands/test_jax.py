"""JAX models on the command line: the examples, programs of ``jax.export``, and what users get wrong."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import Run, check

pytest.importorskip("jax", reason="needs the extra jax")
pytest.importorskip("ai_edge_litert", reason="needs the extra jax")

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "jax"

CODE = """\
    import jax
    import jax.numpy as jnp
    import numpy as np

    W = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")

    def net(x):
        return jnp.tanh(x @ W)

    def two(left, right, scale=2.0):
        return {"sum": left + right, "scaled": (left * scale, right)}

    def table(ids):
        return jnp.take(W, ids, axis=0)

    def make():
        return net

    def any_number(*arrays):
        return sum(arrays)

    class Net:
        def __call__(self, x):
            return net(x)

    class Needy:
        def __init__(self, width):
            self.width = width

    fast = jax.jit(net)
    number = 3

    def scanned(xs):
        hidden = xs @ W  # the loop carries it along
        state, _ = jax.lax.scan(lambda s, x: (jnp.tanh(s + x @ W[:3]), None), jnp.zeros((1, 3)), hidden)
        return state @ W[:3]

    def raising(x):
        width = x.shape[1]
        return width / 0  # the culprit

    def branching(x):
        return x if x.sum() > 0 else -x  # the branch

    def masking(x):
        return x[x > 0]

    def with_numpy(x):
        return np.sin(x)

    def printing(x):
        jax.debug.print("{}", x)
        return x

    def by_name(x, *, scale):
        return x * scale

    def constant():
        return jnp.ones(3)
"""


@pytest.fixture(autouse=True)
def _code(here: Path) -> None:
    (here / "net.py").write_text(textwrap.dedent(CODE))


def artifacts(folder: Path) -> dict[str, dict[str, Any]]:
    """What the sidecars say, by scheme."""
    found = (json.loads(file.read_text())["artifact"] for file in folder.glob("*.json"))
    return {item["scheme"]: item for item in found}


@pytest.mark.parametrize(
    ("model", "package"), [("plain.py:net", "jax"), ("flax_cnn.py:net", "flax"), ("equinox_mlp.py:load", "equinox")]
)
def test_examples(run: Run, model: str, package: str) -> None:
    pytest.importorskip(package)
    data = ("--data", str(EXAMPLES / "digits.npz"))
    done = run(str(EXAMPLES / model), "--quant", "float32", "--int8", *data, to="tflite")
    assert done.code == 0, done.err
    found = artifacts(Path("out"))
    for scheme, least in (("float32", 100), ("int8", 20)):
        (output,) = found[scheme]["verification"]["outputs"]
        assert output["sqnr_db"] >= least
        assert output["top1_agreement"] >= 0.98
        assert [item["name"] for item in found[scheme]["signature"]["inputs"]] == ["image"]


@pytest.mark.parametrize("name", ["net", "make", "Net", "fast"])
def test_a_function_or_what_makes_one(run: Run, name: str) -> None:
    assert run(f"net.py:{name}", "--input", "x=1,4", to="tflite").code == 0


def test_model_option_names_the_function_too(run: Run) -> None:
    assert run("net.py", "--model", "net.py:net", "--input", "1,4", to="tflite").code == 0


def test_several_inputs_and_outputs(run: Run) -> None:
    left, right = np.random.default_rng(0).standard_normal((2, 5, 4)).astype("float32")
    np.savez("data.npz", left=left, right=right)
    assert run("net.py:two", "--data", "data.npz", to="tflite").code == 0
    signature = artifacts(Path("out"))["float32"]["signature"]
    assert [item["name"] for item in signature["inputs"]] == ["left", "right"]
    assert [item["name"] for item in signature["outputs"]] == ["scaled_0", "scaled_1", "sum"]


def test_whole_numbers_of_data_become_32_bits(run: Run) -> None:
    np.savez("data.npz", ids=np.arange(4).reshape(2, 2))
    assert run("net.py:table", "--data", "data.npz", to="tflite").code == 0
    assert artifacts(Path("out"))["float32"]["signature"]["inputs"][0]["dtype"] == "int32"


def test_any_number_of_inputs(run: Run) -> None:
    assert run("net.py:any_number", "--input", "a=1,4", "--input", "b=1,4", to="tflite").code == 0
    assert [item["name"] for item in artifacts(Path("out"))["float32"]["signature"]["inputs"]] == ["a", "b"]


def test_loops_in_int8(run: Run) -> None:
    assert run("net.py:scanned", "--input", "xs=5,1,4", "--int8", "--data", "random", to="tflite").code == 0
    made = artifacts(Path("out"))["int8"]
    assert made["verification"]["outputs"][0]["sqnr_db"] >= 20
    assert "TANH" in {item["operator"] for item in made["stayed_float"]}  # of the loop; the layers around it did not


def test_layout(run: Run) -> None:
    model = f"{EXAMPLES / 'plain.py'}:net"
    assert run(model, "--input", "image=1,8,8,1", "--layout", "nchw", to="tflite").code == 0
    assert artifacts(Path("out"))["float32"]["signature"]["inputs"][0]["shape"] == [1, 1, 8, 8]


def export(name: str, *shape: int) -> Path:
    """A program of one of the functions, made as users make it."""
    import runpy

    import jax

    function = runpy.run_path("net.py")[name]
    exported = jax.export.export(jax.jit(function), platforms=("cpu",))(jax.ShapeDtypeStruct(shape, "float32"))
    path = Path(f"{name}.jaxexport")
    path.write_bytes(exported.serialize())
    return path


def test_program_without_its_code(run: Run) -> None:
    export("net", 1, 4)
    Path("net.py").unlink()
    assert run("net.jaxexport", to="tflite").code == 0
    (output,) = artifacts(Path("out"))["float32"]["verification"]["outputs"]
    assert output["sqnr_db"] >= 100


def test_program_and_the_wrong_options(run: Run) -> None:
    file = export("net", 1, 4)
    check(run(str(file), "--input", "x=2,4", to="tflite"), 2, "net.jaxexport takes x: float32[1,4]", "--input x=1,4")
    check(run(str(file), "--model", "net.py:net", to="tflite"), 2, "is a program and needs no code")
    file.write_bytes(file.read_bytes()[:-800])
    check(run(str(file), to="tflite"), 5, "net.jaxexport: this JAX program is cut short or damaged")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("net.py",),
            2,
            ("which function of this file is the model? Nothing was run.", "convert net.py:NAME", "net, two"),
        ),
        (("net.py:net",), 2, ("nothing says how large the inputs are", "--input x=…")),
        (("net.py:missing", "--input", "x=1,4"), 2, ("net has no 'missing'", "It has net, two")),
        (("net.py:number", "--input", "x=1,4"), 2, ("this is of the type int, not a function",)),
        (("net.py:constant", "--input", "x=1,4"), 2, ("not a function that takes arrays",)),
        (("net.py:Needy", "--input", "x=1,4"), 5, ("missing 1 required positional argument: 'width'",)),
        (("net.py:by_name", "--input", "x=1,4"), 2, ("scale can only be given by name",)),
        (("net.py:net", "--input", "y=1,4"), 2, ("the model's inputs are x; unknown: 'y'",)),
        (("net.py:net", "--input", "x=1,4:float64"), 2, ("JAX computes in 32 bits", "--input x=1,4:float32")),
        (("net.py:net", "--input", "x=1,5"), 5, ("net.py:net raised TypeError", "in net)", "jax.vmap")),
        (("net.py:raising", "--input", "x=1,4"), 5, ("ZeroDivisionError: division by zero (net.py, line", "raising)")),
        (("net.py:branching", "--input", "x=1,4"), 5, ("TracerBoolConversionError", "in branching)", "jax.lax.cond")),
        (("net.py:masking", "--input", "x=1,4"), 5, ("must not depend on values", "jnp.where")),
        (("net.py:with_numpy", "--input", "x=1,4"), 5, ("in with_numpy)", "use jax.numpy")),
        (("net.py:printing", "--input", "x=1,4"), 4, ("calls back into Python", "jax.debug.print")),
        (("net.py:any_number", "--input", "1,4"), 2, ("takes any number of inputs", "--input a=")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and ".py" in value[0] else "",
)
def test_what_users_get_wrong(run: Run, arguments: tuple[str, ...], code: int, said: tuple[str, ...]) -> None:
    check(run(*arguments, to="tflite"), code, *said)


def test_a_file_without_a_name_is_not_imported(run: Run, here: Path) -> None:
    (here / "net.py").write_text("import jax\nfrom pathlib import Path\nPath('ran').touch()\ndef net(x): return x\n")
    check(run("net.py", "--input", "x=1,4", to="tflite"), 2, "Nothing was run.")
    assert not Path("ran").exists()
    assert run("net.py:net", "--input", "x=1,4", to="tflite").code == 0
    assert Path("ran").exists()  # naming the function is the consent


def test_code_of_other_frameworks(run: Run, here: Path) -> None:
    network = "class Net(torch.nn.Module):\n    def forward(self, x): return x\n"
    (here / "torch_net.py").write_text(f"import torch\n{network}")
    check(
        run("torch_net.py:Net", "--input", "x=1,4", to="tflite"),
        2,
        "torch_net.py: this Python file is for PyTorch",
        "edgekit convert weights.pt --model torch_net.py:Net",
    )
    (here / "both.py").write_text(f"import jax\nimport torch\n{network}")
    check(run("both.py:Net", "--input", "x=1,4", to="tflite"), 2, "both.py:Net: this is a PyTorch network")


def test_a_flax_module_without_its_weights(run: Run, here: Path) -> None:
    pytest.importorskip("flax")
    (here / "net.py").write_text("from flax import linen as nn\nnet = nn.Dense(3)\n")
    check(run("net.py:net", "--input", "x=1,4", to="tflite"), 2, "a Flax module without its weights", "module.apply")


def test_function_of_another_file(run: Run, here: Path) -> None:
    (here / "other.py").write_text("import jax\ndef net(x): return x\n")
    check(run("net.py", "--model", "other.py:net", "--input", "x=1,4", to="tflite"), 2, "the model is net.py")

"""Model code of users: from wherever it lies, with packages of its own that are called like edgekit's."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from converters import user_code
from edgekit import feeds
from edgekit.errors import ConversionError, UntrustedError, UsageError
from edgekit.jobs import Job, Workers
from edgekit.options import SourceOptions
from edgekit.source import OpenedSource, open_source
from edgekit.types import to_json

torch = pytest.importorskip("torch", reason="needs the extra torch")

SHADOWS = {
    "converters/__init__.py": "FACTOR = 3.0",
    "converters/layers.py": """
        import torch

        class Scale(torch.nn.Module):
            def __init__(self, by):
                super().__init__()
                self.by = by

            def forward(self, x):
                return x * self.by
    """,
    "converters/pytorch.py": "OFFSET = 0.5",
    "profiles/__init__.py": "",
    "profiles/late.py": "LATE = 100.0",
    "edgekit/__init__.py": "from edgekit.errors import SHIFT",
    "edgekit/errors.py": "SHIFT = 1000.0",
}
NET = """
    import torch

    import converters
    from edgekit import SHIFT


    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            from converters.layers import Scale

            self.fc = torch.nn.Linear(4, 2)
            self.scale = Scale(converters.FACTOR)

        def forward(self, x):
            from converters.pytorch import OFFSET
            from profiles.late import LATE

            return self.scale(self.fc(x)) + OFFSET + LATE + SHIFT
"""
PLAIN = """
    import torch


    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x)
"""
WEIGHT = torch.arange(8.0).reshape(2, 4) / 8
BIAS = torch.tensor([0.25, -0.25])
STATE = {"fc.weight": WEIGHT, "fc.bias": BIAS}


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One for all tests, so that torch is imported once."""
    with Workers(tmp_path_factory.mktemp("workers"), parallel=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, and the current one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEKIT_STATE", str(tmp_path / "state"))
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content))


def save_in_a_script(folder: Path, script: str) -> None:
    """As a user does it: with a program of their own, from their folder."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=folder, check=True)


def opened(workers: Workers, model: str, code: str | None, trust: bool = False) -> OpenedSource:
    return open_source(Path(model), workers, options=SourceOptions(code, trust, ("1,4",), 120.0))


def check(source: OpenedSource, expected: object) -> None:
    """Whether the reference outputs are ``expected(inputs @ weight + bias)``."""
    inputs = feeds.read(source.feeds).arrays["x"]
    (outputs,) = feeds.read(source.reference).arrays.values()
    np.testing.assert_allclose(outputs, expected(inputs @ WEIGHT.numpy().T + BIAS.numpy()), rtol=1e-5)


def shadowed(y: np.ndarray) -> np.ndarray:
    return 3 * y + 0.5 + 100 + 1000


def plain(y: np.ndarray) -> np.ndarray:
    return y


def test_packages_called_like_ours_beside_the_model_code(workers: Workers, here: Path) -> None:
    """Used at import, at construction and in the middle of forward()."""
    write(here, SHADOWS | {"net.py": NET})
    torch.save(STATE, here / "weights.pt")
    check(opened(workers, "weights.pt", "net.py:Net"), shadowed)


def test_they_may_lie_beside_the_code_in_another_folder(workers: Workers, here: Path) -> None:
    write(here / "project", SHADOWS | {"net.py": NET})
    torch.save(STATE, here / "weights.pt")
    check(opened(workers, "weights.pt", "project/net.py:Net"), shadowed)


def test_pickled_module_whose_class_lives_in_the_users_converters(workers: Workers, here: Path) -> None:
    write(here, SHADOWS | {"converters/net.py": NET})
    save_in_a_script(
        here,
        """
        import sys; sys.path.insert(0, "")
        import torch
        from converters.net import Net
        net = Net()
        net.load_state_dict({"fc.weight": torch.arange(8.0).reshape(2, 4) / 8, "fc.bias": torch.tensor([0.25, -0.25])})
        torch.save(net, "net.pt")
        """,
    )
    with pytest.raises(UntrustedError, match=r"converters\.net\.Net"):
        opened(workers, "net.pt", None)
    check(opened(workers, "net.pt", None, trust=True), shadowed)


def test_inspect_gives_users_their_own_packages_too(workers: Workers, here: Path) -> None:
    write(here, SHADOWS | {"net.py": NET})
    torch.save(STATE, here / "weights.pt")
    request = SourceOptions("net.py:Net", inputs=("1,4",)).request(Path("weights.pt"))
    arguments = {"request": to_json(request)}
    facts = workers.call(Job("inspect", "converters.pytorch.inspect:inspect", arguments, ("torch",)))
    assert facts["operators"]["aten.linear.default"] == 1
    assert facts["macs"] == 8


def test_the_whole_command_from_such_a_folder(here: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    write(here, SHADOWS | {"net.py": NET})
    torch.save(STATE, here / "weights.pt")
    edgekit = Path(sysconfig.get_path("scripts")) / "edgekit"
    command = [edgekit, "convert", "weights.pt", "--model", "net.py:Net", "--input", "1,4", "--to", "onnx"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (here / "weights.float32.onnx").is_file()


def test_python_m_from_such_a_folder(here: Path) -> None:
    """Python itself puts the current folder first then; a package called edgekit in it would win."""
    write(here, {name: text for name, text in SHADOWS.items() if not name.startswith("edgekit")})
    done = subprocess.run([sys.executable, "-m", "edgekit", "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PyTorch" in done.stdout


def test_relative_imports_in_a_package(workers: Workers, here: Path) -> None:
    package = {
        "pkg/__init__.py": "",
        "pkg/nets/__init__.py": "",
        "pkg/nets/net.py": "from ..parts import Net as Base\n\nclass Net(Base):\n    pass\n",
        "pkg/parts.py": PLAIN,
    }
    write(here, package)
    torch.save(STATE, here / "weights.pt")
    for code in ("pkg/nets/net.py:Net", "pkg.nets.net:Net", f"{here}/pkg/nets/net.py:Net"):
        check(opened(workers, "weights.pt", code), plain)


def test_a_file_in_a_package_from_the_folder_of_the_package(
    workers: Workers, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here, {"pkg/__init__.py": "", "pkg/net.py": "from .parts import Net\n", "pkg/parts.py": PLAIN})
    torch.save(STATE, here / "pkg" / "weights.pt")
    monkeypatch.chdir(here / "pkg")
    check(opened(workers, "weights.pt", "net.py:Net"), plain)


def test_modules_beside_the_file(workers: Workers, here: Path) -> None:
    write(here / "code", {"net.py": "from blocks import Net\n", "blocks.py": PLAIN})
    torch.save(STATE, here / "weights.pt")
    check(opened(workers, "weights.pt", "code/net.py:Net"), plain)


def test_a_file_called_like_a_module_in_use(workers: Workers, here: Path) -> None:
    write(here / "code", {"types.py": PLAIN})
    torch.save(STATE, here / "weights.pt")
    check(opened(workers, "weights.pt", "code/types.py:Net"), plain)


@pytest.mark.parametrize("name", ["inspect", "torch", "numpy", "json", "__main__", "edgekit", "my-model.v2", "class"])
def test_file_names_that_python_cannot_import(here: Path, name: str) -> None:
    write(here, {f"{name}.py": "class Net: mine = True"})
    with user_code.user_imports(here):
        assert user_code.build(f"{name}.py:Net").mine


def test_pickled_module_whose_class_lives_in_main(workers: Workers, here: Path) -> None:
    script = """
        if __name__ == "__main__":
            net = Net()
            net.load_state_dict(
                {"fc.weight": torch.arange(8.0).reshape(2, 4) / 8, "fc.bias": torch.tensor([0.25, -0.25])}
            )
            torch.save(net, "net.pt")
    """
    write(here, {"train.py": textwrap.dedent(PLAIN) + textwrap.dedent(script)})
    subprocess.run([sys.executable, "train.py"], cwd=here, check=True)
    with pytest.raises(ConversionError, match="Net was defined in the script that saved the file") as caught:
        opened(workers, "net.pt", None, trust=True)
    assert "--model FILE.py:Net" in caught.value.hint
    write(here, {"other.py": "class Other: pass"})
    with pytest.raises(ConversionError, match=r"--model other\.py:Other does not have it"):
        opened(workers, "net.pt", "other.py:Other", trust=True)
    check(opened(workers, "net.pt", "train.py:Net", trust=True), plain)


def test_pickled_module_without_its_code(workers: Workers, here: Path) -> None:
    write(here, {"gone.py": PLAIN})
    save_in_a_script(here, "import sys; sys.path.insert(0, ''); import torch, gone; torch.save(gone.Net(), 'net.pt')")
    (here / "gone.py").unlink()
    with pytest.raises(ConversionError, match=r"raised ModuleNotFoundError: No module named 'gone'$") as caught:
        opened(workers, "net.pt", None, trust=True)
    assert "run the command in its folder" in caught.value.hint


def test_the_code_may_use_edgekit_itself(workers: Workers, here: Path) -> None:
    write(here, {"net.py": "from edgekit.types import TensorSpec\n" + textwrap.dedent(PLAIN)})
    torch.save(STATE, here / "weights.pt")
    check(opened(workers, "weights.pt", "net.py:Net"), plain)


def test_factories(here: Path) -> None:
    write(
        here,
        {"nets.py": "class Net:\n    @staticmethod\n    def small():\n        return 1\n\ndef build():\n    return 2"},
    )
    with user_code.user_imports(here):
        assert user_code.build("nets.py:Net.small") == 1
        assert user_code.build("nets.py:build") == 2
        assert user_code.build("nets:build") == 2


def test_edgekits_modules_are_out_of_sight_inside_and_back_outside(here: Path) -> None:
    write(here, SHADOWS)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "converters"}
    path = list(sys.path)
    with user_code.user_imports(here):
        import converters

        assert converters.FACTOR == 3.0
        assert sys.path[0] == str(here)
    assert sys.path == path
    after = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "converters"}
    assert after == before


def test_they_are_back_after_an_error(here: Path) -> None:
    write(here, {"converters/__init__.py": "raise RuntimeError('mine')"})
    with pytest.raises(RuntimeError, match="mine"), user_code.user_imports(here):
        import converters  # noqa: F401
    assert sys.modules["converters.user_code"] is user_code


# Errors show the user's own line


def failing(here: Path, content: str, name: str = "Net") -> ConversionError | UsageError:
    write(here, {"net.py": content})
    with user_code.user_imports(here), pytest.raises((ConversionError, UsageError)) as caught:
        user_code.build(f"net.py:{name}")
    sys.modules.pop("net", None)
    return caught.value


def test_a_factory_that_raises(here: Path) -> None:
    error = failing(here, "import json\n\ndef Net():\n    return json.loads('{')\n")
    assert error.message.startswith("--model net.py:Net raised JSONDecodeError: ")
    assert error.message.endswith("(net.py, line 4, in Net)")


def test_code_that_cannot_be_imported(here: Path) -> None:
    error = failing(here, "import no_such_thing\n")
    assert error.message == (
        "--model net.py:Net: importing it raised ModuleNotFoundError: No module named 'no_such_thing' "
        "(net.py, line 1, in <module>)"
    )
    assert "pip install" in error.hint


def test_code_with_a_syntax_error(here: Path) -> None:
    error = failing(here, "def Net(:\n    pass\n")
    assert "SyntaxError" in error.message
    assert "net.py, line 1" in error.message


def test_a_factory_that_wants_arguments(here: Path) -> None:
    error = failing(here, "class Net:\n    def __init__(self, width): pass\n")
    assert "missing 1 required positional argument: 'width'" in error.message
    assert "without arguments" in error.hint


def test_a_name_that_is_not_there(here: Path) -> None:
    error = failing(here, "import math\nclass Network: pass\ndef build(): pass\n")
    assert error.message == "--model net.py:Net: net has no 'Net'."
    assert error.hint == "It has Network, build."


def test_a_name_that_cannot_be_called(here: Path) -> None:
    error = failing(here, "Net = 3\n")
    assert "Net is a int, not a class or function" in error.message


@pytest.mark.parametrize("code", ["net.py", "net.py:", "package.module", ":Net"])
def test_a_missing_name(here: Path, code: str) -> None:
    with pytest.raises(UsageError, match="is missing"):
        user_code.split(code)


def test_a_missing_file(here: Path) -> None:
    write(here, {"network.py": ""})
    with pytest.raises(UsageError, match=r"there is no file netwrk\.py") as caught:
        user_code.split("netwrk.py:Net")
    assert "network.py" in caught.value.hint


def test_a_folder_in_place_of_a_file(here: Path) -> None:
    (here / "net.py").mkdir()
    with pytest.raises(UsageError, match=r"there is no file net\.py"):
        user_code.split("net.py:Net")

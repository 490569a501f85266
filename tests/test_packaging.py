"""The wheel: what is in it, what is not, how big it is, and that it works away from the repository."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"edgekit", "converters", "profiles"}
FRAMEWORKS = {"torch", "tflite", "onnx", "executorch", "tensorflow", "jax", "huggingface"}
EXTRAS = {*FRAMEWORKS, "images", "metrics", "report", "all", "dev"}
LIMIT_BYTES = 1_500_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = folder.glob("edgekit-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assets = {f"edgekit/_digits/{file.name}" for file in (ROOT / "examples/digits").iterdir() if file.is_file()}
    modules = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert found == assets | modules
    assert {"edgekit/_digits/model.py", "edgekit/_digits/digits.pt", "edgekit/_digits/test.npz"} <= found


def test_every_folder_of_python_files_is_a_package() -> None:
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert not [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()]


def test_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LIMIT_BYTES


def test_extras(metadata: email.message.Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_base_install_is_light(metadata: email.message.Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[<>=!~ \[]", line, maxsplit=1)[0] for line in required}
    assert names == {"click", "rich", "numpy", "scipy", "cattrs", "packaging", "tomli-w"}


def test_every_extra_that_plugins_name_exists() -> None:
    from edgekit import registry

    plugins = [*registry.sources().values(), *registry.targets().values(), *registry.steps()]
    named = {plugin.extra for plugin in plugins} | {runtime.EXTRA for runtime in registry.runtimes().values()}
    assert named <= EXTRAS


def test_constraints_are_names_and_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in lines
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)]
    assert not wrong


def test_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Unpacked and first on the path: commands are found, and so are the demo's files."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edgekit import demo, registry\n"
        "print(demo.assets())\n"
        "print(*registry.targets())\n"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assets, targets = done.stdout.splitlines()
    assert Path(assets) == tmp_path / "edgekit" / "_digits"
    assert {"tflite", "onnx", "executorch"} <= set(targets.split())

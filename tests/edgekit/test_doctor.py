from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit import cpu, packages
from edgekit.doctor import examine
from edgekit.errors import EdgekitError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Registers made-up distributions in front of the real ones."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    packages._requirements.cache_clear()

    def add(name: str, version: str, *requires: str, files: tuple[str, ...] = ()) -> None:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
        (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))

    yield add  # type: ignore[misc]
    packages._requirements.cache_clear()


def problems() -> dict[str, str]:
    return {item.what: item.fix for item in packages.findings(packages.extras()) if item.problem}


def problem(text: str) -> str:
    """The fix of the one problem that says ``text``."""
    (fix,) = (fix for what, fix in problems().items() if text in what)
    return fix


def test_this_environment_is_healthy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "doctor", "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["healthy"] else 3)
    assert found["python_fits"]
    assert found["machine"]["cores"] > 0
    assert found["temp_free_bytes"] > 0


def test_it_imports_no_framework() -> None:
    code = (
        "import sys; from edgekit.doctor import examine; examine();"
        "print([m for m in ('torch', 'onnx', 'executorch', 'tensorflow', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_extras_are_those_of_the_package_with_what_they_include() -> None:
    found = {extra.name: extra for extra in packages.extras()}
    assert {"", "torch", "tflite", "onnx", "executorch", "tensorflow"} <= set(found)
    assert "all" not in found
    assert {"click", "numpy"} <= {package.name for package in found[""].packages}
    assert {"torch", "onnx", "onnxruntime"} <= {package.name for package in found["onnx"].packages}
    assert found["onnx"].command == "pip install 'edgekit[onnx]'"
    (click,) = (package for package in found[""].packages if package.name == "click")
    assert (click.required, click.fits) == (">=8.1,<9", True)


def test_a_missing_extra_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.version
    monkeypatch.setattr(packages, "version", lambda name: None if name == "executorch" else real(name))
    found = {extra.name: extra for extra in packages.extras()}
    assert not found["executorch"].complete
    assert not any("executorch" in what for what in problems())


def test_version_out_of_range(install: Install) -> None:
    install("torch", "2.5.1")
    assert problem("torch 2.5.1 is installed; edgekit's range is >=2.11").startswith("pip install 'torch>=2.11")


def test_tensorflow_twins(install: Install) -> None:
    install("tensorflow", "2.21.0")
    install("tensorflow-cpu", "2.21.0")
    assert problem("overwrite each other's files").startswith("pip uninstall -y tensorflow tensorflow-cpu")


def test_onnxruntime_twins(install: Install) -> None:
    install("onnxruntime", "1.32.0")
    install("onnxruntime-gpu", "1.32.0")
    assert "onnxruntime-gpu" in problem("onnxruntime and onnxruntime-gpu overwrite")


def test_older_names_are_a_remark(install: Install) -> None:
    install("ai-edge-litert", "2.3.0")
    install("tflite-runtime", "2.14.0")
    remarks = [item for item in packages.findings(packages.extras()) if "tflite-runtime" in item.what]
    assert [item.problem for item in remarks] == [False]


def test_broken_requirement_of_a_package(install: Install) -> None:
    install("onnx", "1.23.2", "numpy>=99", "no-such-thing>1", "not-asked; extra == 'dev'", "also>2; python_version<'3'")
    assert problem("onnx 1.23.2 needs numpy>=99;") == "pip install 'numpy>=99'"
    assert problem("onnx 1.23.2 needs no-such-thing>1; it is not installed")
    assert not any("not-asked" in what or "also" in what for what in problems())


def test_registered_package_whose_files_are_gone(install: Install) -> None:
    install("onnx", "1.23.2", files=("onnx_gone/__init__.py", "onnx_gone/other.py"))
    assert problem("its files are gone") == "pip install --force-reinstall --no-deps onnx==1.23.2"


def test_torchvision_for_cuda_beside_a_cpu_torch(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, cuda in (("torch", "None"), ("torchvision", "'12.8'")):
        (tmp_path / "site" / name).mkdir()
        (tmp_path / "site" / name / "__init__.py").touch()
        (tmp_path / "site" / name / "version.py").write_text(f"__version__ = '1'\ncuda: Optional[str] = {cuda}\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "same index" in problem("torchvision is a CUDA build and torch is not")


def test_foreign_package_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def shadowed() -> None:
        raise EdgekitError("Python finds another package called 'converters'.", hint="Remove it.")

    monkeypatch.setattr("edgekit.registry.check_no_shadow", shadowed)
    found = examine()
    assert not found.healthy
    assert found.findings[0].problem
    assert (found.findings[0].what, found.findings[0].fix) == (
        "Python finds another package called 'converters'.",
        "Remove it.",
    )


def test_exit_code_and_text_of_a_sick_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from edgekit.cli import State, cli

    monkeypatch.setattr(
        packages, "findings", lambda _: (packages.Finding(True, "a and b clash.", "pip uninstall [b]"),)
    )
    result = CliRunner().invoke(cli, ["doctor"], obj=State(), standalone_mode=False)
    assert result.return_value == 3
    assert "problem: a and b clash." in result.output
    assert "next: pip uninstall [b]" in result.output
    assert "Something is broken" in result.output


@pytest.mark.parametrize(
    ("machine", "flags", "outlook"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512f avx512_vnni", "int8 is fast here"),
        ("x86_64", "flags\t\t: fpu avx2", "without VNNI"),
        ("x86_64", "flags\t\t: fpu", "no AVX2"),
        ("aarch64", "Features\t: fp asimd asimddp", "int8 is fast here"),
        ("aarch64", "Features\t: fp asimd", "gains little"),
        ("riscv64", "isa\t\t: rv64imafdc", ""),
        ("x86_64", "", ""),
    ],
)
def test_what_the_processor_means_for_int8(
    machine: str, flags: str, outlook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = cpu.features()
    sentence = cpu.int8_outlook(found)
    assert outlook in sentence
    assert bool(sentence) == bool(outlook)


def test_a_system_without_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "nothing")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert {feature.present for feature in cpu.features()} == {None}

"""What DESIGN promises about the shape of the code, checked on the code: imports, sizes, docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edgekit", "converters", "profiles")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
CHECKED = [*FILES, *sorted((ROOT / "benchmarks").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]

NOT_FOR_HELP = {
    "numpy", "rich", "torch", "tensorflow", "onnx", "onnxruntime", "scipy", "cattrs", "executorch",
    "litert_torch", "ai_edge_litert", "jax", "sklearn", "importlib.metadata", "multiprocessing", "asyncio",
}  # fmt: skip
FRAMEWORKS = {
    "torch", "torchao", "tensorflow", "keras", "onnx", "onnxruntime", "onnxscript", "tf2onnx", "executorch",
    "jax", "litert_torch", "litert_quantizer", "litert", "ai_edge_litert", "ai_edge_quantizer", "safetensors",
    "sklearn", "transformers", "pycocotools", "jiwer", "matplotlib",
}  # fmt: skip
FOLDERS_OF_PLUGINS = (
    "converters/sources", "converters/datasets", "converters/tflite", "converters/onnx", "converters/executorch",
    "profiles/runtimes", "profiles/metrics", "profiles/tasks", "profiles/devices", "edgekit/cli",
)  # fmt: skip

# Code that runs in a child only, so that its module may import the framework it is about at the top.
CHILD_ONLY = ("converters/onnx_import/operators/", "converters/onnx_import/module.py")
"""Of folders that make a form, only ``from_*.py`` is listed; these are imported by their jobs alone."""


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every absolute import below a node, functions included: module and line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno


def top_level_imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Imports that happen when the module is imported: outside functions and ``if TYPE_CHECKING``."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        else:
            todo += ast.iter_child_nodes(node)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), name_of(file))


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["profile", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from edgekit.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        "    print('LOADED', *sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    allowed = {"importlib.metadata"} if arguments == ["--version"] else set()
    assert not loaded & NOT_FOR_HELP - allowed


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_direction_of_imports(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    forbidden = {
        "edgekit": {"converters", "profiles"},
        "converters": {"profiles"},
        "profiles": {"converters"},
    }[package]
    wrong = [f"line {line}: {module}" for module, line in imports(parsed(file)) if module.split(".")[0] in forbidden]
    assert not wrong, f"{name_of(file)} imports what it must not know"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_framework_at_the_top_of_a_module(file: Path) -> None:
    if name_of(file).startswith(CHILD_ONLY):
        pytest.skip("runs in a child only")
    heavy = [
        f"line {line}: {module}"
        for module, line in top_level_imports(parsed(file))
        if module.split(".")[0] in FRAMEWORKS
    ]
    assert not heavy, f"{name_of(file)} imports a framework when it is imported"


@pytest.mark.parametrize("file", sorted((ROOT / "profiles/agent").rglob("*.py")), ids=name_of)
def test_the_agent_runs_without_edgekit(file: Path) -> None:
    """It is copied to devices: standard library, NumPy, itself, the runtimes, and the one module for samples."""
    shipped = ("profiles.agent", "profiles.runtimes", "edgekit.feeds")
    foreign = {
        module
        for module, _ in imports(parsed(file))
        if module.split(".")[0] not in {*sys.stdlib_module_names, "numpy"} and not module.startswith(shipped)
    }
    assert not foreign, f"{name_of(file)} needs {foreign}, which a device does not have"


@pytest.mark.parametrize("file", CHECKED, ids=name_of)
def test_no_file_is_long(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= 400


@pytest.mark.parametrize("file", [file for file in FILES if file.stat().st_size], ids=name_of)
def test_modules_say_what_they_are(file: Path) -> None:
    assert ast.get_docstring(parsed(file)), f"{name_of(file)} has no docstring"


@pytest.mark.parametrize("folder", FOLDERS_OF_PLUGINS)
def test_plugin_folders_hold_plugins(folder: str) -> None:
    assert [file for file in (ROOT / folder).glob("*.py") if not file.name.startswith("_")]


def test_registry_finds_every_target_and_its_runtime() -> None:
    from edgekit import registry

    assert {target.runtime for target in registry.targets().values()} <= set(registry.runtimes())
    assert {"tflite", "onnx", "executorch"} <= set(registry.targets())


def test_listing_plugins_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from edgekit import registry as r\n"
        "r.sources(), r.targets(), r.steps(), r.schemes(), r.runtimes(), r.metrics(), r.devices()\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & FRAMEWORKS

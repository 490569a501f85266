from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgekit import capabilities as module
from edgekit import registry
from edgekit.capabilities import capabilities
from edgekit.plugins import Source, Step, Target
from edgekit.types import Scheme


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "edgekit", "list", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_everything_the_plugins_say_is_listed() -> None:
    found = json.loads(run("--json"))
    assert [item["name"] for item in found["sources"]] == list(registry.sources())
    assert [item["name"] for item in found["targets"]] == list(registry.targets())
    assert [item["name"] for item in found["schemes"]] == list(registry.schemes())
    assert found["schema_version"] == 2


def test_every_target_has_the_schemes_of_the_design() -> None:
    ways = {(way.scheme, way.target): way for way in capabilities().ways if way.form == "torch.export"}
    for target in ("tflite", "onnx", "executorch"):
        for scheme in ("float32", "float16", "int8", "int8-dynamic"):
            assert ways[scheme, target].steps, (scheme, target)


def test_a_combination_without_a_way_and_one_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(name: str, source: str, target: str, before: str, after: str, package: str) -> Step:
        return Step(name, source, target, ((before, after),), "m:f", (), (package,), "extra")

    steps = (
        step("lower", "torch.export", "Own", "float32", "float32", "json"),
        step("quantize", "Own", "Own", "float32", "int8", "no_such_package"),
    )
    target = Target("own", "Own format", "Own", ".own", "none", lambda _: None, "m:f", (), (), "extra")
    schemes = {name: Scheme(name, "", 8, 8, "-", "float", False, 1.0, "") for name in ("float32", "int8", "float16")}
    source = Source("own", "Own", lambda _: None, "torch.export", "m:f", "m:f", (), (), "extra", ())
    monkeypatch.setattr(registry, "sources", lambda: {"own": source})
    monkeypatch.setattr(registry, "steps", lambda: steps)
    monkeypatch.setattr(registry, "targets", lambda: {"own": target})
    monkeypatch.setattr(registry, "schemes", lambda: schemes)
    ways = {way.scheme: way for way in module.capabilities().ways}
    assert ways["float32"].steps == ("lower",)
    assert ways["float32"].missing == ()
    assert ways["int8"].steps == ("lower", "quantize")
    assert ways["int8"].missing == ("no_such_package",)
    assert ways["float16"].steps is None


def test_table() -> None:
    shown = run()
    for text in ("Sources", "Targets (--to)", "Schemes", "PyTorch", "--int8-dynamic", ".safetensors"):
        assert text in shown


def test_it_imports_no_framework() -> None:
    code = (
        "import sys\n"
        "from edgekit.cli import main\n"
        "try: main(['list', '--json'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'onnx', 'executorch', 'tensorflow', 'ai_edge_litert',"
        " 'litert_torch', 'onnxruntime') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"

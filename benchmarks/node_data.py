"""Node data that ``edgekit profile --node-data`` wrote, against the graphs that Model Explorer's own readers make.

    edgekit profile FILE... --node-data FOLDER
    python benchmarks/node_data.py --data FOLDER FILE...

Needs ai-edge-model-explorer and, for ONNX, model-explorer-onnx: best in an environment of their own, as edgekit needs
neither. Of each file it prints how many nodes each figure names, and fails (exit code 1) when there is a graph or a
node that the reader does not have, or when the weights of an operator of a TFLite file are left out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

FIGURES = ("time_us", "macs", "weights_bytes", "moved_bytes")
NO_OPERATORS = ("GraphInputs", "GraphOutputs", "pseudo_const", "Input", "Output", "Initializer")
LINE = "{:44} {:>14} {:>6} {:>9} {}"


def graphs(path: Path) -> dict[str, set[str]]:
    """Names of the operators of each graph, as the reader for this format says."""
    if path.suffix == ".onnx":
        adapter = import_module("model_explorer_onnx.main").ONNXAdapter()
    else:
        adapter = import_module("model_explorer.builtin_tflite_flatbuffer_adapter").BuiltinTfliteFlatbufferAdapter()
    read = adapter.convert(str(path), {})
    collections = read.get("graphCollections")
    found = read["graphs"] if collections is None else [graph for one in collections for graph in one.graphs]
    plain = [graph if isinstance(graph, dict) else asdict(graph) for graph in found]
    return {graph["id"]: {node["id"] for node in graph["nodes"] if _computes(node)} for graph in plain}


def _computes(node: dict[str, Any]) -> bool:
    return node["label"] not in NO_OPERATORS and not node["id"].startswith("[")


def check(path: Path, folder: Path) -> bool:
    """Print a line for each figure of a file; whether all is well."""
    shown = graphs(path)
    well = True
    for figure in FIGURES:
        file = folder / f"{path.name}.{figure}.json"
        if not file.exists():
            print(LINE.format(path.name, figure, "-", "-", "not written"))
            continue
        content = json.loads(file.read_text())
        named = {(graph, node) for graph, data in content.items() for node in data["results"]}
        known = {(graph, node) for graph, nodes in shown.items() for node in nodes}
        unknown = named - known
        short = path.suffix == ".tflite" and figure == "weights_bytes" and named != known
        verdict = f"UNKNOWN: {sorted(unknown)[:3]}" if unknown else "INCOMPLETE" if short else "ok"
        well = well and verdict == "ok"
        print(LINE.format(path.name, figure, len(named), f"of {len(known)}", verdict))
    return well


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="What --node-data wrote.")
    chosen = parser.parse_args()
    print(LINE.format("file", "figure", "nodes", "operators", ""))
    verdicts = [check(path, chosen.data) for path in chosen.files]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())

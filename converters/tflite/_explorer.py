"""What Model Explorer calls the graphs and nodes of a TFLite file.

As seen from its own reader of flatbuffers (ai-edge-model-explorer 0.1.34), on files with one graph and several, named
and unnamed, with signatures and without; ``benchmarks/node_data.py`` compares the two on any file.
"""

from __future__ import annotations

from collections import Counter

from converters.tflite._file import Model, text


def graph_names(model: Model) -> list[str]:
    """The name of each subgraph: its own, else that of the first signature for it, else one by its index.

    Returns:
        One per subgraph; empty where two have the same, as their nodes could not be told apart.
    """
    signatures: dict[int, str] = {}
    for item in model.raw.signatureDefs or ():
        signatures.setdefault(int(item.subgraphIndex), text(item.signatureKey))
    names = [
        text(graph.name) or signatures.get(index) or ("main" if index == 0 else f"subgraph_{index}")
        for index, graph in enumerate(model.raw.subgraphs)
    ]
    counts = Counter(names)
    return [name if counts[name] == 1 else "" for name in names]

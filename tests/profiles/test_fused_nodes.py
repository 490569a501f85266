from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import OpenSession

from edgekit import data, feeds
from profiles import operators

NETWORK = Path(__file__).parents[1] / "models" / "work_transformer_float32.onnx"


def test_a_node_that_others_were_fused_into_keeps_its_name(open_session: OpenSession, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
    session = open_session(NETWORK)
    given = feeds.write(tmp_path / "given", data.random_feeds(session.signature, 2, 0, {}))
    rows = operators.collect(lambda: session, given, 2)["operators"]
    fused = {row["name"]: row["node"] for row in rows if "Fusion" in row["name"]}
    assert len(fused) > 2
    assert set(fused.values()) <= {node.name for node in onnx.load(NETWORK).graph.node}
    assert {row["node"] for row in rows if "Fusion" not in row["name"]} <= {row["name"] for row in rows}

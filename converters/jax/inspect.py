"""What is in a JAX model: its StableHLO operators, weights and multiply-accumulates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters import user_code
from converters.facts import ModelFacts
from converters.jax import counting, stablehlo
from converters.jax.loading import code_of, open_program
from converters.work import stored
from edgekit.requests import LoadRequest
from edgekit.types import from_json, to_json


def inspect(request: dict[str, Any]) -> dict[str, Any]:
    """The facts of a program or a function; the latter needs ``--input`` or ``--data``.

    Args:
        request: :class:`edgekit.requests.LoadRequest` as JSON.

    Returns:
        :class:`converters.facts.ModelFacts` as JSON.
    """
    asked = from_json(LoadRequest, request)
    code = code_of(asked)
    with user_code.user_imports(*user_code.folders_of(code, Path(asked.path))):
        opened = open_program(asked, code)
        module = opened.program.lowered().compiler_ir("stablehlo")
        counts = counting.count(stablehlo.parse(stablehlo.static(str(module))))
    facts = ModelFacts(
        format="JAX",
        kind=opened.kind,
        signature=opened.program.signature,
        operators=dict(counts.operators.most_common()),
        parameters=counts.parameters,
        weights_bytes_by_dtype=dict(counts.weights_bytes.most_common()),
        macs=counts.macs,
        macs_note=counts.macs_note or "convolutions and matrix products",
        notes=opened.notes,
        **stored(counts.stored),
    )
    return dict(to_json(facts))

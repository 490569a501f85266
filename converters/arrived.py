"""The scheme that a file of a target's own format is in when it comes as a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.schemes import SCHEMES

FLOAT = "float32"
KEPT = (
    "The model arrived quantized, and was not quantized anew: where no note says otherwise, the integers of its "
    "weights and the ranges of its activations are the file's own."
)
"""What a file says that was lowered from a program in its own scheme."""
_WEIGHTS_BITS = {"uint8-weights": "int8-weights", "uint4-weights": "int4-weights"}
_QUANTIZED_BITS = 16


def scheme_of(facts: Mapping[str, Any]) -> str:
    """The scheme of most of a file's operators.

    Args:
        facts: :class:`converters.facts.ModelFacts` as JSON.

    Returns:
        A scheme's name; float32 too for types that are no scheme, such as float64.
    """
    most = str(facts["quantization"]).split(" + ")[0]
    most = _WEIGHTS_BITS.get(most, most)
    return most if most in SCHEMES else FLOAT


def is_quantized(scheme: str) -> bool:
    """Whether a file in this scheme was made by rounding to integers."""
    return SCHEMES[scheme].weight_bits < _QUANTIZED_BITS


def notes(facts: Mapping[str, Any]) -> list[str]:
    """What to say of a file whose operators are not all in one scheme, or not all in the one it is named by."""
    found, stayed = str(facts["quantization"]), list(facts["stayed_float"])
    if not is_quantized(scheme_of(facts)):
        return []
    mixed = f"It holds operators of several schemes ({found}); most are {scheme_of(facts)}."
    said = [mixed] if " + " in found else []
    if stayed:
        kinds = ", ".join(dict.fromkeys(item["operator"] for item in stayed))
        said.append(f"It arrived in {scheme_of(facts)} with {len(stayed)} operators that compute in float: {kinds}.")
    return said

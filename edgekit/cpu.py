"""Which instructions of the processor matter for 8-bit models."""

from __future__ import annotations

import platform
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

TARGET_CPUS = ("auto", "x86-vnni", "x86", "arm")
"""What a file can be quantized for; ``auto`` is this machine's own."""

_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Feature:
    """One set of instructions.

    Attributes:
        name: As Linux calls it.
        present: Whether this processor has it; ``None`` where the system does not say.
        meaning: What it is good for.
    """

    name: str
    present: bool | None
    meaning: str


_X86 = {
    "avx2": "256-bit vectors; float and int8 kernels are built on it",
    "avx512f": "512-bit vectors",
    "avx512_vnni": "u8 x s8 dot products in one instruction, 512 bits wide",
    "avx_vnni": "the same, 256 bits wide",
    "amx_int8": "int8 matrix products in hardware",
}
_ARM = {
    "asimd": "128-bit vectors; float and int8 kernels are built on it",
    "asimddp": "int8 dot products in one instruction (dotprod)",
    "i8mm": "int8 matrix products",
    "sve": "vectors longer than 128 bits",
}
_BY_MACHINE = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def features() -> tuple[Feature, ...]:
    """Those of this machine's architecture; empty for one that is not known here."""
    known = _BY_MACHINE.get(platform.machine().lower(), {})
    flags = _flags()
    return tuple(Feature(name, None if flags is None else name in flags, meaning) for name, meaning in known.items())


def resolve(cpu: str) -> str:
    """The CPU that ``--cpu`` names, with ``auto`` resolved for this machine."""
    if cpu != "auto":
        return cpu
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "arm"
    present = {feature.name for feature in features() if feature.present}
    return "x86-vnni" if present & _VNNI else "x86"


def int8_outlook(found: tuple[Feature, ...]) -> str:
    """What the features mean for int8 models, in a sentence; empty when nothing is known."""
    present = {feature.name for feature in found if feature.present}
    names = {feature.name for feature in found}
    if not found or any(feature.present is None for feature in found):
        return ""
    if "avx2" in names:
        return _x86_outlook(present)
    if "i8mm" in present or "asimddp" in present:
        return "int8 is fast here: dot products in hardware."
    return "int8 gains little speed here: there are no int8 dot products. It still makes files smaller."


def _x86_outlook(present: Set[str]) -> str:
    if present & _VNNI:
        return "int8 is fast here. In ONNX with unsigned activations: VNNI multiplies u8 by s8."
    if "avx2" in present:
        return (
            "int8 gains less here than on newer processors: without VNNI a product takes three instructions, "
            "and sums of u8 x s8 pairs saturate at 16 bits, so ONNX int8 results can differ from other machines'."
        )
    return "int8 and float are both slow here: there is no AVX2."


def _flags() -> Set[str] | None:
    """Flags of the first processor, ``None`` where there is no /proc/cpuinfo."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return None

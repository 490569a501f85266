"""A file that ``jax.export`` has written: read without running anything, and called with flat arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.jax import kinds, stablehlo
from edgekit.errors import ConversionError, UnsupportedError, first_line
from edgekit.types import TensorSpec

_GLOBAL = "jax.global_constant"  # marks arguments that are no inputs: sizes, and a number for the platform
_WRAPPED = "_wrapped_jax_export_main"
# What jax.export itself puts into modules, and what runs nothing.
_HARMLESS_CALLS = frozenset({"shape_assertion", "Sharding", "annotate_device_placement"})


@dataclass(frozen=True)
class Artifact:
    """A program as ``jax.export`` gives it back.

    Attributes:
        exported: ``jax.export.Exported``.
        inputs: Its inputs, flat, with ``None`` for sizes that it leaves open.
        nested: Whether an argument is a container of arrays.
    """

    exported: Any
    inputs: tuple[TensorSpec, ...]
    nested: bool

    def call(self, *arrays: Any) -> Any:
        """The program on flat arrays; its results in their own containers."""
        import jax

        arguments, named = jax.tree_util.tree_unflatten(self.exported.in_tree, arrays)
        return self.exported.call(*arguments, **named)


def read(path: Path) -> Artifact:
    """Read a program.

    Nothing in it is code of Python: the reader unpickles nothing, and containers of other types than Python's own are
    found by name among those that are registered. Its operators may call functions of jaxlib, some of which take
    addresses; programs that call other than known ones are refused here, before anything can run.

    Raises:
        ConversionError: It is cut short, or of a version that the installed JAX does not read.
        UnsupportedError: It is for other platforms, holds containers of unknown types or calls other code.
    """
    head = kinds.artifact(path)
    if head is None or not head.whole:
        raise ConversionError(
            f"{path}: this JAX program is cut short or damaged.",
            hint="Copy or download it again, and compare its size with the original's.",
        )
    exported = _deserialize(path)
    if "cpu" not in exported.platforms:
        raise UnsupportedError(
            f"{path}: the program was exported for {', '.join(exported.platforms)} only, and is run on the CPU here.",
            hint="jax.export.export(jax.jit(net), platforms=('cpu',))(…).serialize()",
        )
    if exported.nr_devices > 1:
        raise UnsupportedError(
            f"{path}: the program is spread over {exported.nr_devices} devices.", hint="Export it for one device."
        )
    module = _module(exported, path)
    _refuse_foreign_calls(path, module)
    return Artifact(exported, _inputs(exported, module), _is_nested(exported))


def _deserialize(path: Path) -> Any:
    import jax

    try:
        return jax.export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever following a wrong offset ends in
        custom = re.search(r"unregistered type `([^`]*)`", str(error))
        if custom:
            raise UnsupportedError(
                f"{path}: inputs or outputs of the program are in a container of the type {custom[1]}, which only its "
                "own code knows.",
                hint="Export a function of arrays, tuples, lists and dicts.",
            ) from error
        raise ConversionError(
            f"{path}: JAX {jax.__version__} does not read this program ({type(error).__name__}: {first_line(error)}).",
            hint="It is damaged, or was written by a newer JAX: export it again with the installed version, or "
            "install the one that wrote it.",
        ) from error


def _module(exported: Any, path: Path) -> Any:
    import jax

    try:
        return stablehlo.parse(exported.mlir_module())
    except Exception as error:  # of the MLIR reader
        raise ConversionError(
            f"{path}: JAX {jax.__version__} does not read the module in this program ({first_line(error)}).",
            hint="It is damaged, or was written by a newer JAX: export it again with the installed version.",
        ) from error


def _refuse_foreign_calls(path: Path, module: Any) -> None:
    targets = stablehlo.custom_calls(module) - _HARMLESS_CALLS
    if targets:
        raise UnsupportedError(
            f"{path}: the program calls code outside of it ({', '.join(sorted(targets))}); nothing was run.",
            hint="Linear algebra and callbacks into Python are such calls: export a function without them.",
        )


def _inputs(exported: Any, module: Any) -> tuple[TensorSpec, ...]:
    specs = []
    for name, aval in zip(_names(exported, module), exported.in_avals, strict=True):
        shape = tuple(size if isinstance(size, int) else None for size in aval.shape)
        specs.append(TensorSpec(name, shape, str(aval.dtype)))
    return tuple(specs)


def _names(exported: Any, module: Any) -> list[str]:
    """Names of the parameters, which the module keeps as locations; else their places: ``args_0``."""
    import jax

    places = jax.tree_util.tree_unflatten(exported.in_tree, range(len(exported.in_avals)))
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(places)[0]]
    names = [_place(path) for path in paths]
    found = _locations(module)
    if len(found) == len(exported.module_kept_var_idx):
        for index, name in zip(exported.module_kept_var_idx, found, strict=True):
            names[index] = stablehlo.plain_name(name) or names[index]
    return names if len(set(names)) == len(names) else [_place(path) for path in paths]


def _place(path: tuple[Any, ...]) -> str:
    """``args_0`` and ``args_0_key``, or the name of a keyword argument."""
    kind, *rest = (stablehlo.key_text(key) for key in path)
    return stablehlo.plain_name("_".join(["args", *rest] if kind == "0" else rest))


def _locations(module: Any) -> list[str]:
    """Of the inputs of the program, in order; those of the function inside, where ``main`` wraps one for open sizes."""
    names = _named_arguments(stablehlo.function(module, "main"))
    if not any(names) and stablehlo.has_function(module, _WRAPPED):
        names = _named_arguments(stablehlo.function(module, _WRAPPED))
    return names


def _named_arguments(function: Any) -> list[str]:
    arguments = function.regions[0].blocks[0].arguments
    marks = [str(item) for item in function.attributes["arg_attrs"]] if "arg_attrs" in function.attributes else []
    marks += [""] * (len(arguments) - len(marks))
    return [
        getattr(argument.location, "name_str", None) or ""
        for argument, mark in zip(arguments, marks, strict=True)
        if _GLOBAL not in mark
    ]


def _is_nested(exported: Any) -> bool:
    """Whether an argument is more than one array: weights that were not closed over, as a rule."""
    import jax

    places = jax.tree_util.tree_unflatten(exported.in_tree, range(len(exported.in_avals)))
    paths, _ = jax.tree_util.tree_flatten_with_path(places)
    return any(len(path) > 2 for path, _ in paths)

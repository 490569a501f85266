"""What a graph may not do, said by name before any of it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from converters.saved_model.graphs import nodes
from edgekit.errors import UnsupportedError, UntrustedError

_RESTORES = re.compile(r"Restore|RestoreSlice|RestoreV2")
_OUTSIDE = re.compile(
    r"PyFunc|PyFuncStateless|EagerPyFunc"  # Python
    r"|ReadFile|WriteFile|MatchingFiles|ImmutableConst|LoadAndRemapMatrix|GenerateVocabRemapping|FileSystem\w+"
    r"|InitializeTableFromTextFile\w*|DecodeProtoV2|EncodeProto|ImportEvent|DumpTensor|CalibrationStatisticsSaver"
    r"|Save|SaveV2|SaveSlices|DistributedSave|MergeV2Checkpoints|\w*Restore(V2|Slice)?|\w*Reader(V2)?|Reader[A-Z]\w+"
    r"|\w*Dataset\w*|\w*SummaryWriter|CreateSummary\w+|Write\w*Summary|Debug\w+"
    r"|Rpc\w+|RemoteCall|_?(Host)?(Send|Recv)|Collective\w+|Xla(Send|Recv)\w*|XlaHostCompute"  # other processes
)
_TABLES = re.compile(r"\w*HashTable\w*|LookupTable\w+|InitializeTable\w*")
_CHANGES = re.compile(
    r"Assign|AssignAdd|AssignSub|Assign\w*VariableOp|AssignVariableXlaConcatND|Resource(Sparse)?Apply\w+"
    r"|(Sparse)?Apply[A-Z]\w+|ResourceScatter\w+|Scatter(Add|Sub|Mul|Div|Min|Max|Update)|ScatterNd(Add|Sub|Update|Max|Min)"
    r"|(Resource)?StridedSliceAssign|(Resource)?CountUpTo|RngSkip|(\w*Queue|Queue[A-Z]\w+|Barrier\w*|\w*Stage|Unstage)(V2)?"
    r"|\w*Iterator\w*|\w*ConditionalAccumulator|Accumulator\w+|\w*SessionHandle\w*|GetSessionTensor|TemporaryVariable"
)
_RANDOM = re.compile(
    r"Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson|PoissonV2|Crop)|(Parameterized)?TruncatedNormal"
    r"|Multinomial|Stateful(Uniform|StandardNormal|TruncatedNormal|RandomBinomial)\w*|NonDeterministicInts"
    r"|RngReadAndSkip|SampleDistortedBoundingBox\w*|\w+CandidateSampler|Timestamp"
)
_OLD_CONTROL_FLOW = frozenset("Switch RefSwitch Merge RefMerge Enter RefEnter Exit RefExit NextIteration".split())
_SHOWN = 6


def refuse_untrusted(graph: Any, path: str, trust: bool, restoring: bool = False) -> None:
    """Refuse what touches files, other processes or Python.

    Args:
        graph: ``GraphDef`` of what is going to run.
        path: For the message.
        trust: ``--trust``.
        restoring: It is the part that reads the weights.

    Raises:
        UntrustedError: Lists all such operators.
    """
    if trust:
        return
    found = [
        _shown(node, place)
        for node, place in nodes(graph)
        if (_OUTSIDE.fullmatch(node.op) and not (restoring and _RESTORES.fullmatch(node.op))) or _prints_to_file(node)
    ]
    if found:
        raise UntrustedError(
            f"{path}: running the model may read or write files, run Python or call other processes: {_listed(found)}.",
            hint="Add --trust if you know where the model comes from. Converted files cannot hold such operators: "
            "better save the model without them.",
        )


def _prints_to_file(node: Any) -> bool:
    return bool(node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"))


def refuse_unknown(graph: Any, path: str, frozen: bool) -> None:
    """Refuse operators that this TensorFlow does not have.

    Raises:
        UnsupportedError: Lists all of them.
    """
    own = {function.signature.name for function in graph.library.function}
    found = [_shown(node, place) for node, place in nodes(graph) if node.op not in own and not _known(node.op)]
    if found:
        raise UnsupportedError(
            f"{path}: TensorFlow does not know these operators: {_listed(found)}.",
            hint="They are custom operators, which converted files could not run either. "
            + (
                "Name the tensors that go into them: --output-name NAME."
                if frozen
                else "Save the model without them, with what goes into them as its outputs."
            ),
        )


def _known(operator: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(operator) is not None


def refuse_tables(graph: Any, path: str) -> None:
    """Refuse look-up tables, whose content is in no tensor.

    Raises:
        UnsupportedError: Lists them.
    """
    found = [_shown(node, place) for node, place in nodes(graph) if _TABLES.fullmatch(node.op)]
    if found:
        raise UnsupportedError(
            f"{path}: the model looks things up in tables, which edge runtimes have not: {_listed(found)}.",
            hint="Save the model without its text processing, with numbers (token ids) as inputs and outputs.",
        )


def refuse_state(graph: Any, path: str) -> None:
    """Refuse models that change themselves: a converted file would compute the same at every run.

    Raises:
        UnsupportedError: Lists the operators that do it.
    """
    found = [_shown(node, place) for node, place in nodes(graph) if _CHANGES.fullmatch(node.op)]
    if found:
        raise UnsupportedError(
            f"{path}: the model changes its own state at every run: {_listed(found)}.",
            hint="Choose a signature for inference (--signature), or save the model with the state as an input and an "
            "output.",
        )


def refuse_random(graph: Any, path: str) -> None:
    """Refuse models whose outputs differ from run to run: there would be nothing to compare a file with.

    Raises:
        UnsupportedError: Lists the operators that do it.
    """
    found = [_shown(node, place) for node, place in nodes(graph) if _RANDOM.fullmatch(node.op)]
    if found:
        raise UnsupportedError(
            f"{path}: the outputs depend on random numbers that differ from run to run: {_listed(found)}.",
            hint="Save the model for inference (training=False), or make the random numbers an input.",
        )


def refuse_old_control_flow(graph: Any, path: str) -> None:
    """Refuse loops and branches of TensorFlow 1 whose conditions are not fixed.

    Raises:
        UnsupportedError: Lists them.
    """
    found = [_shown(node, place) for node, place in nodes(graph) if node.op in _OLD_CONTROL_FLOW]
    if found:
        raise UnsupportedError(
            f"{path}: the graph has loops or branches in the way of TensorFlow 1: {_listed(found)}.",
            hint="Build it again in TensorFlow 2, where tf.while_loop and tf.cond become operators of their own, or "
            "convert a part without them (--output-name, --input).",
        )


def has_old_control_flow(graph: Any) -> bool:
    """Whether it has loops or branches of TensorFlow 1."""
    return any(node.op in _OLD_CONTROL_FLOW for node, _ in nodes(graph))


def refuse_text(found: Iterable[Any], path: str) -> None:
    """Refuse operators that make strings.

    Args:
        found: ``tf.Operation``.
        path: For the message.

    Raises:
        UnsupportedError: Lists them.
    """
    listed = [f"{item.type} ({item.name})" for item in found]
    if listed:
        raise UnsupportedError(
            f"{path}: the model computes on strings, which edge runtimes have not: {_listed(listed)}.",
            hint="Save the model without them, with numbers as inputs and outputs.",
        )


def _shown(node: Any, place: str) -> str:
    return f"{node.op} ({place})"


def _listed(found: list[str]) -> str:
    distinct = list(dict.fromkeys(found))
    more = f", and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return ", ".join(distinct[:_SHOWN]) + more

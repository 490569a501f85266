"""What a method of a ``.pte`` makes at run time, in order, inside its XNNPACK delegates and outside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from converters.executorch import _xnnpack as xnnpack
from converters.executorch._exposed import Inside, Value
from converters.executorch._flatbuffer import Table
from converters.executorch._modules import Modules
from converters.executorch._program import MODULES, Program, tensor
from edgekit.errors import UnsupportedError

_VIEW = "executorch_prim::et_view"
_QUANTIZES = "quantized_decomposed::quantize_per_tensor"
_DEQUANTIZES = "quantized_decomposed::dequantize_per_tensor"
_HIDDEN_DTYPES = {"FLOAT": "float32", "HALF": "float16", "CHAR": "int8", "BYTE": "uint8", "INT": "int32"}
_CONVERTS = ("Convert", "quantize_per_tensor", "dequantize_per_tensor")


@dataclass(frozen=True)
class Hidden:
    """Where a value is that only a delegate knows.

    Attributes:
        instruction: Number of the call.
        delegate: Its index.
        value: As in its graph.
    """

    instruction: int
    delegate: int
    value: Value


@dataclass(frozen=True)
class Made:
    """A tensor that an operator makes.

    Attributes:
        key: Which tensor it is.
        operator: ``xnnpack::Conv2d`` or ``aten::mean.out``.
        module: Path in the source; empty where the file does not say.
        reads: Keys of what the operator reads.
        dtype: NumPy's name.
        shape: Upper bounds where ``dynamic``.
        dynamic: Whether sizes are open.
        index: Of the method's value; ``None`` for a hidden one.
        hidden: The other way round.
        view_of: The value whose memory it shares.
    """

    key: str
    operator: str
    module: str
    reads: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    dynamic: bool
    index: int | None = None
    hidden: Hidden | None = None
    view_of: int | None = None

    @property
    def kind(self) -> str:
        """The operator without where it comes from."""
        return _name(self.operator)

    @property
    def converts(self) -> bool:
        """Whether it is what it reads, in other numbers."""
        return self.kind in _CONVERTS


@dataclass
class Walk:
    """A method, instruction by instruction, up to the first branch.

    Attributes:
        made: In order of execution.
        views: Values that no instruction makes, because they are others in another shape: by index, that of the other.
        delegates: By index.
        arguments: Number of arguments of their calls.
        scales: Scale and zero point of integers, by key.
        branches: Whether there is more behind a branch.

    Raises:
        UnsupportedError: It has delegates that cannot be looked into.
    """

    program: Program
    plan: Table
    made: list[Made] = field(default_factory=list)
    views: dict[int, int] = field(default_factory=dict)
    delegates: dict[int, Inside] = field(default_factory=dict)
    arguments: dict[int, int] = field(default_factory=dict)
    scales: dict[str, tuple[float, int]] = field(default_factory=dict)
    branches: bool = False

    def __post_init__(self) -> None:
        self.values = [item.table("val") for item in self.plan.tables("values")]
        self.tensors = [tensor(value) for value in self.values]
        self._owners: dict[tuple[int, int, int], int] = {}  # the value that was last written to a place in memory
        self._known: set[int] = set()
        self._counts: Counter[str] = Counter()  # of kernels that were met, by name
        for index in self.plan.integers("inputs"):
            self._define(index)
        operators = [
            f"{item.text('name')}.{item.text('overload')}".removesuffix(".") for item in self.plan.tables("operators")
        ]
        instructions = [item for chain in self.plan.tables("chains") for item in chain.tables("instructions")]
        calls = [item.needed("instr_args") for item in instructions]
        kernels = [_name(operators[call.integer("op_index")]) for call in calls if call.label == "KernelCall"]
        self._modules = Modules(json.loads(self.program.constants.get(MODULES, "{}")), kernels)
        for number, call in enumerate(calls):
            if call.label == "JumpFalseCall":
                self.branches = True
                break
            if call.label == "KernelCall":
                self._kernel(operators[call.integer("op_index")], call.integers("args"))
            elif call.label == "DelegateCall":
                self._enter(number, call.integer("delegate_index"), call.integers("args"))
        for index in self.plan.integers("outputs"):
            self._key(index)
        self._inherit_scales()

    def _define(self, index: int) -> None:
        self._known.add(index)
        place = self._place(index)
        if place is not None:
            self._owners[place] = index

    def _place(self, index: int) -> tuple[int, int, int] | None:
        value = self.values[index]
        details = value.table("allocation_info") if value is not None and value.label == "Tensor" else None
        if details is None:
            return None
        low, high = details.integer("memory_offset_low"), details.integer("memory_offset_high")
        return details.integer("memory_id"), low, high

    def _key(self, index: int) -> str:
        """What a value is that is read.

        ``view_copy`` of known sizes leaves no instruction: its result is another value in the same place in memory.
        """
        if index not in self._known and self._is_computed(index):
            self._known.add(index)
            owner = self._owners.get(self._place(index) or (0, 0, 0))
            if owner is not None:
                self.views[index] = owner
        return str(self.views.get(index, index))

    def _flat(self, arguments: Iterable[int]) -> list[int]:
        """The members of lists of tensors one by one."""
        found: list[int] = []
        for index in arguments:
            value = self.values[index]
            is_list = value is not None and value.label in ("TensorList", "OptionalTensorList")
            found += [item for item in value.integers("items") if item >= 0] if is_list and value else [index]
        return found

    def _kernel(self, operator: str, arguments: tuple[int, ...]) -> None:
        """A kernel makes what its last argument is: its result, once more after the ``out`` arguments."""
        made = [index for index in self._flat(arguments[-1:]) if self._is_computed(index) and index not in self._known]
        read = [index for index in self._flat(arguments) if self._is_computed(index) and index not in made]
        reads = tuple(dict.fromkeys(self._key(index) for index in read))
        self._note_scales(operator, arguments, made)
        name = _name(operator)
        module = self._modules.of_kernel(name, self._counts[name])
        self._counts[name] += 1
        for index in made:
            item = self.tensors[index]
            if item is not None:
                view = int(reads[0]) if operator.startswith(_VIEW) and reads else None
                key, shape = str(index), item.sizes
                self.made.append(Made(key, operator, module, reads, item.dtype, shape, item.dynamic, index, None, view))
            self._define(index)

    def _is_computed(self, index: int) -> bool:
        """Whether it is a tensor, and not a stored one, such as weights and state."""
        value, found = self.values[index], self.tensors[index]
        if value is None or value.label != "Tensor" or found is None:
            return False
        return found.constant is None and not value.integer("data_buffer_idx")

    def _note_scales(self, operator: str, arguments: tuple[int, ...], made: list[int]) -> None:
        if not operator.startswith((_QUANTIZES, _DEQUANTIZES)):
            return
        scale, zero_point = (self.values[index] for index in arguments[1:3])
        key = str(made[0]) if operator.startswith(_QUANTIZES) and made else self._key(arguments[0])
        if scale is not None and zero_point is not None and (scale.label, zero_point.label) == ("Double", "Int"):
            self.scales[key] = (scale.number("double_val"), zero_point.integer("int_val"))

    def _content(self, index: int) -> memoryview:
        backend = self.plan.tables("delegates")[index].text("id")
        content = self.program.delegate_content(self.plan, index)
        why = ""
        if backend != xnnpack.DELEGATE:
            why = f"it runs on {backend}, and only that can tell what is inside"
        elif not xnnpack.is_readable(content):
            why = "its XNNPACK part is in the layout of an ExecuTorch before 0.2"
        elif index in self.delegates:
            why = "a part of it is run more than once"
        if why:
            raise UnsupportedError(
                f"The layers of this ExecuTorch file cannot be looked at: {why}.",
                hint="Compare its outputs alone: leave --layers out. Or convert the model again, to XNNPACK.",
            )
        return content

    def _enter(self, number: int, index: int, arguments: tuple[int, ...]) -> None:
        """Follow the nodes of a delegate."""
        inside = Inside(self._content(index))
        self.delegates[index], self.arguments[index] = inside, len(arguments)
        dynamic = any(item is not None and item.dynamic for item in (self.tensors[place] for place in arguments))
        made = {arguments[value.external] for value in inside.made() if value.external is not None}
        keys = {place: str(place) if place in made else self._key(place) for place in arguments}
        for place in made:
            self._define(place)

        def key(value: Value) -> str:
            return f"{number}/{value.index}" if value.external is None else keys[arguments[value.external]]

        for value in inside.values.values():
            if value.scale is not None and value.zero_point is not None and not value.constant:
                self.scales[key(value)] = (value.scale, value.zero_point)
        for node in inside.nodes:
            read = [inside.values[place] for place in node.reads]
            reads = tuple(key(value) for value in read if not value.constant)
            for value in (inside.values[place] for place in node.makes):
                hidden = Hidden(number, index, value) if value.external is None else None
                held = None if value.external is None else arguments[value.external]
                item = None if held is None else self.tensors[held]
                self.made.append(
                    Made(
                        key=key(value),
                        operator=f"xnnpack::{node.kind}",
                        module=self._modules.of_node(node.handle),
                        reads=reads,
                        dtype=item.dtype if item else _HIDDEN_DTYPES.get(value.dtype, ""),
                        shape=item.sizes if item else value.shape,
                        dynamic=item.dynamic if item else dynamic,
                        index=held,
                        hidden=hidden,
                    )
                )

    def _inherit_scales(self) -> None:
        """Integers that were only moved have the scale of what they were moved from."""
        for item in self.made:
            if item.dtype in ("int8", "uint8") and len(item.reads) == 1 and item.reads[0] in self.scales:
                self.scales.setdefault(item.key, self.scales[item.reads[0]])


def _name(operator: str) -> str:
    """``mean`` for ``aten::mean.out``."""
    return operator.rpartition("::")[2].partition(".")[0]

"""Archives that would run code, or write files, when torch loads them.

Each payload is shown to work where it is let, or the test that it does not would prove nothing.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.pytorch import archives, reading
from edgekit.errors import ConversionError, UntrustedError

torch = pytest.importorskip("torch", reason="needs the extra torch")


class Payload:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def program(path: Path) -> Path:
    """With a weight, a constant and a dynamic batch."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 3)
            self.constant = torch.ones(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) + self.constant

    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(Net().eval(), (torch.randn(2, 4),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(exported, path)
    return path


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Give each member (by its name below the archive's folder) another content; ``None`` leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            changed = change(name.partition("/")[2], content)
            if changed is not None:
                archive.writestr(name, changed)
    return path


def add(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(f"{root}/{name}", content)
    return path


def edit_json(path: Path, member: str, edit: Callable[[dict], None]) -> Path:
    def change(name: str, content: bytes) -> bytes:
        if name != member:
            return content
        parsed = json.loads(content)
        edit(parsed)
        return json.dumps(parsed).encode()

    return rewrite(path, change)


def pickled(mark: Path, kind: str, folder: Path) -> bytes:
    if kind == "pickle":
        return pickle.dumps(Payload(mark))
    torch.save({"x": Payload(mark)}, folder / "payload.pt", _use_new_zipfile_serialization=kind == "zip")
    return (folder / "payload.pt").read_bytes()


def refused(path: Path, mark: Path) -> UntrustedError:
    """Not read without trust, and nothing executed."""
    with pytest.raises(UntrustedError) as caught:
        reading.read(path, model_code=None, trust=False)
    assert not mark.exists()
    return caught.value


def works(path: Path, mark: Path) -> None:
    with contextlib.suppress(Exception):  # a payload is no program; what matters is that it ran
        torch.export.load(path)
    assert mark.exists()


def test_an_ordinary_program_is_read(tmp_path: Path) -> None:
    network = reading.read(program(tmp_path / "model.pt2"), model_code=None, trust=False)
    assert network.run(torch.randn(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_pickle_in_the_place_of_sample_inputs(tmp_path: Path, mark: Path, kind: str) -> None:
    evil = pickled(mark, kind, tmp_path)
    path = rewrite(program(tmp_path / "model.pt2"), lambda n, c: evil if n == "data/sample_inputs/model.pt" else c)
    error = refused(path, mark)
    assert "Loading it would run that code; nothing was run." in error.message
    assert "--trust" in error.hint
    works(path, mark)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["weights", "constants"])
def test_pickle_in_the_old_place_of_weights_and_constants(tmp_path: Path, mark: Path, kind: str, place: str) -> None:
    path = add(program(tmp_path / "model.pt2"), f"data/{place}/model.pt", pickled(mark, kind, tmp_path))
    refused(path, mark)
    works(path, mark)


@pytest.mark.parametrize(("place", "file"), [("weights", "weight_0"), ("constants", "tensor_0")])
def test_pickle_as_one_weight_or_constant(tmp_path: Path, mark: Path, place: str, file: str) -> None:
    def use_pickle(config: dict) -> None:
        for entry in config["config"].values():
            entry["use_pickle"] = True

    evil = pickled(mark, "zip", tmp_path)
    path = rewrite(program(tmp_path / "model.pt2"), lambda n, c: evil if n == f"data/{place}/{file}" else c)
    edit_json(path, f"data/{place}/model_{place}_config.json", use_pickle)
    refused(path, mark)
    works(path, mark)


def test_pickle_as_an_object(tmp_path: Path, mark: Path) -> None:
    """torch.export.load gives it to pickle.loads, whatever TORCH_FORCE_WEIGHTS_ONLY_LOAD says."""

    def use_object(config: dict) -> None:
        for entry in config["config"].values():
            entry["path_name"] = "opaque_obj_0"

    path = add(program(tmp_path / "model.pt2"), "data/constants/opaque_obj_0", pickled(mark, "pickle", tmp_path))
    with_raw = edit_json(path, "data/constants/model_constants_config.json", use_object)
    assert "'opaque_obj_0' is an object" in refused(with_raw, mark).message
    edit_json(path, "data/constants/model_constants_config.json", lambda config: config["config"].update(
        c={"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    ))  # fmt: skip
    assert "'opaque_obj_0' is an object" in refused(path, mark).message


def hostile(mark: Path) -> str:
    return f"__import__('pathlib').Path({str(mark)!r}).mkdir()"


def spelled(text: str, character: str = "chr") -> str:
    return "+".join(f"{character}({ord(letter)})" for letter in text)


def set_expression(path: Path, expression: str, member: str = "models/model.json") -> Path:
    def edit(value: object) -> None:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            if isinstance(item, dict) and "expr_str" in item:
                item["expr_str"] = expression
            edit(item)

    return edit_json(path, member, edit)


@pytest.mark.parametrize("spelling", ["plain", "brackets", "wide letters", "inner call"])
def test_expression_that_runs_code(tmp_path: Path, mark: Path, spelling: str) -> None:
    code = hostile(mark)
    expression = {
        "plain": code,
        "brackets": f"(eval)({spelled(code, '(chr)')})",
        "wide letters": f"\uff45\uff56\uff41\uff4c({spelled(code, chr(0xFF43) + chr(0xFF48) + chr(0xFF52))})",
        "inner call": f"Max(1,eval({spelled(code)}))",
    }[spelling]
    path = set_expression(program(tmp_path / "model.pt2"), expression)
    error = refused(path, mark)
    assert "is more than arithmetic; loading it would run code" in error.message
    if spelling != "wide letters":  # which Python takes for narrow ones, and sympy not
        works(path, mark)


@pytest.mark.parametrize("name", ["models/model.JSON", "models/modelXXXXX"])
def test_programs_are_checked_whatever_their_suffix(tmp_path: Path, mark: Path, name: str) -> None:
    """torch takes every file in models/ for a program and cuts five letters off its name."""
    path = set_expression(program(tmp_path / "model.pt2"), hostile(mark))
    with zipfile.ZipFile(path) as file:
        content = next(file.read(item) for item in file.namelist() if item.endswith("/models/model.json"))
    rewrite(path, lambda n, c: None if n == "models/model.json" else c)
    add(path, name, content)
    add(path, "nowhere/models/a.json", b"{}")
    with pytest.raises((UntrustedError, ConversionError)):  # it may not even look like a program
        reading.read(path, model_code=None, trust=False)
    with pytest.raises(UntrustedError, match="more than arithmetic"):
        archives.check_program(path)
    assert not mark.exists()
    works(path, mark)


@pytest.mark.parametrize("name", ["models/model.json", "models/MODEL.json"])
def test_two_members_of_the_same_name(tmp_path: Path, mark: Path, name: str) -> None:
    """Python reads the last one, torch the first."""
    path = add(program(tmp_path / "model.pt2"), name, b"{}")
    assert "two archive members are called" in refused(path, mark).message


def test_a_comment_could_hide_another_archive(tmp_path: Path, mark: Path) -> None:
    path = program(tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"anything"
    assert "comment" in refused(path, mark).message


def test_compiled_code(tmp_path: Path, mark: Path) -> None:
    path = add(program(tmp_path / "model.pt2"), "data/aotinductor/model/model.so", b"\x7fELF")
    assert "compiled code" in refused(path, mark).message


def test_operators_on_files_in_a_program(tmp_path: Path, mark: Path) -> None:
    def call_from_file(content: dict) -> None:
        (node,) = (node for node in content["graph_module"]["graph"]["nodes"] if "add" in node["target"])
        node["target"] = "torch.ops.aten.from_file.default"

    path = edit_json(program(tmp_path / "model.pt2"), "models/model.json", call_from_file)
    assert "the operator torch.ops.aten.from_file.default reads or writes files" in refused(path, mark).message
    torch.ops.aten.from_file.default(str(mark), True, 4)
    assert mark.exists()


class Saves(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file(self.path, True, 4)


def test_operators_on_files_in_torchscript(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Saves(str(mark))).save(path)
    error = refused(path, mark)
    assert "from_file(), which reads or writes files" in error.message
    torch.jit.load(path)(torch.randn(4))
    assert mark.exists()


def test_texts_beside_the_program_are_left_alone(tmp_path: Path) -> None:
    path = program(tmp_path / "model.pt2")
    torch.export.save(
        torch.export.load(path), path, extra_files={"notes.json": json.dumps({"path_name": "x", "target": "save"})}
    )
    reading.read(path, model_code=None, trust=False)


def test_damaged_json_is_no_crash(tmp_path: Path) -> None:
    for content in (b'{"graph', b"[" * 100_000, b"\xff\xfe"):
        path = rewrite(program(tmp_path / "model.pt2"), lambda n, c, new=content: new if n.startswith("models/") else c)
        with pytest.raises(ConversionError, match=r"models/model\.json is damaged"):
            reading.read(path, model_code=None, trust=False)


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("member", ["../evil", "model/../../evil", "/etc/evil"])
def test_members_that_leave_the_archive(tmp_path: Path, member: str) -> None:
    path = archive(tmp_path / "model.pt", {"model/data.pkl": b"", member: b"x"})
    with pytest.raises(UntrustedError, match="points outside the archive"):
        archives.check(path)


def test_members_that_expand_beyond_reason(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", {"model/data.pkl": bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UntrustedError, match="expands to 52428800 bytes"):
        archives.check(path)


def with_expressions(path: Path, *expressions: str) -> Path:
    content = {"symbols": [{"as_expr": {"expr_str": text, "hint": None}} for text in expressions]}
    return archive(path, {"model/models/model.json": json.dumps(content).encode()})


@pytest.mark.parametrize(
    "expression",
    [
        "s0", "4*s77 + 1", "Max(1, s0)", "FloorDiv(s0 + 1, 2)", "Mod(s0, 2)", "((s0 - 1)//2) + 1", "Eq(s0, 3)",
        "s0 >= 2", "-1*s0", "Piecewise((1, s0 < 2), (2, True))", "ceiling(s0/2)", "u0", "3.5*s1", "s0**2", "1e-05*zf3",
        "2*(s0 + 1)", "Max(Min(s0, 4), (s1))", "(s0 < 3) & (s1 > 2)", "int_oo",
        "Add(FloorDiv(Symbol('s53', positive=True, integer=True), Integer(3)), Integer(1))",
        "Mul(Rational(1, 2), Float('0.1000000000000000055511151231257827', precision=53))",
        "Piecewise(ExprCondPair(Integer(1), StrictLessThan(Symbol('u0', integer=True), Integer(2))))",
    ],
)  # fmt: skip
def test_arithmetic_of_shapes_passes(tmp_path: Path, expression: str) -> None:
    archives.check_program(with_expressions(tmp_path / "model.pt2", "s1", expression))


@pytest.mark.parametrize(
    "expression",
    [
        "().__class__.__bases__[0]", "exec(open)", "open(0)", "s0.foo", "s0 . foo", "lambda: 0", "[x for x in s0]",
        "s0; s1", "s0 if s1 else s2", "'text'", 'f"{s0}"', "Lambda(x, x)", "sympify(s0)", "getattr(s0, x)", "\\u005f",
        "s0 := 1", "{s0}", "@s0", "exec (s0)", "exec\n(s0)", "S(s0)", "(s0)(s1)", "s0(s1)", "3(s0)", "Max(s0, 1)(s1)",
        "Max (s0)(s1)", "Symbol('s0')('s1')", "Symbol('s0.x')", "Symbol('exec')", "Symbol('s0', key=len)", "s0 = s1",
        "'a' + 'b'", "Max('__import__')", "Symbol('s0', eval=True)", "Integer('s0(')", "'s0'(s0)",
        "eval", "chr", "s0\u00b2", "\uff4d\uff41\uff58(s0)",
    ],
)  # fmt: skip
def test_anything_else_does_not(tmp_path: Path, expression: str) -> None:
    with pytest.raises(UntrustedError, match="more than arithmetic"):
        archives.check_program(with_expressions(tmp_path / "model.pt2", "s0", expression))


def test_real_programs_with_dynamic_shapes_pass(tmp_path: Path) -> None:
    class Shapes(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            pooled = torch.nn.functional.avg_pool1d(x, 3, 2, 1)
            return torch.cat([pooled, y], 2).flatten(1).repeat(1, 2) * (x.shape[2] // 3 + 1)

    auto = torch.export.Dim.AUTO
    exported = torch.export.export(
        Shapes(), (torch.randn(2, 3, 17), torch.randn(2, 3, 5)), dynamic_shapes=({0: auto, 2: auto}, {0: auto, 2: auto})
    )
    torch.export.save(exported, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as file:
        assert b"expr_str" in file.read(next(name for name in file.namelist() if "models/" in name))
    archives.check(tmp_path / "model.pt2")
    archives.check_program(tmp_path / "model.pt2")

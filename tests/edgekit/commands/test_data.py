"""Data of every form on the command line: what convert makes with it, and what inspect shows of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conversion import Done, Run, check

from edgekit import cli

Image = pytest.importorskip("PIL.Image", reason="needs the extra images")
Command = Callable[..., Done]


@pytest.fixture
def edgekit(capsys: pytest.CaptureFixture[str]) -> Command:
    """Any command, in this process."""

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as caught:
            cli.main([*arguments])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return Done(int(caught.value.code or 0), shown.out, shown.err)

    return call


@pytest.fixture
def pictures(here: Path) -> Path:
    """Two classes of eight pictures; the model of these tests takes 3x8x8."""
    generator = np.random.default_rng(5)
    for label, name in enumerate(("cat", "dog")):
        (here / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 128, (12, 10, 3), dtype=np.uint8) + np.uint8(100 * label)
            Image.fromarray(pixels).save(here / "pictures" / name / f"{number}.png")
    return here / "pictures"


def test_pictures_calibrate_and_the_command_repeats_it(run: Run, pictures: Path) -> None:
    (pictures / "notes.md").write_text("words")
    done = run(
        "net.pt2", "--int8", "--data", "pictures", "--preprocess", "scale=1 mean=114 std=60 interp=bicubic", "--json"
    )
    assert done.code == 0, done.err
    report = json.loads(done.out)
    (artifact,) = report["artifacts"]
    assert artifact["verification"]["inputs"] == "3 held-out samples of 16 samples of pictures"
    assert artifact["calibration"]["samples"] == 13
    note = "1 file is no picture and left out: notes.md."
    assert note in report["notes"]
    assert note in artifact["notes"]
    words = shlex.split(artifact["command"])
    assert words[words.index("--preprocess") + 1] == "scale=1 mean=114 std=60 interp=bicubic"


def test_pictures_are_what_they_would_be_as_an_array(tiny: str, pictures: Path, edgekit: Command) -> None:
    """A file of the same numbers is shown the same figures."""
    files = sorted(pictures.rglob("*.png"))
    bilinear = Image.Resampling.BILINEAR
    resized = [np.asarray(Image.open(file).resize((8, 8), bilinear)).transpose(2, 0, 1) for file in files]
    np.savez("same.npz", x=np.stack(resized).astype(np.float32) / 255, y=np.arange(16) // 8)
    given = [("pictures", "--preprocess", "unit"), ("same.npz",)]
    shown = [json.loads(edgekit("inspect", tiny, "--json", "--data", *each).out) for each in given]
    assert [facts["samples"] for facts in shown] == [16, 16]
    for key in ("minimum", "maximum", "mean", "std"):
        first, second = (
            [facts["arrays"][0][key], *(c[key] for c in facts["arrays"][0]["channels"])] for facts in shown
        )
        np.testing.assert_allclose(first, second, rtol=1e-5)
        assert len(first) == 4
    assert [each["samples"] for each in shown[0]["classes"]] == [8, 8]
    assert [each["name"] for each in shown[0]["classes"]] == ["cat", "dog"]
    assert shown[0]["arrays"][0]["shape"] == [16, 1, 3, 8, 8]


def test_pictures_give_the_shape_that_weights_do_not_say(run: Run, pictures: Path) -> None:
    typed = ("weights.pt", "--model", "code_of_user.py:Net", "--data", "pictures")
    done = run(*typed, "--preprocess", "unit crop=8")
    assert done.code == 0, done.err
    done = run(*typed, "--preprocess", "unit resize=8", output="other")
    assert done.code == 2
    assert "takes pictures of any size" in done.err


def test_a_function_and_a_table(run: Run, here: Path) -> None:
    (here / "samples.py").write_text(
        "import numpy as np\n\ndef some():\n    for x in np.random.default_rng(1).normal(size=(12, 3, 8, 8)):\n"
        "        yield [x[None].astype('float32')]\n"
    )
    done = run("net.pt2", "--int8", "--data", "samples.py:some", "--json")
    assert done.code == 0, done.err
    (artifact,) = json.loads(done.out)["artifacts"]
    assert "--data samples.py:some" in artifact["command"]
    rows = np.random.default_rng(1).normal(size=(12, 192))
    np.savetxt(here / "table.csv", np.column_stack([np.arange(12) % 3, rows]), delimiter=",")
    done = run("net.pt2", "--data", "table.csv", "--label-column", "0", "--json", output="other")
    assert done.code == 0, done.err
    (artifact,) = json.loads(done.out)["artifacts"]
    assert "--data table.csv --label-column 0" in artifact["command"]


@pytest.fixture
def tiny(here: Path) -> str:
    """A converted file that takes 3x8x8 and is read quickly."""
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    tensor = onnx.helper.make_tensor_value_info
    sides = [tensor(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("image", "out")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["out"])], "tiny", sides[:1], sides[1:])
    onnx.save(onnx.helper.make_model(graph), here / "tiny.onnx")
    return "tiny.onnx"


# What is refused


def test_pictures_without_preprocessing(run: Run, pictures: Path) -> None:
    check(run("net.pt2", "--int8", "--data", "pictures"), 2, "nothing says what the model was trained on", "imagenet")


def test_a_broken_picture(run: Run, pictures: Path) -> None:
    file = pictures / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:200])
    done = run("net.pt2", "--int8", "--data", "pictures", "--preprocess", "unit")
    check(done, 2, "pictures/dog/3.png cannot be read as a picture")


def test_options_without_data(run: Run, edgekit: Command) -> None:
    check(run("net.pt2", "--preprocess", "unit"), 2, "--preprocess says how to read your data, and there is none")
    check(run("net.pt2", "--int8", "--data", "random", "--columns", "1"), 2, "--columns says how to read your data")
    check(edgekit("profile", "net.pt2", "--label-column", "0"), 2, "--label-column says how to read your data")
    check(edgekit("inspect", "net.pt2", "--preprocess", "unit"), 2, "--preprocess says how to read your data")


def test_inspect_of_nothing(edgekit: Command) -> None:
    check(edgekit("inspect"), 2, "Name a model file, or data", "edgekit inspect --data DATA")
    check(edgekit("inspect", "net.pt2", "--contact-sheet", "a.png"), 2, "--contact-sheet draws samples")


# What inspect shows


def test_pictures_without_a_model(edgekit: Command, pictures: Path) -> None:
    done = edgekit("inspect", "--data", "pictures")
    assert done.code == 0, done.err
    for part in ("16 samples", "12x10 (16)", "RGB (16)", "a model needs --preprocess", "uint8", "[16,12,10,3]", "cat"):
        assert part in done.out


def test_pictures_of_several_sizes_without_a_model(edgekit: Command, pictures: Path) -> None:
    Image.new("RGB", (4, 4), (255, 0, 0)).save(pictures / "cat" / "red.png")
    facts = json.loads(edgekit("inspect", "--data", "pictures", "--preprocess", "unit", "--json").out)
    assert facts["arrays"][0]["shape"] == [17, None, None, 3]
    assert facts["arrays"][0]["channels"][0]["maximum"] == 1.0
    assert facts["pictures"]["sizes"] == {"12x10": 16, "4x4": 1}


def test_values_that_are_not_finite_are_counted(edgekit: Command, here: Path) -> None:
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    values[1, 2], values[2, 3] = np.nan, np.inf
    np.savez("data.npz", x=values, y=np.array([0, 1, 1, 3]))
    (array,) = json.loads(edgekit("inspect", "--data", "data.npz", "--json").out)["arrays"]
    assert array["not_finite"] == 2
    finite = values[np.isfinite(values)]
    np.testing.assert_allclose([array["mean"], array["std"]], [finite.mean(), finite.std()], atol=1e-6)
    assert (array["minimum"], array["maximum"]) == (-1, 1)
    text = edgekit("inspect", "--data", "data.npz").out
    assert "4 samples" in text


@pytest.mark.parametrize(
    ("fitted", "preprocess"), [(False, ""), (False, "imagenet order=bgr"), (True, "imagenet order=bgr")]
)
def test_contact_sheet_shows_the_pictures_again(
    edgekit: Command, here: Path, tiny: str, fitted: bool, preprocess: str
) -> None:
    model = [tiny] if fitted else []
    typed = ["--preprocess", preprocess] if preprocess else []
    (here / "pictures").mkdir()
    colors = [(250, 10, 10), (10, 200, 10), (10, 10, 150)]
    for number, color in enumerate(colors):
        Image.new("RGB", (8, 8), color).save(here / "pictures" / f"{number}.png")
    done = edgekit("inspect", *model, "--data", "pictures", *typed, "--contact-sheet", "sheet.png")
    assert done.code == 0, done.err
    assert "contact sheet: sheet.png" in done.out
    sheet = Image.open(here / "sheet.png").convert("RGB")
    for number, color in enumerate(colors):
        np.testing.assert_allclose(sheet.getpixel((60 + number * 118, 60)), color, atol=1)


@pytest.mark.parametrize(
    ("name", "said"),
    [("sheet", "a picture file is expected"), ("nowhere/sheet.png", "there is no folder nowhere")],
)
def test_contact_sheets_that_cannot_be_written(edgekit: Command, pictures: Path, name: str, said: str) -> None:
    check(edgekit("inspect", "--data", "pictures", "--contact-sheet", name), 2, said)


def test_contact_sheet_of_what_is_no_picture(edgekit: Command) -> None:
    np.savez("data.npz", x=np.zeros((5, 7), np.float32))
    done = edgekit("inspect", "--data", "data.npz", "--contact-sheet", "sheet.png")
    check(done, 2, "nothing in data.npz looks like pictures: x [5, 7]")
    assert not Path("sheet.png").exists()


def test_a_model_that_does_not_say_its_inputs(edgekit: Command, pictures: Path) -> None:
    done = edgekit("inspect", "weights.pt", "--data", "pictures", "--preprocess", "unit")
    check(done, 2, "weights.pt: the file does not say what its inputs are", "--input NAME=1,3,224,224")
    facts = edgekit(
        "inspect", "weights.pt", "--data", "pictures", "--preprocess", "unit", "--input", "1,3,8,8", "--json"
    )
    assert json.loads(facts.out)["arrays"][0]["shape"] == [16, 1, 3, 8, 8]

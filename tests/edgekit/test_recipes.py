from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import recipes
from edgekit.errors import UsageError
from edgekit.recipes import Recipe
from edgekit.types import Quantization, Rule


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rules = (Rule("head.*"), Rule("@last", "int16x8"), Rule('odd "name" \\ é'))
    recipe = Recipe("int8", Quantization("percentile:99.9", "arm", "int8", rules), optimize=True)
    recipes.write(tmp_path / "recipe.toml", recipe)
    assert recipes.read(tmp_path / "recipe.toml") == recipe


def test_only_the_scheme_is_needed(tmp_path: Path) -> None:
    place = tmp_path / "recipe.toml"
    place.write_text('scheme = "int8"\n[[rules]]\nmatch = "a"\n')
    assert recipes.read(place) == Recipe("int8", Quantization(cpu="auto", rules=(Rule("a", "float32"),)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("scheme = ", "no TOML"),
        ('io = "float"', "the scheme is missing"),
        ('scheme = "int7"', "no scheme 'int7'"),
        ('scheme = "int8"\ncpu = "z80"', "cpu 'z80'"),
        ('scheme = "int8"\nio = "int4"', "io 'int4'"),
        ('scheme = "int8"\ncalibration = "best"', "best"),
        ('scheme = "int8"\ncalibration = "percentile:12"', "percentile"),
        ('scheme = "int8"\ncalibration = "percentile:a"', "percentile"),
        ('scheme = "int8"\ncolour = 1', "unknown key colour"),
        ("scheme = 8", "must be text"),
        ('scheme = "int8"\noptimize = 1', "true or false"),
        ('scheme = "int8"\nrules = 1', "rules are a list"),
        ('scheme = "float16"\n[[rules]]\nmatch = "a"', "nothing for rules to do"),
        ('scheme = "int8"\n[[rules]]\nscheme = "float32"', "a match and a scheme"),
        ('scheme = "int8"\n[[rules]]\nmatch = 1', "a match and a scheme"),
        ('scheme = "int8"\n[[rules]]\nmatch = "a"\nscheme = "int7"', "no scheme 'int7'"),
    ],
)
def test_what_means_nothing_is_refused(content: str, said: str, tmp_path: Path) -> None:
    place = tmp_path / "recipe.toml"
    place.write_text(content)
    with pytest.raises(UsageError) as caught:
        recipes.read(place)
    assert said in caught.value.message


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        recipes.read(tmp_path / "none.toml")

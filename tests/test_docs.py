"""README and docs against the command line: nothing undocumented, nothing documented that does not exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgekit.cli import State, cli

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def below(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with what is typed to reach it (``devices list``), groups before what is in them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from below(command, f"{path}{name} ")


ALL_COMMANDS = dict(below(cli))
COMMANDS = list(ALL_COMMANDS)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def options_of(command: click.Command) -> Iterator[click.Option]:
    yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))


def all_text() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def command_lines() -> Iterator[tuple[str, str]]:
    """Page and line, for each line of a code block that starts with ``edgekit``; continued lines are joined."""
    for page in PAGES:
        fenced = False
        text = re.sub(r"\\\n\s*", " ", page.read_text())
        for line in text.splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                typed = line.strip().removeprefix("$ ")
                synopsis = re.search(r" \[|\||\.\.\.", typed)
                if typed.startswith("edgekit ") and not synopsis:
                    yield name_of(page), typed.partition("  #")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_runs_and_has_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [*name.split(), "--help"], obj=State())
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert f"edgekit {name}" in result.output.partition("Example")[2]


def test_main_help_has_an_example_and_every_command() -> None:
    result = CliRunner().invoke(cli, ["--help"], obj=State())
    assert result.exit_code == 0
    assert "Example" in result.output
    assert all(name in result.output for name in cli.list_commands(click.Context(cli)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = all_text()
    assert f"edgekit {name}" in text
    for option in [*options_of(ALL_COMMANDS[name]), *options_of(cli)]:
        longest = max(option.opts, key=len)
        assert re.search(rf"{re.escape(longest)}(?![a-z-])", text), f"{longest} of {name} is in no page"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    command = ALL_COMMANDS[name]
    assert command.help
    assert not [option.name for option in options_of(command) if not option.help]


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_documented_command_lines_parse(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    _, *arguments = words[: words.index(">")] if ">" in words else words
    with cli.make_context("edgekit", arguments, obj=State()) as ctx:
        parse(cli, ctx)


def parse(group: click.Group, ctx: click.Context) -> None:
    """What follows the name of a group, down to the command and its options.

    Raises:
        click.UsageError: It has no such command, or that no such option.
    """
    name, command, rest = group.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
    assert command is not None
    assert name is not None
    lay_out(command, rest)
    try:
        inner = command.make_context(name, rest, parent=ctx)
    except click.exceptions.Exit:
        assert {"--help", "-h"} & set(rest)
        return
    if isinstance(command, click.Group):
        with inner:
            parse(command, inner)


def lay_out(command: click.Command, arguments: list[str]) -> None:
    """Put in the current folder what options name that has to be there."""
    for option in options_of(command):
        if isinstance(option.type, click.Path) and option.type.exists:
            for word, value in pairwise(arguments):
                if word in option.opts:
                    place = Path(value)
                    (place if option.type.dir_okay else place.parent).mkdir(parents=True, exist_ok=True)
                    if not option.type.dir_okay:
                        place.touch()


def test_a_group_is_walked_down_to_its_options() -> None:
    assert {"devices", "devices list", "devices setup"} <= set(COMMANDS)
    with (
        cli.make_context("edgekit", ["devices", "setup", "pi", "--no-such-option"], obj=State()) as ctx,
        pytest.raises(click.NoSuchOption),
    ):
        parse(cli, ctx)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    for match in LINK.finditer(page.read_text()):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(file.read_text())}, target


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_schemes_and_targets_are_documented() -> None:
    from edgekit import registry

    text = (ROOT / "docs/schemes.md").read_text()
    for scheme in registry.schemes().values():
        assert f"`{scheme.name}`" in text
        assert scheme.flag in text
    for target in registry.targets().values():
        assert target.title in text


def test_every_error_and_exit_code_is_documented() -> None:
    from edgekit.errors import _all_errors

    rows = re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    documented = {(int(code), name) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    own = {(kind.exit_code, name) for name, kind in _all_errors().items() if kind.__module__ == "edgekit.errors"}
    assert own <= documented


def test_pages_show_the_way_to_each_other() -> None:
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/{page.name}" in readme for page in (ROOT / "docs").glob("*.md"))
    overview = (ROOT / "docs/sources.md").read_text()
    assert all(f"sources/{page.name}" in overview for page in (ROOT / "docs/sources").glob("*.md"))
    assert "make demo" in readme.split("\n## ")[1]
    assert "make test" in readme.split("\n## ")[1]

"""``edgekit.toml``: which files are checked, and what each may cost.

Everything in it is checked before anything runs: an unknown name is an error, for a budget that is misspelt would
be kept always.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from edgekit.check_types import Limits, Model, Settings
from edgekit.data_options import DataOptions
from edgekit.errors import UsageError
from edgekit.measuring import BUDGET_S
from edgekit.paths import existing, existing_file

NAME = "edgekit.toml"

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_LIMITS = tuple(Limits.__dataclass_fields__)
_SHARES = ("min_accuracy", "max_accuracy_drop", "min_delegated")
_AGAINST_BASELINE = ("max_size_ratio", "max_latency_ratio")
_READING = ("preprocess", "label_column", "columns")
_CHECK = ("data", *_READING, "reference", "device", "threads", "budget_s", "models")


def load(path: Path) -> Settings:
    """Read the settings.

    Args:
        path: Of the TOML file; what it names is looked for beside it.

    Raises:
        UsageError: It is missing, or something in it is: the section, the line and the names that are near are told.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file.", hint="Name it with --config, or: edgekit check --init FILE...")
    try:
        text = existing_file(path).read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error
    return _Reader(path, text).settings(content)


class _Reader:
    """One file that is read.

    Args:
        path: Of it.
        text: What it holds.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.folder = path, text, path.parent

    def settings(self, content: Mapping[str, Any]) -> Settings:
        self._known(content, ("check",), "")
        check = self._table(content.get("check"), "check")
        self._known(check, _CHECK, "check")
        devices = self._devices(check.get("device", "host"))
        tables = self._table(check.get("models"), "check.models")
        if not tables:
            self._refuse("check.models", "", "no file to check", hint='Add a section [check.models."model.tflite"].')
        words = {name: self._text(check, name, "check") for name in ("data", "reference", *_READING)}
        return Settings(
            path=self.path,
            models=tuple(self._model(name, table, devices) for name, table in tables.items()),
            data=None if words["data"] is None else self._beside(words["data"]),
            data_options=DataOptions(**{name: words[name] for name in _READING}),
            reference=None if words["reference"] is None else Path(self._beside(words["reference"])),
            devices=devices,
            threads=self._threads(check),
            budget_s=self._number(check.get("budget_s", BUDGET_S), "budget_s", "check"),
        )

    def _model(self, name: str, table: Any, devices: Collection[str]) -> Model:
        section = f'check.models."{name}"'
        table = self._table(table, section)
        self._known(table, (*_LIMITS, "baseline", "devices"), section)
        path = self._existing(name, "", section)
        typed = self._text(table, "baseline", section)
        baseline = None if typed is None else self._existing(typed, "baseline", section)
        if baseline is not None and baseline.absolute() == path.absolute():
            self._refuse(section, "baseline", "the file is its own baseline", hint="Commit a copy of it elsewhere.")
        places = self._table(table.get("devices", {}), f"{section}.devices")
        self._known(places, tuple(devices), f"{section}.devices", what="device of [check]")
        model = Model(
            name,
            path,
            baseline,
            self._limits(table, section),
            {place: self._place(own, f"{section}.devices.{place}") for place, own in places.items()},
        )
        used = {budget for one in (model.limits, *model.devices.values()) for budget, _ in one.items()}
        if not used:
            self._refuse(section, "", "no budget", hint=f"Add one or more of: {', '.join(_LIMITS)}.")
        for budget in _AGAINST_BASELINE:
            if budget in used and baseline is None:
                self._refuse(section, budget, "nothing to compare with", hint='Add baseline = "FILE".')
        return model

    def _place(self, table: Any, section: str) -> Limits:
        table = self._table(table, section)
        self._known(table, _LIMITS, section)
        return self._limits(table, section)

    def _limits(self, table: Mapping[str, Any], section: str) -> Limits:
        return Limits(**{name: self._limit(table[name], name, section) for name in _LIMITS if name in table})

    def _limit(self, value: Any, name: str, section: str) -> float:
        if name == "max_size":
            return self._bytes(value, section)
        if name == "min_sqnr_db":
            return self._number(value, name, section, least=-math.inf)
        if name == "max_accuracy_drop":
            return self._number(value, name, section, least=0.0, most=1.0, hint="A share: 0.01 is one point.")
        if name in _SHARES:
            return self._number(value, name, section, least=0.0, most=1.0, hint="A share: 0.97 is 97 %.")
        return self._number(value, name, section)

    def _number(
        self,
        value: Any,
        name: str,
        section: str,
        *,
        least: float | None = None,
        most: float = math.inf,
        hint: str = "",
    ) -> float:
        """A finite number; above zero where no least one is given."""
        well = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not well or not (value > 0 if least is None else value >= least) or value > most:
            wanted = "a number above 0" if least is None else "a number"
            if math.isfinite(most):
                wanted = f"a number from {least:g} to {most:g}"
            self._refuse(section, name, f"{value!r} is not {wanted}", hint=hint)
        return float(value)

    def _bytes(self, value: Any, section: str) -> float:
        if isinstance(value, str):
            found = _SIZE.fullmatch(value)
            if found is None or found[2] not in _BYTES:
                hint = f'Such as "120 kB"; units are {", ".join(_BYTES)}.'
                self._refuse(section, "max_size", f"{value!r} is no size", hint=hint)
            value = float(found[1]) * _BYTES[found[2]]
        return self._number(value, "max_size", section, hint='Bytes, or text such as "120 kB".')

    def _devices(self, value: Any) -> tuple[str, ...]:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one for one in listed):
            self._refuse("check", "device", f"{value!r} is neither a device nor a list of devices")
        return tuple(dict.fromkeys(listed))

    def _threads(self, check: Mapping[str, Any]) -> int:
        value = check.get("threads", 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._refuse("check", "threads", f"{value!r} is no number of threads")
        return int(value)

    def _text(self, table: Mapping[str, Any], name: str, section: str) -> str | None:
        value = table.get(name)
        if value is not None and (not isinstance(value, str) or not value):
            self._refuse(section, name, f"{value!r} is not text")
        return value

    def _table(self, value: Any, section: str) -> Mapping[str, Any]:
        if value is None:
            self._refuse(section, "", f"there is no section [{section}]", hint="docs/check.md has a whole example.")
        if not isinstance(value, dict):
            self._refuse(section, "", f"{value!r} is no section")
        return dict(value)

    def _known(self, table: Mapping[str, Any], names: Collection[str], section: str, what: str = "setting") -> None:
        for given in table:
            if given not in names:
                near = difflib.get_close_matches(given, names, n=3)
                hint = f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(names)}."
                self._refuse(section, given, f"no such {what}", hint=hint)

    def _beside(self, typed: str) -> str:
        """A path as seen from here, for one that is written as seen from the settings."""
        place, colon, name = typed.rpartition(":")
        file = place if colon and place.endswith(".py") else typed
        if not (self.folder / file).exists():
            return typed  # a word such as "random", or a mistake that is told where it is read
        return str(self.folder / file) + (f":{name}" if file != typed else "")

    def _existing(self, typed: str, name: str, section: str) -> Path:
        place = self.folder / typed
        try:
            return existing(place)
        except UsageError as error:
            self._refuse(section, name, error.message.rstrip("."), hint=error.hint)

    def _refuse(self, section: str, name: str, message: str, *, hint: str = "") -> NoReturn:
        where = f"{self.path}{self._line(section, name)}"
        what = f"[{section}] {name}" if section and name else f"[{section}]" if section else name
        raise UsageError(f"{where}: {what}: {message}.", hint=hint)

    def _line(self, section: str, name: str) -> str:
        """``:12``, where the file leaves no doubt about it."""
        inside, found = not section, []
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.fullmatch(r"\s*\[\[?(.+?)\]\]?\s*(#.*)?", line)
            if header:
                inside = header[1].replace("'", '"').strip() == section
                if (inside and not name) or (not section and header[1].split(".")[0].strip().strip('"') == name):
                    found.append(number)
            elif inside and name and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
                found.append(number)
        return f":{found[0]}" if len(found) == 1 else ""

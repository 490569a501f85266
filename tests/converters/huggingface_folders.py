"""The small folders of ``benchmarks/_huggingface_models.py``, each written once per run of the tests."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def models() -> ModuleType:
    """The script that writes them."""
    spec = importlib.util.spec_from_file_location("huggingface_models", ROOT / "benchmarks" / "_huggingface_models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Folders:
    """Folders by name; ``copy`` gives one that a test may break."""

    def __init__(self, place: Path) -> None:
        self.place, self.module = place, models()

    def __getitem__(self, name: str) -> Path:
        folder = self.place / name
        if not folder.exists():
            make = self.module.FOLDERS.get(name) or getattr(self.module, name)
            make(folder)
        return folder

    def copy(self, name: str, into: Path) -> Path:
        return Path(shutil.copytree(self[name], into / name))

"""Trained models by name: shipped ones, those of data folders, and those of earlier runs."""

from __future__ import annotations

from pathlib import Path

from mogen import plugins
from mogen.dataset.store import folders
from mogen.errors import RunError


def model_folder(text: str) -> Path:
    """The folder a text stands for: a folder as it is, else a model of that name; raises `RunError` for neither."""
    if (Path(text) / "sampler.yaml").is_file():
        return Path(text)
    known = named_models()
    if text in known:
        return known[text]
    if Path(text).exists():
        return Path(text)
    raise RunError(f"expected the folder of a model or a name, got {text!r}: {plugins.closest(text, known)}")


def named_models() -> dict[str, Path]:
    """The folders that hold a sampler.yaml by their names: below `models` in the data folders, then shipped ones."""
    places = [folder / "models" for folder in folders()]
    places += [Path(plugins.load("mogen.models", name)) for name in plugins.names("mogen.models")]
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob("*/sampler.yaml")):
            found.setdefault(path.parent.name, path.parent)
    return found

"""mogen list: what is installed."""

from __future__ import annotations

from pathlib import Path

from mogen import plugins
from mogen.errors import ConfigError

GROUPS = {
    "objectives": "mogen.objectives",
    "sets": "mogen.objective_sets",
    "samplers": "mogen.samplers",
    "baselines": "mogen.baselines",
    "constraints": "mogen.constraints",
}


def list_(kind: str) -> None:
    """Show the names that are installed, one a line.

    Args:
        kind: objectives, sets, samplers, baselines, constraints, datasets or models
    """
    known = [*GROUPS, "datasets", "models"]
    if kind not in known:
        raise ConfigError(f"mogen list knows no {kind!r}: {plugins.closest(kind, known)}")
    if kind == "datasets":
        found = _datasets()
    elif kind == "models":
        found = models()
    else:
        plugins.check_rooms()
        found = plugins.names(GROUPS[kind])
    print("\n".join(found) if found else f"no {kind} found")


def models() -> list[str]:
    """The trained models under runs/ and in the data folders: folders that hold a sampler.yaml."""
    from mogen.dataset import folders

    found = list(Path("runs").glob("**/model/sampler.yaml"))
    for folder in folders():
        found += folder.glob("models/*/sampler.yaml")
    return sorted(str(path.parent) for path in found)


def _datasets() -> list[str]:
    from mogen.dataset import listing

    return [f"{item.name:<12} {item.path or 'not found'}" for item in listing()]


COMMAND = list_

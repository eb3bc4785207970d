"""mogen list: what is installed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from mogen import plugins
from mogen.errors import ConfigError, MogenError

GROUPS = {
    "objectives": "mogen.objectives",
    "sets": "mogen.objective_sets",
    "samplers": "mogen.samplers",
    "baselines": "mogen.baselines",
    "constraints": "mogen.constraints",
}


def list_(kind: str) -> None:
    """Show what is installed: a name and what it is, one a line; `mogen show NAME` says more.

    Args:
        kind: objectives, sets, samplers, baselines, constraints, parts (what samplers are made of), datasets or models
    """
    known = [*GROUPS, "parts", "datasets", "models"]
    if kind not in known:
        raise ConfigError(f"mogen list knows no {kind!r}: {plugins.closest(kind, known)}")
    if kind == "datasets":
        found = _datasets()
    elif kind == "models":
        found = models()
    elif kind == "parts":
        found = parts()
    else:
        plugins.check_rooms()
        found = described({name: _summary(GROUPS[kind], name) for name in plugins.names(GROUPS[kind])})
    print("\n".join(found) if found else f"no {kind} found{_places(kind)}")


def models() -> list[str]:
    """Models that have a name (shipped, or in the data folders), then the folders of those under runs/ and models/."""
    from mogen.dataset.models import named_models

    named = described({name: str(folder) for name, folder in sorted(named_models().items())})
    found = [*Path("runs").glob("**/model/sampler.yaml"), *Path("models").glob("*/sampler.yaml")]
    return [*named, *sorted(str(path.parent) for path in found)]


def parts() -> list[str]:
    """Every option of a sampler that is of some class, with the classes there are and what each is."""
    from mogen.cli.config import choices, hints_of

    plugins.check_rooms()
    found = []
    for sampler in plugins.names(GROUPS["samplers"]):
        hints = hints_of(plugins.load(GROUPS["samplers"], sampler))
        for option, kinds in ((name, choices(hint)) for name, hint in hints.items() if name != "return"):
            rows = described({f"  {kind.__name__}": first_line(kind) for kind in kinds})
            found += [f"{sampler}.{option}", *rows] if rows else []
    return found


def described(rows: dict[str, str]) -> list[str]:
    """Names and what they are, in two columns."""
    width = max(map(len, rows), default=0) + 2
    return [f"{name:<{width}}{text}".rstrip() for name, text in rows.items()]


def first_line(item: Any) -> str:
    """The first line of what an object says about itself."""
    return (inspect.getdoc(item) or "").split("\n")[0]


def _summary(group: str, name: str) -> str:
    try:
        return first_line(plugins.load(group, name))
    except MogenError as error:
        return f"cannot be loaded: {' '.join(str(error).split())}"


def _datasets() -> list[str]:
    from mogen.dataset import listing

    return described({item.name: str(item.path or "not found") for item in listing()})


def _places(kind: str) -> str:
    if kind != "models":
        return ""
    from mogen.dataset import folders

    return f" in {Path('runs').resolve()} and {', '.join(str(folder / 'models') for folder in folders())}"


COMMAND = list_

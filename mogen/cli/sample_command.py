"""mogen sample: candidates from a trained model."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, Literal

from mogen import plugins
from mogen.cli import config as settings
from mogen.cli.run_command import config_of, objectives_of
from mogen.errors import ConfigError, RunError


def sample(
    source: str,
    *,
    out: str | None = None,
    preference: str | None = None,
    lattice: int | None = None,
    n: int | None = None,
    seed: int = 0,
    input: str | None = None,
    chains: str | None = None,
    fixed: str | None = None,
    core: str | None = None,
    keep: Literal["core", "atoms"] = "core",
    device: str | None = None,
    format: str = "pdb",
    relax: bool = False,
    pack: bool = False,
) -> None:
    """Write candidates made for a preference, or for all of a lattice in turn, as CSV.

    From a run folder the candidates are also measured, and what they measure is written beside them. A model that knows
    no objectives takes no preference. With --input, conformations of that structure as the models of one PDB or mmCIF
    file, and a table of them, in the folder --out.

    Args:
        source: a run folder, the folder of a model, or a model's name (`mogen list models`)
        out: the CSV file to write (default: printed)
        preference: one number per objective, such as 0.5,0.3,0.2; scaled to sum 1
        lattice: the number of steps from 0 to 1 of a simplex lattice of preferences, instead of one preference
        n: how many candidates in all (default: 100 for a preference, one for every point of a lattice)
        seed: the seed of the random numbers
        input: a PDB or mmCIF file whose conformations are wanted, for a model of protein conformations
        chains: the chains of the input to use, such as A,B (default: all)
        fixed: residues that keep the input's coordinates, such as 1-20,35, counted along the input from 1
        core: a SMILES every molecule is to contain, extended where it has *, for a model of molecules as graphs
        keep: whether the core's bonds are kept, or only its atoms
        device: where graphs are drawn, such as cuda, for a model of graphs
        format: pdb or cif, for conformations; xtc or dcd, with a topology, where mdtraj is installed
        relax: close peptide bonds, moving no CA by 0.3 Å or more, before conformations are written
        pack: also write conformations with side chains, where pyfaspr is installed
    """
    if n is not None and n < 1:
        raise ConfigError(f"expected -n of at least 1, got {n}")
    if preference is not None and lattice is not None:
        raise ConfigError("expected either --preference 0.5,0.3,0.2 or --lattice 10, got both")
    model, run = find_model(source)
    is_plain = settings.read(model / "sampler.yaml").get("objectives") == 0
    if not is_plain and preference is None and lattice is None:
        raise ConfigError("expected either --preference 0.5,0.3,0.2 or --lattice 10, got neither")
    if is_plain and (preference is not None or lattice is not None):
        raise ConfigError(f"expected no preference for {source}, a model that knows no objectives, got one")
    plugins.check_rooms()
    sampler, m = load_model(model)
    if core is not None:
        if not hasattr(sampler, "contain"):
            raise ConfigError(f"expected a model of molecules as graphs for --core, got {type(sampler).__qualname__}")
        sampler.contain(core, keep)
    if device is not None:
        if not hasattr(sampler, "draw_on"):
            raise ConfigError(f"expected a model of graphs for --device, got {type(sampler).__qualname__}")
        sampler.draw_on(device)
    if input is not None:
        from mogen.cli.conformations import write_conformations

        folder = "conformations" if out is None else out
        how: dict[str, Any] = {"chains": chains, "fixed": fixed, "format": format, "relax": relax, "pack": pack}
        write_conformations(sampler, input, folder, n or 100, seed=seed, **how)
        return
    objectives = objectives_of(config_of(run)) if run else None
    import torch

    known = objectives.m if objectives else m
    rows = torch.zeros(n or 100, 0, dtype=torch.float64) if is_plain else _rows(preference, lattice, known, n)
    if out is not None:
        check_file(Path(out))
    samples = sampler.sample(rows.float(), generator=torch.Generator().manual_seed(seed))
    _write(out, samples, rows, objectives, run)


def find_model(text: str) -> tuple[Path, Path | None]:
    """The folder of a model, and the run it belongs to if there is one; a name where there is no such folder."""
    from mogen.dataset.models import named_models

    source = Path(text)
    if not source.exists():
        known = named_models()
        if text in known:
            return known[text], None
    for model in (source / "model", source):
        if (model / "sampler.yaml").is_file():
            is_run = model.name == "model" and (model.parent / "state.json").is_file()
            return model, model.parent if is_run and (model.parent / "config.yaml").is_file() else None
    seeds = sorted(source.glob("seed-*"))
    if seeds:
        raise RunError(f"expected one run, got several seeds in {source}: name one, such as {seeds[0]}")
    if (source / "config.yaml").is_file():
        raise RunError(f"expected a trained model in {source}, got a run that is not trained yet: `mogen resume` it")
    if text in plugins.names("mogen.samplers"):
        raise RunError(
            f"no trained model comes with the sampler {text!r}: train one, `mogen train CONFIG --out models/{text}`, "
            f"and name its folder, models/{text}"
        )
    named = ", ".join(sorted(named_models())) or "none here"
    raise RunError(
        f"expected a finished run, a model with sampler.yaml, or a model's name ({named}), there is none at {source}"
    )


def check_file(out: Path) -> None:
    """Raises `ConfigError` where a file cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.open("a").close()
    except OSError as error:
        raise ConfigError(f"expected a file that can be written, got {error.strerror or error} for {out}") from error


def load_model(folder: Path) -> tuple[Any, int | None]:
    """The sampler in a folder, of the class its sampler.yaml names, and how many objectives it says it knows."""
    from mogen.sampler import Sampler

    content = settings.read(folder / "sampler.yaml")
    if not isinstance(content.get("class_path"), str):
        raise RunError(f"expected class_path in {folder / 'sampler.yaml'}, got the keys {', '.join(map(str, content))}")
    kind = plugins.resolve("mogen.samplers", content["class_path"])
    if not (inspect.isclass(kind) and issubclass(kind, Sampler)):
        raise RunError(f"expected a class of samplers in {folder / 'sampler.yaml'}, got {content['class_path']!r}")
    try:
        sampler = kind.load(folder)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"expected a complete model in {folder}, got {settings.sentence(error, 200)}") from error
    m = content.get("objectives")
    return sampler, m if isinstance(m, int) else None


def _rows(preference: str | None, lattice: int | None, m: int | None, n: int | None) -> Any:
    """One preference per candidate, in float64."""
    import torch

    if lattice is None:
        weights = torch.tensor([_weights(str(preference), m)], dtype=torch.float64)
        n = 100 if n is None else n
    else:
        if lattice < 1:
            raise ConfigError(f"expected --lattice of at least 1 step, got {lattice}")
        if m is None:
            raise ConfigError("expected a run, or a model whose sampler.yaml says how many objectives, for --lattice")
        from mogen.preference import simplex_lattice

        weights = simplex_lattice(m, lattice).double()
        n = len(weights) if n is None else n
        if n < len(weights):
            raise ConfigError(f"expected -n of at least {len(weights)}, one per point of the lattice, got {n}")
    return weights.repeat(-(-n // len(weights)), 1)[:n]


def _weights(text: str, m: int | None) -> list[float]:
    try:
        numbers = [float(part) for part in text.strip("[]() ").split(",")]
    except ValueError as error:
        raise ConfigError(f"expected numbers such as 0.5,0.3,0.2 for --preference, got {text!r}") from error
    if not all(0 <= number < float("inf") for number in numbers) or sum(numbers) <= 0:
        raise ConfigError(f"expected numbers of at least 0, not all of them 0, for --preference, got {text!r}")
    if m is not None and len(numbers) != m:
        raise ConfigError(f"expected {m} numbers, one per objective, for --preference, got {len(numbers)} in {text!r}")
    scaled = [number / sum(numbers) for number in numbers]
    if abs(sum(numbers) - 1) > 1e-6:
        said = ",".join(f"{number:.4g}" for number in scaled)
        print(f"the preference {text} is scaled to sum 1: {said}", file=sys.stderr)
        return scaled
    return numbers


def _write(out: str | None, samples: Any, rows: Any, objectives: Any, run: Path | None) -> None:
    import pandas as pd

    names = objectives.names if objectives else [str(i) for i in range(rows.shape[1])]
    table: dict[str, Any] = {"candidate": [item.key for item in samples.candidates]}
    table |= {f"preference_{name}": rows[:, i].tolist() for i, name in enumerate(names)}
    if objectives is not None and run is not None:
        found = _measure(objectives, run, samples)
        table |= {f"raw_{name}": found.raw[:, i].tolist() for i, name in enumerate(names)}
        table |= {f"utility_{name}": found.utility[:, i].tolist() for i, name in enumerate(names)}
    if out is None:
        print(pd.DataFrame(table).to_csv(index=False), end="")
        return
    pd.DataFrame(table).to_csv(out, index=False)
    print(f"{len(samples)} candidates in {out}")


def _measure(objectives: Any, run: Path, samples: Any) -> Any:
    """What the run's objectives say, through the run's ledger under an account apart from the run's."""
    from mogen.oracle import Ledger, Oracle

    ledger = Ledger(run / "ledger.sqlite")
    try:
        budget = len(ledger.asked("sample")) + len(samples)
        return Oracle(objectives, ledger, budget=budget, account="sample")(samples.candidates)
    finally:
        ledger.close()


COMMAND = sample

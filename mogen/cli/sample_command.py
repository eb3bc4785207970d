"""mogen sample: candidates from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mogen import plugins
from mogen.cli import config as settings
from mogen.cli.run_command import config_of, objectives_of
from mogen.errors import ConfigError, RunError


def sample(
    source: str, *, out: str, preference: str | None = None, lattice: int | None = None, n: int = 100, seed: int = 0
) -> None:
    """Write candidates made for a preference, or for all of a lattice in turn, with what they measure, as CSV.

    Args:
        source: a run folder, or the folder of a model
        out: the CSV file to write
        preference: one number per objective, such as 0.5,0.3,0.2; scaled to sum 1
        lattice: the number of steps from 0 to 1 of a simplex lattice of preferences, instead of one preference
        n: how many candidates in all
        seed: the seed of the random numbers
    """
    if (preference is None) == (lattice is None):
        raise ConfigError("expected either --preference or --lattice, got both or neither")
    if n < 1:
        raise ConfigError(f"expected -n of at least 1, got {n}")
    model, run = find_model(Path(source))
    plugins.check_rooms()
    import torch

    objectives = objectives_of(config_of(run)) if run else None
    weights = _weights(preference, lattice, objectives.m if objectives else None)
    rows = weights.repeat(n // len(weights) + 1, 1)[:n]
    samples = load_model(model).sample(rows, generator=torch.Generator().manual_seed(seed))
    _write(Path(out), samples, objectives, run)


def find_model(source: Path) -> tuple[Path, Path | None]:
    """The folder of a model, and the run it belongs to if there is one."""
    for model in (source / "model", source):
        if (model / "sampler.yaml").is_file():
            return model, model.parent if (model.parent / "config.yaml").is_file() else None
    raise RunError(f"expected a finished run or a model with sampler.yaml, there is none at {source}")


def load_model(folder: Path) -> Any:
    """The sampler in a folder, of the class its sampler.yaml names."""
    content = settings.read(folder / "sampler.yaml")
    if not isinstance(content.get("class_path"), str):
        raise RunError(f"expected class_path in {folder / 'sampler.yaml'}, got {sorted(content)}")
    return plugins.resolve("mogen.samplers", content["class_path"]).load(folder)


def _weights(preference: str | None, lattice: int | None, m: int | None) -> Any:
    import torch

    if lattice is not None:
        if m is None or lattice < 1:
            raise ConfigError(f"--lattice needs at least 1 step and a run whose objectives are known, got {lattice}")
        from mogen.preference import simplex_lattice

        return simplex_lattice(m, lattice).float()
    try:
        numbers = [float(text) for text in str(preference).strip("[]() ").split(",")]
    except ValueError as error:
        raise ConfigError(f"expected numbers such as 0.5,0.3,0.2 as preference, got {preference!r}") from error
    if not all(0 <= number < float("inf") for number in numbers) or sum(numbers) <= 0:
        raise ConfigError(f"a preference has no negative number and not only zeros, got {preference!r}")
    if m is not None and len(numbers) != m:
        raise ConfigError(f"expected a preference of {m} numbers, one per objective, got {len(numbers)}")
    return torch.tensor([numbers]) / sum(numbers)


def _write(out: Path, samples: Any, objectives: Any, run: Path | None) -> None:
    import pandas as pd

    names = objectives.names if objectives else [str(i) for i in range(samples.preference.shape[1])]
    table: dict[str, Any] = {"candidate": [item.key for item in samples.candidates]}
    table |= {f"preference_{name}": samples.preference[:, i].tolist() for i, name in enumerate(names)}
    if objectives is not None and run is not None:
        found = _measure(objectives, run, samples)
        table |= {f"raw_{name}": found.raw[:, i].tolist() for i, name in enumerate(names)}
        table |= {f"utility_{name}": found.utility[:, i].tolist() for i, name in enumerate(names)}
    out.parent.mkdir(parents=True, exist_ok=True)
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

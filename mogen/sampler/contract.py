"""What every sampler promises, for authors to run theirs through."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, final

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from mogen.errors import BudgetExhausted, MogenError
from mogen.objective import Evaluation, ObjectiveSet
from mogen.sampler.sampler import Sampler, Samples
from mogen.types import C, Candidate

CODE = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib")
"""endings of files that run code when they are loaded"""


def check_sampler(
    build: Callable[[], Sampler[C]], objectives: ObjectiveSet[C], *, budget: int = 64, n: int = 8, seed: int = 0
) -> None:
    """Raises `MogenError` with one sentence where a sampler breaks its promise; `build` makes a new, unfitted one.

    `fit` asks for at least one candidate and returns, also where the budget of unique candidates ends inside its first
    batch, after which it asks for nothing more. `sample` gives one candidate per row of preferences and the rows as
    they were asked, for n, 1 and 0 rows. Candidates have printable keys, equal ones equal keys, and can be measured.
    All randomness comes from the generator: an equal one gives the same fit and the same samples, whatever the global
    state. A saved sampler, loaded, gives the same samples; it is saved as `Sampler.save` says.
    """
    sampler, preference = build(), _preferences(n, objectives.m, seed)
    _require(isinstance(sampler, Sampler), f"build must make a Sampler, got {type(sampler).__name__}")
    with tempfile.TemporaryDirectory() as place, _own_randomness():
        folder = Path(place)
        asked = _fitted(sampler, objectives, budget, seed, folder / "fit")
        drawn = _drawn(sampler, preference, seed)
        _check_candidates(drawn, objectives)
        _check_repeat(build(), objectives, budget, seed, asked, drawn)
        _require(_keys(_drawn(sampler, preference, seed)) == _keys(drawn), "equal generators must give equal samples")
        for rows in (preference[:1], preference[:0]):
            _drawn(sampler, rows, seed)
        _check_saved(sampler, folder / "saved" / "model", preference, seed, drawn)
        _fitted(build(), objectives, min(3, budget), seed, None)


@final
class _Charged(Generic[C]):
    """A measure that charges for every unique candidate and stops where the budget ends."""

    def __init__(self, objectives: ObjectiveSet[C], budget: int) -> None:
        self.objectives, self.budget = objectives, budget
        self.keys: dict[str, None] = {}
        self.is_spent = False

    @property
    def asked(self) -> int:
        return len(self.keys)

    def truncate(self, count: int) -> None:
        """Forgets all but the first `count` candidates, as an oracle does for a sampler that resumes."""
        self.keys = dict.fromkeys(list(self.keys)[:count])

    def __call__(self, candidates: Sequence[C], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        if self.is_spent:
            raise _StillAsking
        given, m = list(candidates), self.objectives.m
        right = preference is None or tuple(preference.shape) == (len(given), m)
        _require(right, f"the preference of {len(given)} candidates must be {len(given)} x {m}")
        _check_keys(given)
        for place, item in enumerate(given):
            if item.key not in self.keys and self.asked == self.budget:
                self.is_spent = True
                raise BudgetExhausted(f"the budget of {self.budget} candidates is spent after {place} of a batch")
            self.keys.setdefault(item.key)
        return self.objectives(given)


class _StillAsking(BaseException):
    """A sampler asks on after `BudgetExhausted`; no `except Exception` of its own may hide it."""


def _fitted(sampler: Sampler[C], objectives: ObjectiveSet[C], budget: int, seed: int, folder: Path | None) -> list[str]:
    """The keys a sampler asks for while it is fitted."""
    measure: _Charged[C] = _Charged(objectives, budget)
    if folder is not None:
        folder.mkdir(parents=True)
    try:
        sampler.fit(measure, m=objectives.m, generator=_generator(seed), folder=folder)
    except BudgetExhausted as error:
        raise MogenError("sampler contract broken: fit must return when BudgetExhausted is raised to it") from error
    except _StillAsking as error:
        raise MogenError("sampler contract broken: fit must not ask for anything after BudgetExhausted") from error
    _require(measure.asked > 0, "fit must ask for at least one candidate")
    return list(measure.keys)


def _drawn(sampler: Sampler[C], preference: Float[Tensor, "n m"], seed: int) -> Samples[C]:
    """Samples for preferences, one a row."""
    n, before = len(preference), preference.clone()
    samples = sampler.sample(preference, generator=_generator(seed))
    _require(isinstance(samples, Samples), f"sample must return Samples, got {type(samples).__name__}")
    _require(torch.equal(preference, before), "sample must leave the preferences as they are")
    _require(len(samples.candidates) == n, f"sample must give {n} candidates for {n} rows, got {len(samples)}")
    rows = samples.preference
    right = tuple(rows.shape) == tuple(before.shape) and torch.allclose(rows.detach().cpu().double(), before.double())
    _require(right, f"sample must return the {n} preferences it was asked for")
    return samples


def _check_candidates(samples: Samples[C], objectives: ObjectiveSet[C]) -> None:
    _check_keys(samples.candidates)
    found = objectives(samples.candidates)
    _require(len(found) == len(samples), "samples must be candidates that the objectives can measure")


def _check_keys(candidates: Sequence[Any]) -> None:
    for item in candidates:
        is_right = isinstance(item, Candidate) and isinstance(item.key, str) and bool(item.key)
        _require(is_right, f"a candidate must have a key that is a text, got {item!r}")
        _require(hash(item) == hash(item), "a candidate must be hashable")
    _require(
        len(set(candidates)) == len({item.key for item in candidates}),
        "equal candidates must have equal keys, only they",
    )


def _check_repeat(
    twin: Sampler[C], objectives: ObjectiveSet[C], budget: int, seed: int, asked: list[str], drawn: Samples[C]
) -> None:
    """Fits a twin under another global state, without a folder, from an equal generator."""
    torch.manual_seed(seed + 1)
    random.seed(seed + 1)
    again = _fitted(twin, objectives, budget, seed, None)
    _require(again == asked, "equal generators must make fit ask for the same candidates")
    same = _keys(_drawn(twin, drawn.preference, seed)) == _keys(drawn)
    _require(same, "samplers fitted with equal generators must give equal samples")


def _check_saved(
    sampler: Sampler[C], folder: Path, preference: Float[Tensor, "n m"], seed: int, drawn: Samples[C]
) -> None:
    sampler.save(folder)
    path = folder / "sampler.yaml"
    _require(path.is_file(), "save must write a sampler.yaml")
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = isinstance(facts, dict) and isinstance(facts.get("class_path"), str)
    _require(named, "sampler.yaml must name the sampler under class_path")
    m = facts.get("objectives", preference.shape[1])
    _require(m == preference.shape[1], f"objectives in sampler.yaml must be {preference.shape[1]}, got {m!r}")
    unsafe = sorted(file.name for file in folder.rglob("*") if file.suffix in CODE)
    _require(not unsafe, f"save must write no file that runs code when loaded, got {', '.join(unsafe)}")
    loaded = type(sampler).load(folder)
    _require(isinstance(loaded, type(sampler)), f"load must return a {type(sampler).__name__}, got {loaded!r}")
    same = _keys(_drawn(loaded, preference, seed)) == _keys(drawn)
    _require(same, "a sampler that was saved and loaded must give the same samples")


def _preferences(n: int, m: int, seed: int) -> Float[Tensor, "n m"]:
    """Rows on the simplex, uniform."""
    rows = -torch.rand(n, m, generator=_generator(seed), dtype=torch.float64).clamp_min(1e-9).log()
    return (rows / rows.sum(1, keepdim=True)).float()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _keys(samples: Samples[C]) -> list[str]:
    return [item.key for item in samples.candidates]


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Gives the global random states back as they were."""
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(state)


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise MogenError(f"sampler contract broken: {promise}")

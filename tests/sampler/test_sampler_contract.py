"""Our samplers keep the contract, and samplers that break one promise are told which."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mogen.errors import BudgetExhausted, MogenError
from mogen.objective import ObjectiveSet, load_set, objective
from mogen.sampler import Sampler, Samples, check_sampler
from samplers.baseline.evolution import NSGA2Baseline
from samplers.baseline.graph_ga import GraphGA
from samplers.baseline.random import RandomPolicy
from samplers.baseline.search import Search
from samplers.environment.fragment import FragmentEnvironment
from samplers.gflownet.networks.fragment import HistoryTransformer, TreeTransformer
from samplers.gflownet.sampler import GFlowNetSampler


@pytest.fixture(scope="module")
def environment() -> FragmentEnvironment:
    return FragmentEnvironment(max_fragments=3)


@pytest.fixture(scope="module")
def druglike() -> ObjectiveSet[Any]:
    return load_set({"name": "two", "objectives": [{"name": "qed"}, {"name": "mw"}]})


@pytest.mark.parametrize("network", [HistoryTransformer, TreeTransformer])
def test_the_gflownet_keeps_the_contract(environment, druglike, network) -> None:
    def build() -> GFlowNetSampler:
        small = network(width=16, depth=1, heads=2)
        return GFlowNetSampler(environment, small, steps=3, batch=8, checkpoint_every=2, accelerator="cpu")

    check_sampler(build, druglike, budget=64)
    check_sampler(build, druglike, budget=12)


@pytest.mark.parametrize("baseline", [RandomPolicy, NSGA2Baseline, GraphGA])
def test_the_baselines_keep_the_contract(environment, druglike, baseline: type[Search]) -> None:
    check_sampler(lambda: baseline(environment, population=10), druglike, budget=35)


@dataclass(frozen=True)
class Number:
    """A whole number as a candidate."""

    value: int

    @property
    def key(self) -> str:
        return str(self.value)


@objective(name="high", worst=0.0, best=100.0)
def high(candidate: Number) -> float:
    return float(candidate.value)


@objective(name="low", worst=100.0, best=0.0)
def low(candidate: Number) -> float:
    return float(candidate.value)


NUMBERS: ObjectiveSet[Any] = ObjectiveSet([high, low], name="numbers")


class Honest(Sampler[Number]):
    """Remembers the largest number it asked for, and samples below it."""

    top: int | None = None

    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        del folder
        self.top, asked = 1, 0
        while asked < 20:
            numbers = [Number(value) for value in self.draw(5, generator)]
            try:
                measure(numbers, preference=torch.full((5, m), 1 / m))
            except BudgetExhausted:
                return
            self.top, asked = max([self.top, *(number.value for number in numbers)]), asked + 5

    def draw(self, n: int, generator: Any) -> list[int]:
        return torch.randint(100, (n,), generator=generator).tolist()

    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Number]:
        assert self.top is not None
        values = (torch.rand(len(preference), generator=generator) * preference[:, 0] * self.top).int().tolist()
        return Samples([Number(value) for value in values], preference)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        facts = {"class_path": "test_sampler_contract.Honest", "objectives": 2, "top": self.top}
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts))

    @classmethod
    def load(cls, folder: Path) -> Honest:
        loaded = cls()
        loaded.top = yaml.safe_load((folder / "sampler.yaml").read_text())["top"]
        return loaded


def test_an_honest_sampler_passes() -> None:
    check_sampler(Honest, NUMBERS)


class NeverAsks(Honest):
    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        self.top = 5


class LetsTheBudgetOut(Honest):
    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        self.top = 5
        measure([Number(value) for value in self.draw(50, generator)])


class AsksOn(Honest):
    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        self.top = 5
        while True:
            try:
                measure([Number(value) for value in self.draw(5, generator)])
            except Exception:  # noqa: BLE001 - what a careless author writes
                continue


class UsesTheGlobalState(Honest):
    def draw(self, n: int, generator: Any) -> list[int]:
        return torch.randint(100, (n,)).tolist()


class SamplesAtRandom(Honest):
    calls = 0

    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Number]:
        SamplesAtRandom.calls += 1
        return Samples([Number(SamplesAtRandom.calls)] * len(preference), preference)


class WrongPreferenceShape(Honest):
    def fit(self, measure: Any, *, m: int, generator: Any = None, folder: Path | None = None) -> None:
        self.top = 5
        measure([Number(1), Number(2)], preference=torch.full((2, m + 1), 0.3))


class OneTooMany(Honest):
    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Number]:
        return Samples([Number(1)] * (len(preference) + 1), preference)


class OtherPreferences(Honest):
    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Number]:
        return Samples([Number(1)] * len(preference), preference.flip(1))


class ChangesItsInput(Honest):
    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Number]:
        preference[:] = 0.5
        return Samples([Number(1)] * len(preference), preference)


class NoKeys(Honest):
    def sample(self, preference: torch.Tensor, *, generator: Any = None) -> Samples[Any]:
        return Samples(list(range(len(preference))), preference)


class NoYaml(Honest):
    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps(self.top))


class Nameless(Honest):
    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "sampler.yaml").write_text(yaml.safe_dump({"top": self.top}))


class WrongCount(Honest):
    def save(self, folder: Path) -> None:
        super().save(folder)
        facts = yaml.safe_load((folder / "sampler.yaml").read_text())
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts | {"objectives": 3}))


class Pickles(Honest):
    def save(self, folder: Path) -> None:
        super().save(folder)
        torch.save({"top": self.top}, folder / "weights.pt")


class Forgets(Honest):
    @classmethod
    def load(cls, folder: Path) -> Forgets:
        loaded = cls()
        loaded.top = 1
        return loaded


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (NeverAsks, "at least one candidate"),
        (LetsTheBudgetOut, "must return when BudgetExhausted"),
        (AsksOn, "after BudgetExhausted"),
        (UsesTheGlobalState, "ask for the same candidates"),
        (SamplesAtRandom, "equal samples"),
        (WrongPreferenceShape, "must be 2 x 2"),
        (OneTooMany, "8 candidates for 8 rows, got 9"),
        (OtherPreferences, "the 8 preferences it was asked for"),
        (ChangesItsInput, "leave the preferences"),
        (NoKeys, "a key that is a text, got 0"),
        (NoYaml, "sampler.yaml"),
        (Nameless, "class_path"),
        (WrongCount, "must be 2, got 3"),
        (Pickles, "runs code when loaded, got weights.pt"),
        (Forgets, "saved and loaded"),
    ],
)
def test_a_broken_promise_is_named(broken: type[Honest], promise: str) -> None:
    with pytest.raises(MogenError, match=r"^sampler contract broken: ") as caught:
        check_sampler(broken, NUMBERS, budget=32)
    assert promise in str(caught.value) and "\n" not in str(caught.value)


def test_the_global_random_state_is_given_back() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    check_sampler(Honest, NUMBERS)
    assert torch.equal(torch.rand(3), expected)

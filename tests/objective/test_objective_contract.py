"""check_objective: what keeps its promise passes, what breaks it is refused in one sentence each."""

import itertools
import math
import pickle

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.errors import ObjectiveError
from mogen.objective import (
    Constraint,
    Objective,
    ObjectiveSet,
    check_objective,
    check_objective_set,
    objective,
)
from mogen.oracle import Ledger, Oracle, ProcessExecutor

SOME = [Molecule.from_smiles(smiles) for smiles in ("CCO", "c1ccccc1", "CC(=O)O")]


@objective(worst=0, best=9, unit="letters")
def length(molecule):
    """How long the SMILES is."""
    return len(molecule.smiles)


class Kept(Objective):
    """How many carbons; keeps its promise."""

    name, worst, best = "kept", 0.0, 9.0

    def evaluate(self, candidates):
        return torch.tensor([float(molecule.smiles.upper().count("C")) for molecule in candidates])


class Scalar(Kept):
    def evaluate(self, candidates):
        return torch.tensor(1.0)


class Column(Kept):
    def evaluate(self, candidates):
        return super().evaluate(candidates)[:, None]


class Short(Kept):
    def evaluate(self, candidates):
        return super().evaluate(candidates)[:1]


class Words(Kept):
    def evaluate(self, candidates):
        return ["many"] * len(candidates)


class Restless(Kept):
    count = itertools.count()

    def evaluate(self, candidates):
        return super().evaluate(candidates) + next(self.count)


class Batchwise(Kept):
    def evaluate(self, candidates):
        return super().evaluate(candidates) + len(candidates)


class Ordered(Kept):
    def evaluate(self, candidates):
        first = bool(candidates) and candidates[0].smiles == "CCO"
        return super().evaluate(candidates) + (len(candidates) > 1 and not first)


class Endless(Kept):
    def evaluate(self, candidates):
        return super().evaluate(candidates) / 0


class Raising(Kept):
    def evaluate(self, candidates):
        raise KeyError("no such atom")


class Empty(Kept):
    def evaluate(self, candidates):
        first = len(candidates[0].smiles)
        return super().evaluate(candidates) + 0 * first


class Greedy(Kept):
    def evaluate(self, candidates):
        values = super().evaluate(candidates)
        candidates.clear()
        return values


class Closed(Kept):
    def __init__(self):
        self.function = lambda molecule: 1.0


class Forgetful(Kept):
    def __init__(self):
        self.extra = 5.0

    def evaluate(self, candidates):
        return super().evaluate(candidates) + self.extra

    def __getstate__(self):
        return {"extra": 0.0}


def changed(**facts):
    made = Kept()
    vars(made).update(facts)
    return made


@pytest.mark.parametrize("kept", [Kept(), length], ids=["class", "function"])
def test_what_keeps_its_promise_passes(kept):
    check_objective(kept, SOME)
    check_objective_set(ObjectiveSet([kept]), SOME)


def test_a_value_that_is_undefined_is_no_breach():
    class Undefined(Kept):
        def evaluate(self, candidates):
            return torch.full((len(candidates),), math.nan)

    globals()["Undefined"] = Undefined
    Undefined.__qualname__ = "Undefined"
    check_objective(Undefined(), SOME)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Scalar(), r"'kept' must return 3 values, got shape \(\)"),
        (Column(), r"must return 3 values, got shape \(3, 1\)"),
        (Short(), r"must return 3 values, got shape \(1,\)"),
        (Words(), "got TypeError|got ValueError"),
        (Restless(), "other values when asked again"),
        (Batchwise(), "other values one by one"),
        (Ordered(), "other values in another order"),
        (Endless(), "infinite value"),
        (Raising(), "KeyError: 'no such atom'"),
        (Empty(), "for 0 candidates"),
        (Greedy(), "changed its candidates"),
        (Closed(), "picklable"),
        (Forgetful(), "after pickling"),
        (changed(best=0.0), "a worst that differs from its best"),
        (changed(best=math.nan), "a finite number as its best, got nan"),
        (changed(worst=-math.inf), "a finite number as its worst, got -inf"),
        (changed(worst="low"), "a finite number as its worst, got 'low'"),
        (changed(name=math.nan), "a text as its name, got nan"),
        (changed(name=""), "a text as its name, got ''"),
        (changed(parameters={"reference": object()}), "parameters that are JSON"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Objective) else "",
)
def test_a_broken_promise_is_one_sentence(broken, said):
    with pytest.raises(ObjectiveError, match=said) as caught:
        check_objective(broken, SOME)
    assert "\n" not in str(caught.value)


class Both(Constraint):
    name = "both"

    def __init__(self, outcome):
        self.outcome = iter(outcome)

    def passes(self, candidates):
        found = next(self.outcome)
        if isinstance(found, Exception):
            raise found
        return found


ALL, NONE = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ([ALL, NONE], "changed its mind"),
        ([ALL.double()], "one boolean per candidate"),
        ([ALL[:2]], "one boolean per candidate"),
        ([True], "one boolean per candidate, got True"),
        ([ValueError("no ring")], "ValueError: no ring"),
    ],
)
def test_a_broken_constraint_is_one_sentence(outcome, said):
    with pytest.raises(ObjectiveError, match=said):
        check_objective_set(ObjectiveSet([Kept()], [Both(outcome)]), SOME)


def test_sets_that_cannot_be():
    with pytest.raises(ObjectiveError, match="at least one"):
        ObjectiveSet([])
    with pytest.raises(ObjectiveError, match="different names"):
        ObjectiveSet([Kept(), Kept()])
    with pytest.raises(ObjectiveError, match="worst and best"):
        ObjectiveSet([changed(best=0.0)])


def test_a_decorated_function_pickles_and_runs_in_worker_processes(tmp_path):
    twin = pickle.loads(pickle.dumps(length))
    assert twin.function is length.function and twin.identity == length.identity and twin.unit == "letters"
    with Ledger(tmp_path / "ledger.sqlite") as ledger, ProcessExecutor(workers=2, chunk=1) as executor:
        found = Oracle(ObjectiveSet([length]), ledger, budget=3, executor=executor)(SOME)
    assert found.raw[:, 0].tolist() == [3, 8, 7]


def test_a_function_inside_another_does_not_pickle_and_says_so():
    @objective(worst=0, best=1)
    def local(molecule):
        return 1.0

    with pytest.raises(ObjectiveError, match="picklable"):
        check_objective(local, SOME)

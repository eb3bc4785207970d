"""Libraries, sources, tables of measurements, variations, and samplers kept between rounds."""

from __future__ import annotations

import gzip
import itertools
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from loop_toys import ALL, objectives

from mogen.acquisition import Belief, UpperBound
from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.errors import BudgetExhausted, ConfigError, DataError
from mogen.loop import (
    ActiveLoop,
    BelieveAndChoose,
    Library,
    LibraryProposer,
    LibrarySource,
    ListSource,
    SamplerProposer,
    SamplerSource,
    read_measurements,
)
from mogen.loop.proposer import Context
from mogen.objective import Measured, ObjectiveSet, Status, load_set
from mogen.sampler import Sampler, Samples
from mogen.surrogate import GaussianProcess, Observations
from samplers.baseline.variation import MoleculeVariation, SequenceVariation

SMILES = ["CCO", "CCCO", "c1ccccc1", "CCN", "CCCl", "CC(C)O", "OCC", "CCBr", "CCCC", "CCOC", "CC(=O)O", "c1ccncc1"]


@pytest.mark.parametrize("name", ["pool.smi", "pool.csv", "pool.csv.gz", "pool.smi.gz"])
def test_libraries_are_read_from_files(tmp_path, name):
    header = "id,smiles\n" if ".csv" in name else ""
    lines = [f"{i},{text}" if header else f"{text} name{i}" for i, text in enumerate(SMILES)]
    text = header + "\n".join(lines) + "\n"
    with gzip.open(tmp_path / name, "wt") if name.endswith(".gz") else (tmp_path / name).open("w") as file:
        file.write(text)
    library = Library(tmp_path / name)
    assert library.texts == SMILES and library[2].smiles == "c1ccccc1"
    picked = library.standardised(range(len(library)), 20, {"CCN"})
    assert [item.key for item in picked] == [
        item.key for item in (Molecule.from_smiles(text) for text in SMILES if text not in ("CCN", "OCC"))
    ]


def test_a_library_that_is_none_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("name,x\nfoo,1\n")
    with pytest.raises(ConfigError, match="column candidate or smiles"):
        Library(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="there is none"):
        Library(tmp_path / "b.smi")
    (tmp_path / "c.smi").write_text("\n# nothing\n")
    with pytest.raises(ConfigError, match="at least one candidate"):
        Library(tmp_path / "c.smi")


def test_a_loop_over_a_library_picks_standardised_rows_once():
    given = load_set({"objectives": ["qed", {"name": "sa", "worst": 10, "best": 1}]})
    library = Library.of([*SMILES, "not a molecule", "C(C)O"])
    strategy = BelieveAndChoose([LibraryProposer(library)], UpperBound())
    made = ActiveLoop(given, strategy, LibrarySource(library), batch=3, start=4, seed=1)
    made.run(given)
    keys = [item.key for item in made.observed.candidates]
    assert sorted(keys) == sorted({Molecule.from_smiles(text).key for text in SMILES})


def test_a_loop_asks_for_a_whole_library_though_its_rows_are_spelled_differently():
    """Rows that are measured already, in another spelling, once used up the picks of a round and ended the loop."""
    given = load_set({"objectives": ["qed", {"name": "sa", "worst": 10, "best": 1}]})
    aspirin = [spelling("CC(=O)Oc1ccccc1C(=O)O", seed) for seed in range(12)]  # the best by far
    library = Library.of([*aspirin, *SMILES, "CCN.Cl", "[Na+].CC(=O)[O-]"])
    assert len(library) > len(set(SMILES)) + 8
    strategy = BelieveAndChoose([LibraryProposer(library)], UpperBound())
    made = ActiveLoop(given, strategy, LibrarySource(library), batch=1, start=2, seed=1)
    made.run(given)
    expected = {Molecule.from_smiles(text).key for text in library.texts}
    assert {item.key for item in made.observed.candidates} == expected


def spelling(text: str, seed: int) -> str:
    """A molecule in one of its many spellings."""
    from rdkit import Chem

    return str(Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(text), 1, randomSeed=seed + 1)[0])


def test_other_rows_of_a_library_are_found_under_any_spelling():
    library = Library.of(["OCC", "C(C)O", "COC", "CCN", "c1ccccc1C", "not a molecule"])
    assert library.others({"CCO", "Cc1ccccc1"}).texts == ["COC", "CCN", "not a molecule"]
    assert library.others(set()).texts == library.texts
    assert Library.of(["AB", "BA"], "sequence").others({"AB"}).texts == ["BA"]


def rows(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


TOLD = ObjectiveSet([Measured("potency", "pIC50", 4.0, 9.0), Measured("mass", "g/mol", 500.0, 200.0)])


def test_tables_say_what_is_measured_missing_and_failed(tmp_path):
    path = rows(
        tmp_path / "a.csv",
        "SMILES;potency;mass;status\nOCC;6.5;;\nCCN;;;failed\nCCO;7;FAILED;\n\n",
    )
    found = read_measurements(path, TOLD)
    assert [item.key for item in found.candidates] == ["CCO", "CCN", "CCO"] and found.lines == [2, 3, 4]
    assert found.evaluation.status.tolist() == [
        [Status.MEASURED, Status.MISSING], [Status.FAILED, Status.FAILED], [Status.MEASURED, Status.FAILED]
    ]  # fmt: skip
    assert found.evaluation.raw[0, 0] == 6.5


def test_tables_in_other_formats_hold_the_same(tmp_path):
    table = pd.DataFrame({"structure": ["CCO", "CCN"], "pot": [6.0, 7.0], "mass": [46.0, 45.0]})
    table.to_parquet(tmp_path / "a.parquet")
    found = read_measurements(tmp_path / "a.parquet", TOLD, columns={"candidate": "structure", "potency": "pot"})
    from rdkit import Chem

    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for _, row in table.iterrows():
            mol = Chem.MolFromSmiles(row["structure"])
            mol.SetProp("pot", str(row["pot"]))
            mol.SetProp("mass", str(row["mass"]))
            writer.write(mol)
    other = read_measurements(tmp_path / "a.sdf", TOLD, columns={"potency": "pot"})
    assert found.candidates == other.candidates and torch.equal(found.evaluation.raw, other.evaluation.raw)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("candidate,potency\nCCO,6\nxx(,7\nCCN,nine\n", "line 3: 'xx\\(' is no molecule; line 4: 'nine' is no number"),
        ("candidate,potency\nCCO,inf\n", "line 2: 'inf' is no finite number"),
        ("name,potency\nCCO,6\n", "a column candidate or smiles"),
        ("candidate,other\nCCO,6\n", "at least one of potency, mass"),
        ("", "a table in"),
    ],
)
def test_wrong_tables_are_one_sentence(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_measurements(rows(tmp_path / "a.csv", text), TOLD)


def test_units_must_be_the_objectives(tmp_path):
    path = rows(tmp_path / "a.csv", "candidate,potency\nCCO,6\n")
    assert len(read_measurements(path, TOLD, units={"potency": "pIC50"})) == 1
    with pytest.raises(DataError, match="in pIC50, got nM"):
        read_measurements(path, TOLD, units={"potency": "nM"})


def test_varied_sequences_keep_to_the_rules():
    vary = SequenceVariation("ACGT", 4, 7)
    parents = [TokenSequence(text) for text in ("ACGT", "AACCGGT", "TTTTT")]
    children = vary(parents, 300, generator=torch.Generator().manual_seed(0))
    texts = [item.text for item in children]
    assert len(set(texts)) == len(texts) > 150 and not set(children) & set(parents)
    assert all(4 <= len(text) <= 7 and set(text) <= set("ACGT") for text in texts)
    assert {len(text) for text in texts} == {4, 5, 6, 7}
    assert texts == [item.text for item in vary(parents, 300, generator=torch.Generator().manual_seed(0))]
    fixed = SequenceVariation("ACGT", 5, 5, positions=[1, 3], crossover=0.0)
    children = fixed([TokenSequence("AAAAA")], 100, generator=torch.Generator().manual_seed(0))
    assert {item.text[0] + item.text[2] + item.text[4] for item in children} == {"AAA"} and len(children) == 15


def test_varied_molecules_are_new_molecules():
    parents = [Molecule.from_smiles(text) for text in ("CC(=O)Nc1ccc(O)cc1", "CCOC(=O)c1ccccc1N", "CC(C)Cc1ccccc1")]
    vary = MoleculeVariation(most_atoms=16)
    children = vary(parents, 60, generator=torch.Generator().manual_seed(0))
    assert len(set(children)) == len(children) > 15 and not set(children) & set(parents)
    assert all(item.mol.GetNumHeavyAtoms() <= 16 and Molecule.from_smiles(item.smiles) == item for item in children)
    assert children == vary(parents, 60, generator=torch.Generator().manual_seed(0))


class Counting(Sampler[TokenSequence]):
    """Notes how it is trained; draws words."""

    def __init__(self, steps: int = 5) -> None:
        self.steps, self.fits = steps, []

    def set_rounds(self, rounds):
        self.steps = 5 * rounds
        return True

    def fit(self, measure, *, m, generator=None, folder=None):
        found = measure(ALL[:3])
        before = (folder / "trained.txt").read_text() if (folder / "trained.txt").exists() else "0"
        (folder / "trained.txt").write_text(str(self.steps))
        self.fits.append((m, int(before), self.steps, found.utility.shape[1]))

    def sample(self, preference, *, generator=None):
        places = torch.randint(len(ALL), (len(preference),), generator=generator).tolist()
        return Samples([ALL[place] for place in places], preference)

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


@pytest.mark.parametrize(("on", "m"), [("bound", 2), ("acquisition", 1)])
def test_a_sampler_goes_on_with_its_training_from_round_to_round(tmp_path, on, m):
    sampler = Counting()
    strategy = BelieveAndChoose([SamplerProposer(sampler, tmp_path, samples=30, on=on)], UpperBound())
    made = ActiveLoop(objectives(), strategy, ListSource(ALL), batch=4, start=6, seed=0)
    made.run(objectives(), 4)
    assert sampler.fits == [(m, 0, 5, m), (m, 5, 10, m), (m, 10, 15, m)]
    assert len(made.observed) == 18 and len(list(tmp_path.glob("round-*"))) == 2


def test_a_round_that_was_killed_trains_again_from_where_the_last_one_ended(tmp_path):
    sampler = Counting()
    proposer = SamplerProposer(sampler, tmp_path, samples=5)
    value = objectives()(ALL[:9]).value
    seen = Observations(ALL[:9], value, torch.full_like(value, torch.nan), torch.ones(9, dtype=torch.bool), value)
    process = GaussianProcess()
    process.fit(seen)
    for number in (1, 2, 2):
        made = torch.Generator().manual_seed(number)
        proposer.propose(Context(Belief(process, seen), UpperBound(), frozenset(), number, made))
    assert [fit[1:3] for fit in sampler.fits] == [(0, 5), (5, 10), (5, 10)]


@pytest.mark.parametrize(("asks", "most"), [(None, 8 * 5), (12, 12)])
def test_a_sampler_whose_training_never_ends_asks_only_so_much(tmp_path, asks, most):
    class Endless(Counting):
        def set_rounds(self, rounds):
            return Sampler.set_rounds(self, rounds)

        def fit(self, measure, *, m, generator=None, folder=None):
            self.asked = set()
            with suppress(BudgetExhausted):
                for at in itertools.count(0, 3):
                    batch = [ALL[place % len(ALL)] for place in range(at, at + 3)]
                    measure(batch)
                    self.asked |= {item.key for item in batch}

    sampler = Endless()
    proposer = SamplerProposer(sampler, tmp_path, samples=5, asks=asks)
    value = objectives()(ALL[:9]).value
    seen = Observations(ALL[:9], value, torch.full_like(value, torch.nan), torch.ones(9, dtype=torch.bool), value)
    process = GaussianProcess()
    process.fit(seen)
    proposer.propose(Context(Belief(process, seen), UpperBound(), frozenset(), 1, torch.Generator().manual_seed(0)))
    assert most - 3 < len(sampler.asked) <= most


def test_a_source_draws_what_a_sampler_asks_for():
    class Asking(Counting):
        def fit(self, measure, *, m, generator=None, folder=None):
            for at in range(0, 4000, 7):
                measure(ALL[at : at + 7])

    found = SamplerSource(Asking(), 2).draw(20, {ALL[3].key}, generator=torch.Generator())
    assert found == [item for item in ALL[:21] if item != ALL[3]]


def test_the_exponent_of_an_acquisition_falls_but_never_below_its_floor(tmp_path):
    proposer = SamplerProposer(Counting(), tmp_path, on="acquisition", temper=1.0, fall=1 / 16, lowest=0.1)
    found = [proposer.temper_of(number) for number in range(1, 65)]
    assert found[0] == 1.0 and found[8] == pytest.approx(0.5) and found[16] == found[-1] == 0.1
    with pytest.raises(ConfigError, match="lowest <= temper"):
        SamplerProposer(Counting(), tmp_path, temper=0.5, lowest=0.0)


@pytest.mark.parametrize("on", ["bound", "acquisition"])
def test_a_gflownet_that_edits_gets_the_best_observed_sequences_as_parents(tmp_path, on):
    """Proposals are at most two substitutions from a parent; the network is kept while its parents change."""
    from mogen.acquisition import HypervolumeImprovement
    from samplers.environment.edit import SequenceEdit
    from samplers.gflownet.networks.sequence import EditTransformer
    from samplers.gflownet.sampler import GFlowNetSampler

    environment = SequenceEdit([ALL[0].text], "ACGT", max_edits=2, slots=4)
    network = EditTransformer(width=16, depth=1, heads=2)
    sampler = GFlowNetSampler(environment=environment, network=network, steps=2, batch=8, accelerator="cpu")
    proposer = SamplerProposer(sampler, tmp_path, samples=20, on=on)
    strategy = BelieveAndChoose([proposer], HypervolumeImprovement(samples=8))
    made = ActiveLoop(objectives(), strategy, ListSource(ALL), batch=3, start=8, seed=0)
    made.tell(made.ask(), objectives()(list(made.pending.values())))
    parents = []
    for _ in range(2):
        known = {item.key for item in made.observed.candidates}
        batch = made.ask()
        parents.append(set(environment.parents))
        assert parents[-1] <= known and 1 <= len(parents[-1]) <= 4 and len(batch) == 3
        for item in batch:
            assert min(sum(map(str.__ne__, item.text, parent)) for parent in parents[-1]) <= 2
        made.tell(batch, objectives()(batch))
    assert sampler.steps == 4 and parents[0] != parents[1]

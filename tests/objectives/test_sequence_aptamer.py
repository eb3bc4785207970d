"""Folds of DNA: published stacking energies, structures counted by hand, and the objectives over them."""

from __future__ import annotations

import importlib.util
import math

import pytest

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective import ObjectiveSet, check_objective_set, load_set
from objectives.sequence import FoldEnergy, FoldPairs, FoldPins, InverseLength, OpenLoop
from objectives.sequence.aptamer import fold, open_loop, pairs, pins

HAIRPIN = "GCAGCTTTTGCTGC"  # five pairs around TTTT: (((((....)))))


@pytest.mark.parametrize(
    "structure, count, outermost, loop",
    [
        ("..........", 0, 0, 0),
        ("(((....)))", 3, 1, 4),
        ("..((...))..(((......)))", 5, 2, 6),
        ("((..((...))..((....)).))", 6, 1, 4),
        ("((..((...))..))..((.....))", 6, 2, 5),
        ("", 0, 0, 0),
    ],
)
def test_structures_counted_by_hand(structure: str, count: int, outermost: int, loop: int) -> None:
    assert (pairs(structure), pins(structure), open_loop(structure)) == (count, outermost, loop)


@pytest.mark.parametrize(
    "inserted, stacks",
    [
        # SantaLucia and Hicks 2004, kcal/mol at 37 degrees Celsius, for 5'XY3' on its complement
        (("AT", "AT"), {"CA": -1.45, "AT": -0.88, "TG": -1.45, "CG": +2.17}),
        (("G", "C"), {"CG": -2.17, "GG": -1.84, "": 0.0, " CG": +2.17}),
    ],
)
def test_longer_stems_gain_the_published_stacking_energy(inserted: tuple[str, str], stacks: dict[str, float]) -> None:
    """The difference between GC|GA and GC + inserted + GA stems is that of their nearest neighbours."""
    left, right = "GCC", "GGAG"
    complement = {"A": "T", "C": "G", "G": "C", "T": "A"}

    def hairpin(middle: str) -> str:
        stem = left + middle + right
        return stem + "TTTT" + "".join(complement[base] for base in reversed(stem))

    short, long = fold(hairpin("")), fold(hairpin(inserted[0]))
    assert short.structure == "(((((((....)))))))"
    assert pairs(long.structure) == 7 + len(inserted[0])
    assert long.energy - short.energy == pytest.approx(sum(stacks.values()), abs=0.35)


def test_a_hairpin_checked_by_hand() -> None:
    """Stacks GC -2.24, CA -1.45, AG -1.28, GC -2.24; a loop of four +3.5 with a C-T-T-G mismatch of about -1."""
    folded = fold(HAIRPIN)
    assert folded.structure == "(((((....)))))"
    assert folded.energy == pytest.approx(-2.24 - 1.45 - 1.28 - 2.24 + 3.5 - 0.8, abs=0.6)


def test_open_strands_and_strands_without_t_are_dna() -> None:
    assert fold("TTTTTTTTTT").energy == 0.0 and fold("TTTTTTTTTT").structure == "." * 10
    assert fold("T").structure == "." and fold("A").energy == 0.0
    folded = fold("GGGGCAAAAGCCCC")  # as RNA it would be near -9; DNA stacks give 3 (-1.84) - 2.24 and the loop
    assert folded.structure == "(((((....)))))"
    assert folded.energy == pytest.approx(3 * -1.84 - 2.24 + 3.5 - 0.8, abs=1.0)


def test_objectives_read_the_fold() -> None:
    other = "GAGGATTTTTTCCTC"  # (((((.....)))))
    two_stems = TokenSequence(HAIRPIN + "AAAA" + other)
    objectives = [FoldEnergy(), FoldPairs(), FoldPins(), InverseLength(28), OpenLoop()]
    energy, count, outermost, inverse, loop = (float(item.evaluate([two_stems])[0]) for item in objectives)
    assert (count, outermost, loop) == (10, 2, 5)
    assert inverse == pytest.approx(28 / 33)
    # the loop outside both costs nothing; only what hangs on their ends differs from the stems alone
    assert energy == pytest.approx(fold(HAIRPIN).energy + fold(other).energy, abs=2.0)
    assert all(math.isnan(item.evaluate([TokenSequence("ACGU")])[0]) for item in objectives[:3])


def test_the_contract_holds() -> None:
    texts = [HAIRPIN * 2 + "AC", "ACGTTGCATTGCAACCGGTATCGTTAGGCCAATT", "A" * 30, "GC" * 30]
    for name in ("aptamers", "aptamers_short", "aptamers5"):
        check_objective_set(load_set(name), [TokenSequence(text) for text in texts])


def test_viennarna_gives_the_same_hairpin_or_says_what_is_missing() -> None:
    if importlib.util.find_spec("RNA") is None:
        with pytest.raises(ConfigError, match=r"mogen\[vienna\]"):
            FoldEnergy(backend="vienna")
        return
    found = ObjectiveSet([FoldEnergy(backend="vienna"), FoldPairs(backend="vienna")])([TokenSequence(HAIRPIN)]).raw
    assert found[0, 1] == 5 and found[0, 0] == pytest.approx(fold(HAIRPIN).energy, abs=2.0)

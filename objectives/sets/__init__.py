"""Named sets of objectives, each a YAML file beside this one: which objectives, with which worst and best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mogen.domain.backbone import Backbone
from mogen.domain.molecule import Molecule
from mogen.domain.point import Point
from mogen.domain.sequence import TokenSequence
from mogen.objective import ObjectiveSet, load_set


def druglike() -> ObjectiveSet[Molecule]:
    """QED, synthetic accessibility and molecular weight, normalised as in the MOGFN papers: a saturated smoke test."""
    return _load("druglike")


def fexofenadine() -> ObjectiveSet[Molecule]:
    """GuacaMol's fexofenadine components (similar, polar, not too greasy) and synthetic accessibility."""
    return _load("fexofenadine")


def osimertinib() -> ObjectiveSet[Molecule]:
    """GuacaMol's osimertinib components (similar but not the same, polar, not greasy) and synthetic accessibility."""
    return _load("osimertinib")


def perindopril() -> ObjectiveSet[Molecule]:
    """GuacaMol's perindopril components (similar, with two aromatic rings) and synthetic accessibility."""
    return _load("perindopril")


def aptamers() -> ObjectiveSet[TokenSequence]:
    """DNA strands of 30 to 60 bases: energy, pins and pairs of the fold (seqfold; not NUPACK's energies)."""
    return _load("aptamers")


def aptamers5() -> ObjectiveSet[TokenSequence]:
    """DNA strands: energy, pins, pairs, inverse length and the largest hairpin loop of the fold (seqfold)."""
    return _load("aptamers5")


def aptamers_short() -> ObjectiveSet[TokenSequence]:
    """DNA strands: low folding energy (seqfold) against few bases."""
    return _load("aptamers_short")


def bigrams2() -> ObjectiveSet[TokenSequence]:
    """How often AV and VC occur in 32 to 36 amino acids; exact hypervolume 0.629630."""
    return _load("bigrams2")


def bigrams3() -> ObjectiveSet[TokenSequence]:
    """How often AV, VC and CA occur in 32 to 36 amino acids; exact hypervolume 0.409294."""
    return _load("bigrams3")


def bigrams4() -> ObjectiveSet[TokenSequence]:
    """How often AV, VC, CA and AY occur in 32 to 36 amino acids; exact hypervolume 0.106186."""
    return _load("bigrams4")


def ehrlich2() -> ObjectiveSet[TokenSequence]:
    """Two Ehrlich functions of 32 tokens that compete for the same 32 places."""
    return _load("ehrlich2")


def ehrlich3() -> ObjectiveSet[TokenSequence]:
    """Three Ehrlich functions of 32 tokens that compete for the same 32 places."""
    return _load("ehrlich3")


def ehrlich2_64() -> ObjectiveSet[TokenSequence]:
    """Two Ehrlich functions of 32 tokens over 64 places."""
    return _load("ehrlich2_64")


def ehrlich3_64() -> ObjectiveSet[TokenSequence]:
    """Three Ehrlich functions of 32 tokens over 64 places."""
    return _load("ehrlich3_64")


def hypergrid2() -> ObjectiveSet[Point]:
    """Branin and Currin on a grid over [-1, 1]^2."""
    return _load("hypergrid2")


def hypergrid3() -> ObjectiveSet[Point]:
    """Branin, Currin and Shubert on a grid, the variant of 2022."""
    return _load("hypergrid3")


def hypergrid4() -> ObjectiveSet[Point]:
    """Branin, Currin, Shubert and the sphere on a grid, the variant of 2022."""
    return _load("hypergrid4")


def hypergrid5() -> ObjectiveSet[Point]:
    """Branin, Currin, Shubert, the sphere and Beale on a grid, the variant of 2022."""
    return _load("hypergrid5")


def hypergrid3_op_gfn() -> ObjectiveSet[Point]:
    """Branin, Currin and Shubert on a grid, the variant of OP-GFN."""
    return _load("hypergrid3_op_gfn")


def hypergrid4_op_gfn() -> ObjectiveSet[Point]:
    """Branin, Currin, Shubert and the sphere on a grid, the variant of OP-GFN."""
    return _load("hypergrid4_op_gfn")


def hypergrid5_op_gfn() -> ObjectiveSet[Point]:
    """Branin, Currin, Shubert, the sphere and Beale on a grid, the variant of OP-GFN."""
    return _load("hypergrid5_op_gfn")


def hypergrid_corners() -> ObjectiveSet[Point]:
    """One reward with a mode near every corner of a grid of any dimension: for counting speed, not fronts."""
    return _load("hypergrid_corners")


def qm9_small() -> ObjectiveSet[Molecule]:
    """QED, synthetic accessibility, logP near 2.5 and molecular weight near 105, for molecules of QM9's size."""
    return _load("qm9_small")


def qm9_strings() -> ObjectiveSet[TokenSequence]:
    """A published table of rewards over all 161,051 strings of five QM9 blocks; needs MOGEN_DATA."""
    return _load("qm9_strings")


def seh_qed() -> ObjectiveSet[Molecule]:
    """Predicted binding to sEH and QED; needs the published proxy (`mogen data import`)."""
    return _load("seh_qed")


def seh_qed_sa() -> ObjectiveSet[Molecule]:
    """Predicted binding to sEH, QED and synthetic accessibility; needs the published proxy (`mogen data import`)."""
    return _load("seh_qed_sa")


def seh_qed_sa_mw() -> ObjectiveSet[Molecule]:
    """Predicted binding to sEH, QED, synthetic accessibility, weight; needs the published proxy."""
    return _load("seh_qed_sa_mw")


def gsk3b_jnk3() -> ObjectiveSet[Molecule]:
    """Predicted inhibition of the kinases GSK3b and JNK3; needs their forests (`mogen data import`)."""
    return _load("gsk3b_jnk3")


def gsk3b_jnk3_qed_sa() -> ObjectiveSet[Molecule]:
    """Predicted inhibition of GSK3b and JNK3, QED and synthetic accessibility; needs the forests."""
    return _load("gsk3b_jnk3_qed_sa")


def rfp_standin() -> ObjectiveSet[TokenSequence]:
    """Surface area and stability of red fluorescent proteins, by an ensemble trained on public labels (not FoldX)."""
    return _load("rfp_standin")


def unigrams2() -> ObjectiveSet[TokenSequence]:
    """How many of 16 to 18 amino acids are A and V."""
    return _load("unigrams2")


def unigrams3() -> ObjectiveSet[TokenSequence]:
    """How many of 16 to 18 amino acids are A, V and C."""
    return _load("unigrams3")


def unigrams4() -> ObjectiveSet[TokenSequence]:
    """How many of 16 to 18 amino acids are A, V, C and W."""
    return _load("unigrams4")


def zinc_celecoxib() -> ObjectiveSet[Molecule]:
    """QED, synthetic accessibility, a window of logP and similarity to celecoxib, for molecules of ZINC250k's size."""
    return _load("zinc_celecoxib")


def compact_helical() -> ObjectiveSet[Backbone]:
    """Conformations of a small protein: a small radius of gyration, much helix and little surface, valid CA only."""
    return _load("compact_helical")


def _load(name: str) -> ObjectiveSet[Any]:
    return load_set(str(Path(__file__).parent / f"{name}.yaml"))

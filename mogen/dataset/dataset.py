"""The data sets mogen knows by name; none is shipped and no address is built in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A name, what it holds, and where it was published."""

    name: str
    content: str
    source: str


DATASETS = {
    item.name: item
    for item in (
        Dataset("qm9", "about 134,000 molecules of up to nine heavy atoms (C, N, O, F)", "Ramakrishnan et al. 2014"),
        Dataset("qm9_smiles_full", "all 133,885 molecules of QM9 in the order of its publication", "as qm9"),
        Dataset(
            "qm9_test_idx", "13,082 rows of them, from 0, that are the test set", "Zang and Wang 2020; Jo et al. 2022"
        ),
        Dataset("zinc250k", "about 250,000 drug-like molecules of ZINC", "Gomez-Bombarelli et al. 2018"),
        Dataset("zinc250k_test_idx", "24,887 rows of zinc250k, from 0, that are the test set", "as qm9_test_idx"),
        Dataset("ego_small", "200 graphs of up to 17 nodes, neighbourhoods in Citeseer", "Jo et al. 2022"),
        Dataset("community_small", "100 graphs of two communities, 12 to 20 nodes", "Jo et al. 2022"),
        Dataset(
            "enzymes",
            "587 graphs of up to 125 nodes, protein structures with labels",
            "Borgwardt et al. 2005, as in TUDataset",
        ),
        Dataset("grid", "100 grids of 10 to 19 nodes a side", "You et al. 2018, as in Jo et al. 2022"),
        Dataset("guacamol", "the training molecules of GuacaMol, from ChEMBL", "Brown et al. 2019"),
        Dataset("gsk3b_rf", "trees of the random forest of the objective gsk3b", "Li et al. 2018, as in TDC"),
        Dataset("jnk3_rf", "trees of the random forest of the objective jnk3", "Li et al. 2018, as in TDC"),
        Dataset("seh_proxy_bengio2021", "weights of the objective seh", "Bengio et al. 2021, best_params.pkl.gz"),
        Dataset("seh_blocks_PDB_105", "72 fragments with 127 sites (105 entries)", "Bengio et al. 2021"),
        Dataset("moses", "the training molecules of MOSES, from ZINC clean leads", "Polykovskiy et al. 2020"),
    )
}
"""any other name can be imported as well"""

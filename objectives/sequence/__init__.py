"""Measurements of sequences: words, folds, tables."""

from objectives.sequence.aptamer import FoldEnergy as FoldEnergy
from objectives.sequence.aptamer import FoldPairs as FoldPairs
from objectives.sequence.aptamer import FoldPins as FoldPins
from objectives.sequence.aptamer import InverseLength as InverseLength
from objectives.sequence.aptamer import OpenLoop as OpenLoop
from objectives.sequence.ehrlich import AllowedTransitions as AllowedTransitions
from objectives.sequence.ehrlich import Ehrlich as Ehrlich
from objectives.sequence.ngram import NGram as NGram
from objectives.sequence.ngram import attainable_counts as attainable_counts
from objectives.sequence.ngram import ngram_front as ngram_front
from objectives.sequence.rfp import RfpStandIn as RfpStandIn
from objectives.sequence.table import TableReward as TableReward

"""How good was a run."""

from mogen.metric.alignment import alignment as alignment
from mogen.metric.diversity import circles as circles
from mogen.metric.diversity import intdiv as intdiv
from mogen.metric.diversity import pc_entropy as pc_entropy
from mogen.metric.diversity import top_k_diversity as top_k_diversity
from mogen.metric.diversity import vendi as vendi
from mogen.metric.diversity import vendi_of_features as vendi_of_features
from mogen.metric.front import front_metrics as front_metrics
from mogen.metric.molecule import fingerprints as fingerprints
from mogen.metric.molecule import molecule_diversity as molecule_diversity
from mogen.metric.molecule import tanimoto as tanimoto

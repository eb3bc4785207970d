"""The algebra of fronts: utilities in [0, 1], more is better, the reference point is the origin."""

from mogen.pareto.archive import Evaluated as Evaluated
from mogen.pareto.archive import ParetoArchive as ParetoArchive
from mogen.pareto.dominance import is_non_dominated as is_non_dominated
from mogen.pareto.hypervolume import EXACT_UP_TO as EXACT_UP_TO
from mogen.pareto.hypervolume import hypervolume as hypervolume
from mogen.pareto.hypervolume import hypervolume_contributions as hypervolume_contributions
from mogen.pareto.hypervolume import hypervolume_curve as hypervolume_curve
from mogen.pareto.indicator import epsilon as epsilon
from mogen.pareto.indicator import gd_plus as gd_plus
from mogen.pareto.indicator import igd as igd
from mogen.pareto.indicator import igd_plus as igd_plus
from mogen.pareto.indicator import r2 as r2

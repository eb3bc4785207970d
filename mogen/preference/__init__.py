"""What someone wants: preferences, how they are drawn and encoded, and the one number they make of many utilities."""

from mogen.preference.distribution import Dirichlet as Dirichlet
from mogen.preference.distribution import Fixed as Fixed
from mogen.preference.distribution import PreferenceDistribution as PreferenceDistribution
from mogen.preference.distribution import SimplexLattice as SimplexLattice
from mogen.preference.distribution import simplex_lattice as simplex_lattice
from mogen.preference.encoding import thermometer as thermometer
from mogen.preference.goal import FocusCone as FocusCone
from mogen.preference.goal import GoalDistribution as GoalDistribution
from mogen.preference.goal import TabularGoals as TabularGoals
from mogen.preference.goal import UniformGoals as UniformGoals
from mogen.preference.goal import cube_faces as cube_faces
from mogen.preference.goal import goal_of as goal_of
from mogen.preference.scalarization import Geometric as Geometric
from mogen.preference.scalarization import Scalarization as Scalarization
from mogen.preference.scalarization import Tchebycheff as Tchebycheff
from mogen.preference.scalarization import WeightedLogSum as WeightedLogSum
from mogen.preference.scalarization import WeightedSum as WeightedSum

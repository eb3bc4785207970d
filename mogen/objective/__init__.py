"""What is asked of a candidate."""

from mogen.objective.constraint import Constraint as Constraint
from mogen.objective.contract import check_objective as check_objective
from mogen.objective.contract import check_objective_set as check_objective_set
from mogen.objective.external import CommandObjective as CommandObjective
from mogen.objective.external import HttpObjective as HttpObjective
from mogen.objective.measured import Measured as Measured
from mogen.objective.objective import FunctionObjective as FunctionObjective
from mogen.objective.objective import Objective as Objective
from mogen.objective.objective import objective as objective
from mogen.objective.objective_set import Evaluation as Evaluation
from mogen.objective.objective_set import Measure as Measure
from mogen.objective.objective_set import ObjectiveSet as ObjectiveSet
from mogen.objective.objective_set import Status as Status
from mogen.objective.set_file import load_set as load_set

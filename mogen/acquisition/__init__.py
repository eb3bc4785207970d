"""What is worth measuring next."""

from mogen.acquisition.acquisition import Acquisition as Acquisition
from mogen.acquisition.acquisition import Belief as Belief
from mogen.acquisition.adapter import AcquisitionMeasure as AcquisitionMeasure
from mogen.acquisition.adapter import BoundMeasure as BoundMeasure
from mogen.acquisition.improvement import HypervolumeImprovement as HypervolumeImprovement
from mogen.acquisition.improvement import ScalarizedImprovement as ScalarizedImprovement
from mogen.acquisition.model import BeliefModel as BeliefModel
from mogen.acquisition.scalarized import ThompsonSampling as ThompsonSampling
from mogen.acquisition.scalarized import UpperBound as UpperBound

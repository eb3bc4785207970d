"""What we believe about candidates not yet measured."""

from mogen.surrogate.feasibility import Feasibility as Feasibility
from mogen.surrogate.features import CountFingerprints as CountFingerprints
from mogen.surrogate.features import Features as Features
from mogen.surrogate.features import FeatureSets as FeatureSets
from mogen.surrogate.features import TokenCounts as TokenCounts
from mogen.surrogate.features import TokenPlaces as TokenPlaces
from mogen.surrogate.features import TokenWords as TokenWords
from mogen.surrogate.gaussian_process import GaussianProcess as GaussianProcess
from mogen.surrogate.kernel import Kernel as Kernel
from mogen.surrogate.kernel import Linear as Linear
from mogen.surrogate.kernel import Overlap as Overlap
from mogen.surrogate.kernel import Tanimoto as Tanimoto
from mogen.surrogate.surrogate import Calibration as Calibration
from mogen.surrogate.surrogate import Observations as Observations
from mogen.surrogate.surrogate import Surrogate as Surrogate
from mogen.surrogate.surrogate import calibration as calibration

"""What we believe about candidates not yet measured."""

from typing import TYPE_CHECKING, Any

from mogen.surrogate.classifier import Alerts as Alerts
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
from mogen.surrogate.multitask import MultiTaskProcess as MultiTaskProcess
from mogen.surrogate.surrogate import Calibration as Calibration
from mogen.surrogate.surrogate import Observations as Observations
from mogen.surrogate.surrogate import Surrogate as Surrogate
from mogen.surrogate.surrogate import calibration as calibration

if TYPE_CHECKING:
    from mogen.surrogate.ensemble import DeepEnsemble as DeepEnsemble


def __getattr__(name: str) -> Any:
    """Deep ensembles bring Lightning along, which takes seconds: only where they are used."""
    if name == "DeepEnsemble":
        from mogen.surrogate.ensemble import DeepEnsemble

        return DeepEnsemble
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What a generator promises."""

from mogen.sampler.contract import check_sampler as check_sampler
from mogen.sampler.sampler import Sampler as Sampler
from mogen.sampler.sampler import Samples as Samples

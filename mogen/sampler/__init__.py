"""What a generator promises."""

from mogen.sampler.sampler import Sampler as Sampler
from mogen.sampler.sampler import Samples as Samples

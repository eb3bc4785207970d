"""Lightning pieces that every generator shares."""

from mogen.training.average import frozen_copy as frozen_copy
from mogen.training.average import update_average as update_average

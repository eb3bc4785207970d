"""Protein conformations by structure-to-structure translation (Lu et al. 2024)."""

from samplers.str2str.network import Denoiser as Denoiser
from samplers.str2str.network import Frames as Frames
from samplers.str2str.network import Size as Size
from samplers.str2str.sampler import Str2StrSampler as Str2StrSampler

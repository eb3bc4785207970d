"""Diffusion processes over named fields, their solvers and their guidance."""

from samplers.diffusion.guidance import Guidance as Guidance
from samplers.diffusion.igso3 import RotationVE as RotationVE
from samplers.diffusion.integrate import integrate as integrate
from samplers.diffusion.integrate import times as times
from samplers.diffusion.product import Fields as Fields
from samplers.diffusion.product import Mask as Mask
from samplers.diffusion.product import PerturbedFields as PerturbedFields
from samplers.diffusion.product import ProductSDE as ProductSDE
from samplers.diffusion.product import Score as Score
from samplers.diffusion.sde import SDE as SDE
from samplers.diffusion.sde import VE as VE
from samplers.diffusion.sde import VP as VP
from samplers.diffusion.sde import Marginal as Marginal
from samplers.diffusion.sde import Perturbed as Perturbed
from samplers.diffusion.sde import SubVP as SubVP
from samplers.diffusion.sde import Symmetric as Symmetric
from samplers.diffusion.solver import S4 as S4
from samplers.diffusion.solver import DPMSolverPlusPlus as DPMSolverPlusPlus
from samplers.diffusion.solver import EulerMaruyama as EulerMaruyama
from samplers.diffusion.solver import Heun as Heun
from samplers.diffusion.solver import Langevin as Langevin
from samplers.diffusion.solver import PredictorCorrector as PredictorCorrector
from samplers.diffusion.solver import ReverseDiffusion as ReverseDiffusion
from samplers.diffusion.solver import Solver as Solver
from samplers.diffusion.solver import Step as Step

"""One interval of the reverse process, by many methods; the loop is in `integrate`.

The reverse process is dx = [f - g^2 s] dt + g dw, its probability flow dx = [f - g^2 s / 2] dt, with the joint score s
(Jo et al. 2022, eq. 3; Song et al. 2021). All fields of a step are moved from the same state. With r = scale(other)
/ scale(t), the linear part alone takes x from t to r x at another time and adds noise of variance |std(other)^2 -
r^2 std(t)^2|, later or earlier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion.product import Fields, ProductSDE, Score
from samplers.diffusion.sde import SDE, over


@dataclass(frozen=True)
class Step:
    """Where a step ends, where it would have ended without its last noise, and what a multistep method remembers."""

    fields: Fields
    mean: Fields
    memory: Any = None


class Solver(ABC):
    """A method for one interval from t to t_next < t (both of shape (b,); t_next = 0 is the data)."""

    evaluations: int
    """evaluations of the score per step"""

    @abstractmethod
    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        """One step; `memory` is what the step before returned."""


@final
class EulerMaruyama(Solver):
    """x + [f - g^2 s] dt + g sqrt(|dt|) z with dt = t_next - t < 0; strong order 1 for noise that only depends on time.

    Args:
        is_deterministic: the probability flow instead: half the score, no noise.
        noise_scale: what the noise is multiplied by; 1 is the reverse process, less is colder.
    """

    evaluations = 1

    def __init__(self, is_deterministic: bool = False, noise_scale: float = 1.0) -> None:
        self.is_deterministic, self.noise_scale = is_deterministic, noise_scale

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        share = 0.5 if self.is_deterministic else 1.0
        mean = flow(process, score(fields, t), fields, t, t_next, share)
        if self.is_deterministic:
            moved = process.move(fields, mean)
            return Step(moved, moved)
        noise = process.noise(fields, generator=generator)
        return moved_by(process, fields, mean, noise, widths(process, t, t_next, self.noise_scale))


@final
class ReverseDiffusion(Solver):
    """The forward process in discrete steps, reversed (Song et al. 2021, appendix E).

    With r = scale(t) / scale(t_next) and G^2 = std(t)^2 - r^2 std(t_next)^2: x + (1 - r) x + G^2 s + G z. For VP that
    is 2 x - sqrt(1 - beta) x + beta s, for VE x + (sigma^2 - sigma_next^2) s; at t_next = 0 VE takes all noise away.

    Args:
        is_deterministic: the probability flow instead: half the score, no noise.
    """

    evaluations = 1

    def __init__(self, is_deterministic: bool = False) -> None:
        self.is_deterministic = is_deterministic

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        slope = score(fields, t)
        share = 0.5 if self.is_deterministic else 1.0
        mean, width = {}, {}
        for name, sde in process.items():
            ratio, variance = transition(sde, t_next, t)
            s = slope[name]
            mean[name] = sde.shrink(fields[name], 2 - ratio) + over(share * variance, s) * s
            width[name] = variance.sqrt()
        if self.is_deterministic:
            moved = process.move(fields, mean)
            return Step(moved, moved)
        return moved_by(process, fields, mean, process.noise(fields, generator=generator), width)


@final
class Langevin:
    """The corrector: x + e s + c sqrt(2 e) z with e = 2 a (snr |z| / |s|)^2, a = (scale(t) / scale(t_next))^2.

    Args:
        snr: signal-to-noise ratio.
        scale: what the noise is multiplied by (c).
        steps: corrections at each time.
        norms: |z| and |s| of every item by itself, so that a sample does not depend on its neighbours; or their
            averages over the batch, as published.
    """

    def __init__(
        self, snr: float = 0.2, scale: float = 0.7, steps: int = 1, norms: Literal["item", "batch"] = "item"
    ) -> None:
        if not snr > 0 or steps < 0:
            raise ConfigError(f"expected snr above 0 and steps of at least 0 in Langevin, got {snr} and {steps}")
        self.snr, self.scale, self.steps, self.norms = snr, scale, steps, norms

    def correct(
        self,
        process: ProductSDE,
        slope: Fields,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
    ) -> Step:
        """One correction with scores that are already known."""
        noise = process.noise(fields, generator=generator)
        mean, width = {}, {}
        for name, sde in process.items():
            length = self.length(noise[name]) / self.length(slope[name]).clamp(min=1e-12)
            is_still = self.length(slope[name]) <= 1e-12
            size = 2 * transition(sde, t_next, t)[0] ** 2 * (self.snr * length) ** 2
            size = torch.where(is_still, 0.0, size)
            mean[name] = over(size, slope[name]) * slope[name]
            width[name] = self.scale * (2 * size).sqrt()
        return moved_by(process, fields, mean, noise, width)

    def length(self, tangent: Tensor) -> Float[Tensor, " b"]:
        """The norm of every item, or the average norm for every item."""
        norm = tangent.flatten(1).norm(dim=1)
        return norm if self.norms == "item" else norm.mean().expand_as(norm)


@final
class PredictorCorrector(Solver):
    """Corrections at t, then a step to t_next (Song et al. 2021, algorithm 1; Jo et al. 2022, appendix A.3).

    Args:
        predictor: the method of the step.
        corrector: the correction before it.
    """

    def __init__(self, predictor: Solver | None = None, corrector: Langevin | None = None) -> None:
        self.predictor, self.corrector = predictor or ReverseDiffusion(), corrector or Langevin()
        self.evaluations = self.predictor.evaluations + self.corrector.steps

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        for _ in range(self.corrector.steps):
            slope = score(fields, t)
            fields = self.corrector.correct(process, slope, fields, t, t_next, generator=generator).fields
        return self.predictor.step(process, score, fields, t, t_next, generator=generator, memory=memory)


@final
class S4(Solver):
    """Symmetric splitting for a system of SDEs (Jo et al. 2022, section 3.2): one evaluation does both jobs.

    A Langevin correction with s(x_t, t); half a step of the linear part, exactly; the score's full step
    x + g(t)^2 s |dt| with the same s; the other half of the linear part.

    Args:
        corrector: the correction; its number of steps is not used.
    """

    evaluations = 1

    def __init__(self, corrector: Langevin | None = None) -> None:
        self.corrector = corrector or Langevin()

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        slope = score(fields, t)
        if self.corrector.steps:
            fields = self.corrector.correct(process, slope, fields, t, t_next, generator=generator).fields
        middle = (t + t_next) / 2
        fields = linear_step(process, fields, t, middle, generator=generator).fields
        push = {
            name: over(sde.diffusion(t) ** 2 * (t - t_next), slope[name]) * slope[name] for name, sde in process.items()
        }
        return linear_step(process, process.move(fields, push), middle, t_next, generator=generator)


@final
class Heun(Solver):
    """The probability flow by Heun's method, order 2; the last step, to the data itself, is one of Euler."""

    evaluations = 2

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del generator, memory
        first = flow(process, score(fields, t), fields, t, t_next, 0.5)
        ahead = process.move(fields, first)
        if bool((t_next <= 0).any()):
            return Step(ahead, ahead)
        last = flow(process, score(ahead, t_next), ahead, t_next, 2 * t_next - t, 0.5)
        moved = process.move(fields, {name: (first[name] + last[name]) / 2 for name in first})
        return Step(moved, moved)


@final
class DPMSolverPlusPlus(Solver):
    """DPM-Solver++(2M): multistep in lambda = log(scale / std) on x_0-predictions (Lu et al. 2022, algorithm 2).

    For flat fields and scores that are told the time. With h the step in lambda and n the square of `noise`, the linear
    part is solved exactly: x goes to std_next / std e^(-n h) x + scale_next (1 - e^(-h - n h)) x_0 + std_next
    sqrt(1 - e^(-2 n h)) z. That is the probability flow (noise 0, order 2), the reverse process (noise 1,
    their SDE-DPM-Solver++), or one between. The last step, to the data itself, is the prediction.

    Args:
        noise: how much of the reverse process' noise, from 0 to 1.
        noise_scale: what that noise is multiplied by; less than 1 is colder than the reverse process.
    """

    evaluations = 1

    def __init__(self, noise: float = 0.0, noise_scale: float = 1.0) -> None:
        if not 0 <= noise <= 1:
            raise ConfigError(f"expected noise from 0 to 1 in DPM-Solver++, got {noise}")
        self.noise, self.noise_scale = noise, noise_scale

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        data = predicted(process, score(fields, t), fields, t)
        mean, width = {}, {}
        for name, sde in process.items():
            now, then = sde.marginal(t), sde.marginal(t_next)
            h = log_snr(sde, t_next) - log_snr(sde, t)
            guess = data[name]
            if memory is not None and bool((then.std > 0).all()):
                before, t_before = memory
                ratio = (log_snr(sde, t) - log_snr(sde, t_before)) / h
                share = over(1 / (2 * ratio), guess)
                guess = (1 + share) * guess - share * before[name]
            churn = self.noise**2 * h if self.noise else torch.zeros_like(h)
            kept = over(then.std / now.std * torch.exp(-churn), guess) * fields[name]
            mean[name] = kept - over(then.scale * torch.expm1(-h - churn), guess) * guess - fields[name]
            width[name] = self.noise_scale * then.std * (-torch.expm1(-2 * churn)).sqrt()
        if not self.noise:
            moved = process.move(fields, mean)
            return Step(moved, moved, (data, t))
        made = moved_by(process, fields, mean, process.noise(fields, generator=generator), width)
        return Step(made.fields, made.mean, (data, t))


@final
class Repeated(Solver):
    """A step, forward noise back to where it began, and the step again (Lugmayr et al. 2022, RePaint).

    Where known entries are kept, the others come to fit them: each repetition is a look at both together.

    Args:
        solver: the method of the step; it is never told what the step before remembered.
        times: how often each step is taken.
    """

    def __init__(self, solver: Solver, times: int = 4) -> None:
        if times < 1:
            raise ConfigError(f"expected a step to be taken at least once, got {times} times")
        self.solver, self.times = solver, times
        self.evaluations = times * solver.evaluations

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        made = self.solver.step(process, score, fields, t, t_next, generator=generator)
        for _ in range(self.times - 1):
            again = linear_step(process, made.fields, t_next, t, generator=generator).fields
            made = self.solver.step(process, score, again, t, t_next, generator=generator)
        return Step(made.fields, made.mean)


def flow(
    process: ProductSDE,
    slope: Fields,
    fields: Fields,
    t: Float[Tensor, " b"],
    t_next: Float[Tensor, " b"],
    share: float,
) -> dict[str, Tensor]:
    """(f - share g^2 s) dt for every field."""
    length = t_next - t
    return {
        name: over(length, slope[name])
        * (sde.drift(fields[name], t) - over(share * sde.diffusion(t) ** 2, slope[name]) * slope[name])
        for name, sde in process.items()
    }


def transition(
    sde: SDE, t: Float[Tensor, " b"], other: Float[Tensor, " b"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """r = scale(other) / scale(t), and the variance |std(other)^2 - (r std(t))^2| of the noise added on the way."""
    here, there = sde.marginal(t), sde.marginal(other)
    ratio = there.scale / here.scale
    return ratio, (there.std**2 - (ratio * here.std) ** 2).abs()


def linear_step(
    process: ProductSDE,
    fields: Fields,
    t: Float[Tensor, " b"],
    other: Float[Tensor, " b"],
    *,
    generator: torch.Generator | None = None,
) -> Step:
    """dx = f dt + g dw, exactly: the forward process to a later time, or in reverse to an earlier one."""
    mean, width = {}, {}
    for name, sde in process.items():
        ratio, variance = transition(sde, t, other)
        mean[name] = sde.shrink(fields[name], ratio)
        width[name] = variance.sqrt()
    return moved_by(process, fields, mean, process.noise(fields, generator=generator), width)


def predicted(process: ProductSDE, slope: Fields, fields: Fields, t: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """The x_0 of flat fields that a score expects: (x + std^2 s) / scale (Tweedie)."""
    made = {}
    for name, sde in process.items():
        scale, std = sde.marginal(t)
        made[name] = (fields[name] + over(std**2, slope[name]) * slope[name]) / over(scale, slope[name])
    return made


def log_snr(sde: SDE, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """lambda(t) = log(scale / std); infinite for the data itself."""
    scale, std = sde.marginal(t)
    return scale.log() - std.log()


def widths(
    process: ProductSDE, t: Float[Tensor, " b"], t_next: Float[Tensor, " b"], scale: float = 1.0
) -> dict[str, Tensor]:
    """scale g(t) sqrt(t - t_next) of every field."""
    return {name: scale * sde.diffusion(t) * (t - t_next).sqrt() for name, sde in process.items()}


def moved_by(process: ProductSDE, fields: Fields, mean: Fields, noise: Fields, width: Fields) -> Step:
    """A step along mean + width * noise, and the one along mean."""
    whole = {name: mean[name] + over(width[name], noise[name]) * noise[name] for name in mean}
    return Step(process.move(fields, whole), process.move(fields, mean))

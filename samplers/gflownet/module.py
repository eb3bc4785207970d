"""A conditional GFlowNet as a Lightning module: wiring, optimiser, logging, and nothing else."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import BudgetExhausted, ConfigError
from mogen.objective import Evaluation, Measure
from mogen.preference import PreferenceDistribution
from mogen.training import frozen_copy, update_average
from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories, padded, retrace, rollout
from samplers.gflownet.condition import Asking, Condition, InverseTemperature
from samplers.gflownet.loss import TrajectoryLoss
from samplers.gflownet.networks.walk import GridWalk
from samplers.gflownet.policy import LogPartition, PathLogProbs, Policy, PolicyActor, path_log_probs
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward


@dataclass(frozen=True)
class Batch:
    """Trajectories with what was asked for and what they are worth."""

    condition: Condition
    trajectories: Trajectories
    utility: Float[Tensor, "n m"]
    log_reward: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.log_reward)


class GFlowNetModule(lightning.LightningModule):
    """Roll out under the averaged policy, measure, and balance every trajectory against its own reward.

    Each step draws one request (a preference or a goal, and one beta) per trajectory, or per group of them where the
    loss compares trajectories. Replayed trajectories join under fresh requests or their own.
    """

    is_calibrated: Tensor

    def __init__(
        self,
        environment: Environment,
        policy: Policy,
        log_partition: LogPartition,
        reward: Reward,
        loss: TrajectoryLoss,
        preference: PreferenceDistribution,
        beta: InverseTemperature,
        replay: Replay | None,
        asking: Asking,
        *,
        m: int,
        bins: int,
        batch: int,
        updates: int,
        epsilon: float,
        average: float,
        learning_rate: float,
        partition_rate: float,
        weight_decay: float,
        decay_steps: float,
        clip: float,
        steps: int = 1,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.environment, self.policy, self.log_partition = environment, policy, log_partition
        self.sampling_policy = frozen_copy(policy) if average > 0 else policy
        self.walk = GridWalk(environment, self.sampling_policy) if compile else None
        self.reward, self.loss, self.preference, self.beta, self.replay = reward, loss, preference, beta, replay
        self.asking, self.steps = asking, steps
        self.m, self.bins, self.batch, self.updates = m, bins, batch, updates
        self.epsilon, self.average = epsilon, average
        self.rates, self.weight_decay, self.decay_steps = (learning_rate, partition_rate), weight_decay, decay_steps
        self.clip = clip
        self.measure: Measure | None = None
        self.generator: torch.Generator = torch.Generator()
        self.seconds: dict[str, float] = defaultdict(float)
        self.trajectories_seen = 0
        self.log_every = 1
        self.register_buffer("is_calibrated", torch.tensor(False))

    def conditions(self, n: int) -> Condition:
        """Fresh requests from the training distributions, every one for a whole group."""
        group = self.loss.group
        if n % group:
            raise ConfigError(f"expected a number of trajectories that {group} divides, got {n}")
        asked = self.asking.draw(self.preference, n // group, self.m, generator=self.generator)
        condition = Condition(asked, self.beta.sample(n // group, generator=self.generator))
        return condition if group == 1 else condition.repeated(group)

    def encoded(self, condition: Condition) -> Float[Tensor, "n d"]:
        """What the networks are told."""
        return self.asking.encode(condition, bins=self.bins, highest=self.beta.highest).to(self.device)

    def roll(
        self,
        condition: Condition,
        epsilon: float,
        begun: tuple[Tensor, Tensor] | None = None,
        *,
        remembers: bool = False,
    ) -> Trajectories:
        """Trajectories of the averaged policy."""
        told = self.encoded(condition)
        if self.walk is not None and self.walk.suits and begun is None:
            return self.walk.rollout(told, epsilon=epsilon, remembers=remembers, generator=self.generator)
        actor = PolicyActor(self.sampling_policy, told)
        return rollout(
            self.environment,
            actor,
            len(condition),
            epsilon=epsilon,
            begun=begun,
            ends_early=True,
            generator=self.generator,
            device=self.device,
        )

    @property
    def is_unchanged(self) -> bool:
        """True where learning looks at new trajectories only, by the very policy and requests that made them."""
        return self.average == 0 and self.replay is None and self.asking.hindsight <= 0

    def beginnings(self, condition: Condition) -> tuple[Tensor, Tensor] | None:
        """Actions of replayed trajectories, and how many of them each new one keeps (none of most)."""
        replay = self.replay
        if replay is None or not replay.is_ready or replay.rebuilt == 0:
            return None
        n = len(condition)
        old = replay.draw(condition, self.reward, sharpness=replay.rebuilt_sharpness, generator=self.generator)
        retold = old.retold(self.environment, generator=self.generator, device=self.device)
        kept = (torch.rand(n, generator=self.generator) * retold.is_step.sum(1).cpu()).long()
        is_rebuilt = torch.rand(n, generator=self.generator) < replay.rebuilt
        return retold.actions.to(self.device), torch.where(is_rebuilt, kept, 0).to(self.device)

    def training_step(self, batch: Any, batch_index: int) -> Tensor | None:
        del batch, batch_index
        measure = self.measure
        if measure is None:
            raise RuntimeError("GFlowNetModule.measure must be set before training")
        if self.global_step % self.updates and self.replay is not None and self.replay.is_ready:
            return self._recall(self.replay)
        condition = self.conditions(self.batch)
        started = time.perf_counter()
        trajectories = self.roll(condition, self.epsilon, self.beginnings(condition), remembers=self.is_unchanged)
        started = self._lap("rollout", started)
        candidates = self.environment.decode(trajectories.final)
        started = self._lap("decode", started)
        try:
            evaluation = measure(candidates, preference=condition.preference)
        except BudgetExhausted:
            self.trainer.should_stop = True
            return None
        self._lap("measure", started)
        self.trajectories_seen += len(candidates)
        return self._balance(condition, trajectories, evaluation)

    def progress(self) -> float:
        """The share of training that is done: of the steps, or of the budget where that is more."""
        asked, budget = getattr(self.measure, "asked", 0), getattr(self.measure, "budget", 0)
        return max(self.global_step / self.steps, asked / budget if budget else 0.0)

    def _recall(self, replay: Replay) -> Tensor:
        """A step on old trajectories alone: nothing is asked."""
        started = time.perf_counter()
        batch = self.remembered(replay, max(self.loss.group, int(replay.share * self.batch)))
        _, _, loss = self._loss(batch)
        self._started_update = self._lap("loss", started)
        if self._is_logging():
            self.log("replay_loss", loss.detach())
        return loss

    def remembered(self, replay: Replay, n: int) -> Batch:
        """Replayed trajectories, each by a new path, under fresh requests, their own, or those they answer."""
        n = n // self.loss.group * self.loss.group
        if replay.condition == "own":
            old = replay.draw_own(n, self.reward, generator=self.generator)
            condition = old.condition
        else:
            condition = self.conditions(n)
            old = replay.draw(condition, self.reward, generator=self.generator)
        condition = self.asking.relabelled(condition, old.utility, replay.hindsight, generator=self.generator)
        everything = torch.ones(len(condition), dtype=torch.bool)
        log_reward = self.reward.of_utility(old.utility, everything, condition)
        retold = old.retold(self.environment, generator=self.generator, device=self.device)
        return Batch(condition, retold, old.utility, log_reward.to(self.device))

    def _loss(self, batch: Batch) -> tuple[PathLogProbs, Tensor, Tensor]:
        """Paths, log Z and the loss of a batch."""
        told = self.encoded(batch.condition)
        path = path_log_probs(self.environment, self.policy, batch.trajectories, told, self.loss.needs)
        log_partition = self.log_partition(told)
        if not self.is_calibrated:
            # Z = E[R P_B / P_F] over the policy's own paths: the first batch's estimate, so that log Z starts near
            with torch.no_grad():
                gap = batch.log_reward + path.log_backward - path.log_forward - log_partition
                self.log_partition.offset.add_(gap.logsumexp(0) - math.log(len(gap)))
                self.is_calibrated.fill_(True)
            log_partition = self.log_partition(told)
        if self.loss.is_ordering:
            return path, log_partition, self.loss(path, log_partition, batch.log_reward, utility=batch.utility)
        return path, log_partition, self.loss(path, log_partition, batch.log_reward)

    def _balance(self, condition: Condition, trajectories: Trajectories, evaluation: Evaluation) -> Tensor:
        started = time.perf_counter()
        worth = evaluation.utility.float().where(evaluation.is_valid[:, None], 0.0)
        self.asking.learn(condition, worth, self.progress())
        told = self.asking.relabelled(condition, worth, self.asking.hindsight, generator=self.generator)
        new = batch = Batch(told, trajectories, worth, self.reward(evaluation, told).to(self.device))
        replay = self.replay
        if replay is not None:
            if replay.is_ready:
                batch = self._joined(new, self.remembered(replay, int(replay.share * self.batch)))
            replay.add(trajectories, worth, evaluation.is_valid, condition, self.environment)
        _, _, loss = self._loss(batch)
        self._lap("loss", started)
        self._started_update = time.perf_counter()
        if not self._is_logging():
            return loss
        self.log_dict(
            {
                "loss": loss.detach(),
                "log_reward": new.log_reward.mean(),
                "utility": evaluation.utility.mean().float(),
                "valid": evaluation.is_valid.float().mean(),
                "log_partition": self.log_partition.offset.detach(),
            }
        )
        return loss

    def _is_logging(self) -> bool:
        """True in the steps that a logger writes down (collecting figures costs as much as a small network)."""
        trainer = self._trainer  # `self.trainer` raises where there is none
        return trainer is not None and bool(trainer.loggers) and (self.global_step + 1) % self.log_every == 0

    def _joined(self, new: Batch, old: Batch) -> Batch:
        """Two batches as one, the shorter paths padded."""
        first, second = self._padded(new.trajectories, old.trajectories), old.trajectories
        return Batch(
            Condition.concatenate([new.condition, old.condition]),
            joined(first, second),
            torch.cat([new.utility, old.utility]),
            torch.cat([new.log_reward, old.log_reward]),
        )

    def _padded(self, short: Trajectories, whole: Trajectories) -> Trajectories:
        if short.actions.shape[1] == whole.actions.shape[1]:
            return short
        actions = padded(self.environment, short.actions, short.final)
        return retrace(self.environment, actions, short.log_symmetry)

    def on_fit_start(self) -> None:
        self._move_tables()

    def on_fit_end(self) -> None:
        self._move_tables("cpu")

    def _move_tables(self, device: str | None = None) -> None:
        """Environments that keep tables of their own take them along."""
        move = getattr(self.environment, "to", None)
        if move is not None:
            move(device or self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        if self.average > 0:
            update_average(self.sampling_policy, self.policy, self.average)
        if hasattr(self, "_started_update"):
            self._lap("update", self._started_update)
            del self._started_update

    def _lap(self, stage: str, started: float) -> float:
        now = time.perf_counter()
        self.seconds[stage] += now - started
        return now

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": self.policy.parameters(), "lr": self.rates[0]},
            {"params": self.log_partition.parameters(), "lr": self.rates[1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam(groups, lr=self.rates[0], weight_decay=self.weight_decay, eps=1e-8, fused=True)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 2 ** (-step / self.decay_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mogen"] = {
            "generator": self.generator.get_state(),
            "asked": int(getattr(self.measure, "asked", 0)),
            "replay": self.replay.state() if self.replay is not None else {},
            "asking": self.asking.state(),
            "trajectories_seen": self.trajectories_seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["mogen"]
        self.generator.set_state(kept["generator"])
        self.trajectories_seen = kept["trajectories_seen"]
        if self.replay is not None:
            self.replay.restore(kept["replay"])
        if kept.get("asking"):
            self.asking.restore(kept["asking"])
        truncate = getattr(self.measure, "truncate", None)
        if truncate is not None:
            truncate(kept["asked"])


def joined(first: Trajectories, second: Trajectories) -> Trajectories:
    """Two batches of trajectories of one length as one."""
    states = [
        type(a)(**{name: torch.cat([value, vars(b)[name]]) for name, value in vars(a).items()})
        for a, b in zip(first.states, second.states, strict=True)
    ]
    return Trajectories(
        actions=torch.cat([first.actions, second.actions]),
        allowed=tuple(torch.cat(pair) for pair in zip(first.allowed, second.allowed, strict=True)),
        states=states,
        log_backward=torch.cat([first.log_backward, second.log_backward]),
        log_symmetry=torch.cat([first.log_symmetry, second.log_symmetry]),
        moves=torch.cat([first.is_step, second.is_step]),
    )

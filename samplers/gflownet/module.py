"""Conditional trajectory balance as a Lightning module: wiring, optimiser, logging, and nothing else."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import BudgetExhausted
from mogen.objective import Evaluation, Measure
from mogen.preference import PreferenceDistribution
from mogen.training import frozen_copy, update_average
from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories, rollout
from samplers.gflownet.condition import Condition, InverseTemperature, encode
from samplers.gflownet.loss import TrajectoryLoss
from samplers.gflownet.policy import LogPartition, Policy, PolicyActor, path_log_probs
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward


class GFlowNetModule(lightning.LightningModule):
    """Roll out under the averaged policy, measure, and balance every trajectory against its own reward.

    Each step draws one preference and one beta per trajectory. Replayed trajectories join under fresh preferences.
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
    ) -> None:
        super().__init__()
        self.environment, self.policy, self.log_partition = environment, policy, log_partition
        self.sampling_policy = frozen_copy(policy)
        self.reward, self.loss, self.preference, self.beta, self.replay = reward, loss, preference, beta, replay
        self.m, self.bins, self.batch, self.updates = m, bins, batch, updates
        self.epsilon, self.average = epsilon, average
        self.rates, self.weight_decay, self.decay_steps = (learning_rate, partition_rate), weight_decay, decay_steps
        self.clip = clip
        self.measure: Measure | None = None
        self.generator: torch.Generator = torch.Generator()
        self.seconds: dict[str, float] = defaultdict(float)
        self.trajectories_seen = 0
        self.register_buffer("is_calibrated", torch.tensor(False))

    def conditions(self, n: int) -> Condition:
        """Fresh requests from the training distributions."""
        preference = self.preference.sample(n, self.m, generator=self.generator).float()
        return Condition(preference, self.beta.sample(n, generator=self.generator))

    def encoded(self, condition: Condition) -> Float[Tensor, "n d"]:
        """What the networks are told."""
        return encode(condition, bins=self.bins, highest=self.beta.highest).to(self.device)

    def roll(self, condition: Condition, epsilon: float, begun: tuple[Tensor, Tensor] | None = None) -> Trajectories:
        """Trajectories of the averaged policy."""
        actor = PolicyActor(self.sampling_policy, self.encoded(condition))
        return rollout(
            self.environment,
            actor,
            len(condition),
            epsilon=epsilon,
            begun=begun,
            generator=self.generator,
            device=self.device,
        )

    def beginnings(self, condition: Condition) -> tuple[Tensor, Tensor] | None:
        """Actions of replayed trajectories, and how many of them each new one keeps (none of most)."""
        replay = self.replay
        if replay is None or not replay.is_ready or replay.rebuilt == 0:
            return None
        n = len(condition)
        old = replay.draw(condition, self.reward, sharpness=replay.rebuilt_sharpness, generator=self.generator)
        retold = old.retold(self.environment, generator=self.generator)
        length = torch.stack([~self.environment.is_terminal(state) for state in retold.states[:-1]]).sum(0)
        kept = (torch.rand(n, generator=self.generator) * length).long()
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
        trajectories = self.roll(condition, self.epsilon, self.beginnings(condition))
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

    def _recall(self, replay: Replay) -> Tensor:
        """A step on old trajectories alone: nothing is asked."""
        started = time.perf_counter()
        condition = self.conditions(max(1, int(replay.share * self.batch)))
        trajectories, log_reward = self.remembered(replay, condition)
        told = self.encoded(condition)
        path = path_log_probs(self.environment, self.policy, trajectories, told)
        loss = self.loss(path, self.log_partition(told), log_reward)
        self._started_update = self._lap("loss", started)
        self.log("replay_loss", loss.detach())
        return loss

    def remembered(self, replay: Replay, condition: Condition) -> tuple[Trajectories, Tensor]:
        """One replayed trajectory per condition, by a new path, and its log R."""
        old = replay.draw(condition, self.reward, generator=self.generator)
        everything = torch.ones(len(condition), dtype=torch.bool)
        log_reward = self.reward.of_utility(old.utility, everything, condition)
        return old.retold(self.environment, generator=self.generator), log_reward

    def _balance(self, condition: Condition, trajectories: Trajectories, evaluation: Evaluation) -> Tensor:
        started = time.perf_counter()
        log_reward = self.reward(evaluation, condition)
        new = trajectories
        if self.replay is not None:
            if self.replay.is_ready:
                again = self.conditions(int(self.replay.share * self.batch))
                old, old_reward = self.remembered(self.replay, again)
                trajectories, log_reward = _joined(trajectories, old), torch.cat([log_reward, old_reward])
                condition = Condition.concatenate([condition, again])
            self.replay.add(new, evaluation.utility, evaluation.is_valid)
        told = self.encoded(condition)
        path = path_log_probs(self.environment, self.policy, trajectories, told)
        if not self.is_calibrated:
            # Z = E[R P_B / P_F] over the policy's own paths: the first batch's estimate, so that log Z starts near
            with torch.no_grad():
                gap = log_reward + path.log_backward - path.log_forward - self.log_partition(told)
                self.log_partition.offset.add_(gap.logsumexp(0) - math.log(len(gap)))
                self.is_calibrated.fill_(True)
        loss = self.loss(path, self.log_partition(told), log_reward)
        self._lap("loss", started)
        self._started_update = time.perf_counter()
        self.log_dict(
            {
                "loss": loss.detach(),
                "log_reward": log_reward[: self.batch].mean(),
                "utility": evaluation.utility.mean().float(),
                "valid": evaluation.is_valid.float().mean(),
                "log_partition": self.log_partition.offset.detach(),
            }
        )
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
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
        optimizer = torch.optim.Adam(groups, lr=self.rates[0], weight_decay=self.weight_decay, eps=1e-8)
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 2 ** (-step / self.decay_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mogen"] = {
            "generator": self.generator.get_state(),
            "asked": int(getattr(self.measure, "asked", 0)),
            "replay": self.replay.state() if self.replay is not None else {},
            "trajectories_seen": self.trajectories_seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["mogen"]
        self.generator.set_state(kept["generator"])
        self.trajectories_seen = kept["trajectories_seen"]
        if self.replay is not None:
            self.replay.restore(kept["replay"])
        truncate = getattr(self.measure, "truncate", None)
        if truncate is not None:
            truncate(kept["asked"])


def _joined(first: Trajectories, second: Trajectories) -> Trajectories:
    """Two batches of trajectories as one; only what a loss or a policy reads of states is kept."""
    states = [
        type(a)(*(torch.cat([getattr(a, name), getattr(b, name)]) for name in a.__dataclass_fields__))
        for a, b in zip(first.states, second.states, strict=True)
    ]
    return Trajectories(
        actions=torch.cat([first.actions, second.actions]),
        allowed=tuple(torch.cat(pair) for pair in zip(first.allowed, second.allowed, strict=True)),
        states=states,
        log_backward=torch.cat([first.log_backward, second.log_backward]),
        log_symmetry=torch.cat([first.log_symmetry, second.log_symmetry]),
    )

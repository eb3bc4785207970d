"""Known sequences with a few of their tokens replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.sequence import PROTEIN, known_alphabet


@dataclass(frozen=True)
class EditState:
    """n parents with edits; l is the length of the longest parent."""

    parent: Int[Tensor, " *n"]
    """index of the parent, -1 before it is chosen"""
    tokens: Int[Tensor, "*n l"]
    """index into the alphabet, -1 after the end"""
    is_edited: Bool[Tensor, "*n l"]
    is_stopped: Bool[Tensor, " *n"]


@final
class SequenceEdit(Environment[EditState, TokenSequence]):
    """Substitutions on a parent sequence, at most one a position (MOGFN-AL, Jain et al. 2023).

    An action is (where, what): `where` is 0 for stop, or 1 + position; `what` is a token other than the parent's. With
    several parents the first action chooses one: `where` is 1 + l + its index. Parents differ in length as they like;
    an edit keeps the length. The backward policy is uniform over the edited positions: which token comes back is known.
    A sequence that can be reached from k parents has k terminal states, which `log_symmetry` evens out. `adopt` puts
    other parents into the same slots, so that a policy can be kept while its parents improve, round by round; then it
    must not learn from old trajectories (no replay), which began from other parents.

    Args:
        parents: sequences to start from.
        alphabet: one character per token.
        max_edits: most positions edited.
        min_edits: fewest positions edited before stopping is allowed.
        positions: the positions (from 0) that may be edited; None for all.
        slots: most parents there may ever be; as many as there are if None.
        length: of the longest parent there may ever be; of the longest there is if None.
    """

    def __init__(
        self,
        parents: Sequence[str],
        alphabet: str = PROTEIN,
        max_edits: int = 6,
        min_edits: int = 1,
        positions: Sequence[int] | None = None,
        slots: int | None = None,
        length: int | None = None,
    ) -> None:
        self.alphabet = known_alphabet(alphabet)
        if isinstance(parents, str) or not parents:
            raise ConfigError(f"expected a list of different parent sequences to edit, got {parents!r}")
        self.length = max(len(parent) for parent in parents) if length is None else length
        self.positions = None if positions is None else sorted({int(position) for position in positions})
        allowed = list(range(self.length)) if self.positions is None else self.positions
        if not allowed or not 0 <= allowed[0] <= allowed[-1] < self.length:
            raise ConfigError(f"expected positions to edit from 0 to {self.length - 1}, got {positions}")
        if len(alphabet) < 2 or not 0 <= min_edits <= max_edits or max_edits < 1:
            raise ConfigError(f"expected 0 <= min_edits <= max_edits and max_edits >= 1, got {min_edits}, {max_edits}")
        self.max_edits, self.min_edits = max_edits, min_edits
        self.slots = len(parents) if slots is None else slots
        self.has_choice = self.slots > 1
        self.sizes = (1 + self.length + (self.slots if self.has_choice else 0), len(alphabet))
        self.max_steps = min(max_edits, len(allowed)) + 1 + self.has_choice
        self.adopt(parents)

    def adopt(self, parents: Sequence[str]) -> None:
        """Takes other parents: different sequences, no more than there are slots, none longer than the longest was."""
        if not 1 <= len(parents) <= self.slots or len(set(parents)) < len(parents):
            raise ConfigError(f"expected 1 to {self.slots} different parent sequences to edit, got {list(parents)!r}")
        known = {token: index for index, token in enumerate(self.alphabet)}
        for parent in parents:
            if not parent or not set(parent) <= set(known) or len(parent) > self.length:
                raise ConfigError(
                    f"expected parent sequences of at most {self.length} tokens over the alphabet {self.alphabet!r}, "
                    f"got {parent!r}"
                )
        self.parents = [*parents]
        self._tokens = torch.full((self.slots, self.length), -1)
        for row, parent in enumerate(parents):
            self._tokens[row, : len(parent)] = torch.tensor([known[token] for token in parent])
        allowed = torch.arange(self.length) if self.positions is None else torch.tensor(self.positions)
        self._editable = (self._tokens >= 0) & torch.isin(torch.arange(self.length), allowed)
        fewest = int(self._editable[: len(parents)].sum(-1).min())
        if self.min_edits > fewest:
            raise ConfigError(
                f"expected min_edits at most the {fewest} positions that can be edited in every parent, "
                f"got {self.min_edits}"
            )

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> EditState:
        first = -1 if self.has_choice else 0
        return EditState(
            parent=torch.full((n,), first, device=device),
            tokens=(self._tokens[:1] if first == 0 else torch.full((1, self.length), -1)).to(device).expand(n, -1),
            is_edited=torch.zeros(n, self.length, dtype=torch.bool, device=device),
            is_stopped=torch.zeros(n, dtype=torch.bool, device=device),
        )

    def is_terminal(self, state: EditState) -> Bool[Tensor, " *n"]:
        return state.is_stopped

    def _of_parent(self, table: Tensor, state: EditState) -> Tensor:
        return table.to(state.parent.device)[state.parent.clamp(min=0)]

    def allowed(self, state: EditState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        return self._where(state) if chosen.shape[-1] == 0 else self._what(state, chosen[..., 0])

    def _where(self, state: EditState) -> Bool[Tensor, "n a"]:
        edits = state.is_edited.sum(-1)
        begun = state.parent >= 0
        going = begun & ~state.is_stopped
        stop = state.is_stopped | (going & (edits >= self.min_edits))
        free = self._of_parent(self._editable, state) & ~state.is_edited & (going & (edits < self.max_edits))[..., None]
        parts = [stop[..., None], free]
        if self.has_choice:
            is_taken = torch.arange(self.slots, device=begun.device) < len(self.parents)
            parts.append((~begun)[..., None] & is_taken)
        return torch.cat(parts, -1)

    def _what(self, state: EditState, where: Int[Tensor, " n"]) -> Bool[Tensor, "n a"]:
        edits = (where >= 1) & (where <= self.length)
        position = (where - 1).clamp(min=0, max=self.length - 1)
        kept = self._of_parent(self._tokens, state).gather(-1, position[..., None])
        options = torch.arange(len(self.alphabet), device=where.device)
        return torch.where(edits[..., None], options != kept, options == 0)

    def step(self, state: EditState, action: Int[Tensor, "n 2"]) -> EditState:
        where, what = action.unbind(-1)
        places = torch.arange(self.length, device=action.device)
        here = places == where[:, None] - 1
        chooses = where > self.length
        choice = torch.where(chooses, where - 1 - self.length, state.parent)
        begun = self._tokens.to(action.device)[choice.clamp(min=0)]
        tokens = torch.where(chooses[:, None], begun, torch.where(here, what[:, None], state.tokens))
        return EditState(choice, tokens, state.is_edited | here, state.is_stopped | (where == 0))

    def backward_allowed(self, state: EditState) -> Bool[Tensor, "n a"]:
        """Undo the edit of a position, take back the stop, or (with several parents) the choice of an unedited one."""
        going = ~state.is_stopped[..., None]
        parts = [state.is_edited & going, state.is_stopped[..., None]]
        if self.has_choice:
            parts.append(going & (state.parent >= 0)[..., None] & ~state.is_edited.any(-1, keepdim=True))
        return torch.cat(parts, -1)

    def backward_step(self, state: EditState, action: Int[Tensor, " n"]) -> EditState:
        places = torch.arange(self.length, device=action.device)
        here = places == action[:, None]
        unchosen = action == self.length + 1
        tokens = torch.where(here, self._of_parent(self._tokens, state), state.tokens)
        return EditState(
            parent=torch.where(unchosen, -1, state.parent),
            tokens=torch.where(unchosen[:, None], -1, tokens),
            is_edited=state.is_edited & ~here,
            is_stopped=state.is_stopped & (action != self.length),
        )

    def reverse(self, state: EditState, action: Int[Tensor, "n 2"], next_state: EditState) -> Int[Tensor, " n"]:
        where = action[:, 0]
        undo = torch.where(where == 0, self.length, torch.where(where > self.length, self.length + 1, where - 1))
        return torch.where(state.is_stopped, -1, undo)

    def log_symmetry(self, state: EditState) -> Float[Tensor, " n"]:
        """-log(number of parents the sequence can be reached from)."""
        if not self.has_choice:
            return torch.zeros(len(state.parent), dtype=torch.float64)
        tokens = state.tokens.cpu()
        reached = torch.zeros(len(tokens), dtype=torch.float64)
        for parent, editable in zip(self._tokens[: len(self.parents)], self._editable, strict=False):
            differs = tokens != parent
            beyond = (differs & ~editable) | ((tokens < 0) != (parent < 0))
            count = differs.sum(-1)
            reached += ~beyond.any(-1) & (count >= self.min_edits) & (count <= self.max_edits)
        return -reached.clamp(min=1).log()

    def unfold(self, state: EditState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l 2"]:
        """The edits in random order."""
        n, device = len(state.parent), state.parent.device
        edits = state.is_edited.sum(-1)
        noise = torch.rand(n, self.length, generator=generator, device=device)
        order = torch.where(state.is_edited, noise, 2.0).argsort(-1)
        most = self.max_steps - 1 - self.has_choice
        order = order[:, :most]
        real = torch.arange(most, device=device) < edits[:, None]
        where, what = torch.where(real, order + 1, 0), torch.where(real, state.tokens.gather(1, order), 0)
        path = torch.nn.functional.pad(torch.stack([where, what], -1), (0, 0, 0, 1))
        if not self.has_choice:
            return path
        first = torch.stack([state.parent + 1 + self.length, torch.zeros_like(state.parent)], -1)
        return torch.cat([first[:, None], path], 1)

    def features(self, state: EditState) -> Float[Tensor, "n d"]:
        """One-hot token of every place, which places are edited, whether it is finished."""
        kinds = torch.nn.functional.one_hot(state.tokens + 1, len(self.alphabet) + 1).flatten(-2).float()
        parent = torch.nn.functional.one_hot(state.parent + 1, self.slots + 1).float()
        return torch.cat([kinds, state.is_edited.float(), parent, state.is_stopped[..., None].float()], -1)

    def decode(self, state: EditState) -> list[TokenSequence]:
        rows = state.tokens.tolist()
        return [TokenSequence("".join([self.alphabet[token] for token in row if token >= 0])) for row in rows]

    def describe(self) -> dict[str, Any]:
        """What a saved model needs: the arguments."""
        sizes = {
            "parents": self.parents,
            "alphabet": self.alphabet,
            "max_edits": self.max_edits,
            "min_edits": self.min_edits,
            "positions": self.positions,
            "slots": self.slots,
            "length": self.length,
        }
        return {"class_path": "samplers.environment.edit.SequenceEdit", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Nothing beside the arguments."""

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> SequenceEdit:
        """The environment of a saved model."""
        return cls(**sizes)

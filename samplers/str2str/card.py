"""A model card: what a denoiser of backbones is, what it was trained on, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMITS = (
    "It knows backbones alone: no sequence, no side chains, no ligands. Conformations are ways near the input at the "
    "stated noise time, and their numbers say nothing of populations or free energies. It has seen single, compact "
    "chains of the lengths above; far longer ones are beyond what it learned."
)


def card_text(facts: Mapping[str, Any], weights: int) -> str:
    """The card as Markdown, from what is saved beside the weights."""
    protocol, card = facts["protocol"], dict(facts.get("card") or {})
    card.pop("held_out", None)
    seen = "with" if protocol["self_conditioning"] else "without"
    starts = ", ".join(f"{start:g}" for start in protocol["starts"])
    lines = [
        "# A denoiser of protein backbones (Str2Str)",
        "",
        "It draws conformations of a given chain: `mogen sample FOLDER --input FILE.pdb -n 100 --out DIR`, or `model: "
        "FOLDER` of the sampler `str2str` in `mogen run`.",
        "",
        f"- network: {facts['size']}, {weights:,} weights",
        f"- sampled from noise times T = {starts} by {protocol['method']} in {protocol['steps']} steps, noise scale "
        f"{protocol['noise_scale']:g}, {seen} self-conditioning, repair "
        f"{protocol['repair']:g}",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in card.items()),
        "",
        LIMITS,
    ]
    return "\n".join(lines) + "\n"

"""A model card: what a graph diffusion model is, what it was trained on, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMITS = (
    "Graphs are heavy atoms and kekulised bonds: no stereochemistry, no isotopes, and of charges only the +1 an N or O "
    "takes with one bond too many. Molecules resemble the training data; nothing is known of their safety or synthesis."
)


def card_text(facts: Mapping[str, Any], weights: int) -> str:
    """The card as Markdown, from what is saved beside the weights."""
    model, card = facts["model"], dict(facts.get("card") or {})
    kind = model["kind"]
    what = f"molecules of {', '.join(kind['types'])}" if kind["types"] else "plain graphs"
    lines = [
        "# A score-based model of graphs (GDSS)",
        "",
        f"It draws {what} of up to {kind['max_nodes']} nodes: `mogen sample FOLDER -n 10`, or `model: FOLDER` of the "
        "sampler `gdss` in `mogen run`.",
        "",
        f"- network: {short(model['network'])}, {weights:,} weights, says {model['prediction']}",
        f"- processes: nodes {short(model['sde_x'])}, edges {short(model['sde_adj'])}",
        f"- sampled by {short(facts['solver'])} in {facts['steps']} steps{spaced(model.get('spacing', 1.0))}",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in card.items() if value is not None),
    ]
    if kind["types"]:
        lines += ["", LIMITS]
    return "\n".join(lines) + "\n"


def spaced(spacing: Any) -> str:
    """How the times of the steps are spaced, in words; nothing where they are evenly spaced."""
    if isinstance(spacing, list):
        return f", most of them at quantiles of Beta({spacing[0]:g}, {spacing[1]:g})"
    return "" if spacing == 1 else f", at evenly spaced numbers to the power {spacing:g}"


def short(part: Any) -> str:
    """A part by the name of its class and its arguments."""
    if not isinstance(part, Mapping):
        return str(part)
    arguments = ", ".join(f"{name}={short(value)}" for name, value in part.get("init_args", {}).items())
    return f"{str(part.get('class_path', '')).rpartition('.')[2]}({arguments})"

"""One table and one figure out of many files of active_learning.py.

    python experiments/benchmarks/active_learning_table.py DIR [--out table.md] [--figure curves.png]

Differences to a method are paired by seed; a 95 % t-interval over at least 5 seeds that excludes zero counts as above
or below. The figure shows hypervolume against measured candidates, mean and range over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mogen.metric.comparison import ENOUGH, paired

Results = dict[str, dict[str, dict[int, dict[str, Any]]]]
"""task -> method -> seed -> content of a file"""


def read(folder: Path) -> Results:
    """All results in a folder; raises `ValueError` where two of one task differ in oracle, budget or start."""
    found: Results = defaultdict(lambda: defaultdict(dict))
    protocol: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or not {"task", "method", "seed", "curve"} <= set(content):
            continue
        task = content["task"] + (" (reduced)" if content.get("reduced") else "")
        terms = (content["oracle"], content["budget"], content["start"], content["batch"], content.get("triple"))
        if protocol.setdefault(task, terms) != terms:
            raise ValueError(f"{path} has another oracle, budget or start than the other results of {task}")
        found[task][content["method"]][content["seed"]] = content
    return found


def verdict(ours: Mapping[int, Mapping[str, Any]], theirs: Mapping[int, Mapping[str, Any]], key: str) -> str:
    """Ours minus theirs over the seeds both have."""
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return "no common seed"
    apart = paired([ours[seed][key] for seed in shared], [theirs[seed][key] for seed in shared])
    if len(shared) < ENOUGH:
        return f"{apart.mean:+.4f} ({len(shared)} seeds: too few)"
    return f"{apart.mean:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}] {apart.verdict('above', 'below')}"


def table(results: Results) -> str:
    """Markdown: per task and method the area, the final value, ratios, and differences to every other method."""
    lines = []
    for task, methods in sorted(results.items()):
        one = next(iter(next(iter(methods.values())).values()))
        exact = "unknown" if one.get("exact") is None else f"{one['exact']:.6f}"
        lines += [
            f"## {task}",
            "",
            f"budget {one['budget']} (start {one['start']}, batches of {one['batch']}), reference point "
            f"{one['reference_point']}, oracle {one['oracle']}, exact hypervolume {exact}",
            "",
            "| method | seeds | area | final | ratio | gap closed | seconds |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, seeds in sorted(methods.items()):
            cells = [_mean(seeds, key) for key in ("auc", "hypervolume", "ratio", "gap_closed", "seconds")]
            lines.append(f"| {name} | {len(seeds)} | {' | '.join(cells)} |")
        lines += [
            "",
            "| difference of areas | " + " | ".join(sorted(methods)) + " |",
            "|---" * (len(methods) + 1) + "|",
        ]
        for name in sorted(methods):
            row = ["" if name == other else verdict(methods[name], methods[other], "auc") for other in sorted(methods)]
            lines.append(f"| {name} minus | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def _mean(seeds: Mapping[int, Mapping[str, Any]], key: str) -> str:
    values = [item[key] for item in seeds.values() if item.get(key) is not None]
    if not values:
        return "-"
    spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def draw(results: Results, path: Path) -> None:
    """One panel per task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(4.5 * len(results), 3.6), squeeze=False)
    for axis, (task, methods) in zip(axes[0], sorted(results.items()), strict=True):
        for name, seeds in sorted(methods.items()):
            curves = [item["curve"] for item in seeds.values()]
            length = min(len(curve) for curve in curves)
            asked = [point["asked"] for point in curves[0][:length]]
            rows = [[curve[place]["hypervolume"] for curve in curves] for place in range(length)]
            axis.plot(asked, [statistics.fmean(row) for row in rows], label=name)
            axis.fill_between(asked, [min(row) for row in rows], [max(row) for row in rows], alpha=0.15)
        axis.set(title=task, xlabel="measured candidates", ylabel="hypervolume")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--figure", type=Path, default=None)
    given = parser.parse_args(argv)
    try:
        results = read(given.folder)
    except (OSError, ValueError) as error:
        print(f"active_learning_table: {error}", file=sys.stderr)
        return 2
    if not results:
        print(
            f"active_learning_table: expected results of active_learning.py, got none in {given.folder}",
            file=sys.stderr,
        )
        return 2
    text = table(results)
    if given.out is not None:
        given.out.write_text(text + "\n")
    print(text)
    if given.figure is not None:
        draw(results, given.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())

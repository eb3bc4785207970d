"""mogen tell: what came of measurements."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mogen import plugins
from mogen.errors import DataError


def tell(run: str, results: str, *, again: bool = False) -> None:
    """Tell a run what was measured, from a CSV, SDF or Parquet file; in any order, in parts, batches mixed.

    Empty cells are missing and may be told later; `failed` in a cell or in the column `status` marks a failure; a
    candidate told again is a replicate; columns NAME_sd hold known standard deviations of NAME. A file with a wrong
    row changes nothing; wrong rows are named by line.

    Args:
        run: the folder of a run with a loop whose values come from people
        results: the file
        again: a file that was told already holds new measurements of the same values: replicates
    """
    from mogen.cli.loop import check_is_waiting, waiting
    from mogen.cli.run_command import of_seed
    from mogen.loop import read_measurements

    folder = Path(run)
    config = check_is_waiting(folder)
    plugins.check_rooms()
    with waiting(folder, of_seed(config, config["seed"])) as opened:
        settings = opened.builder.settings
        found = read_measurements(results, opened.objectives, kind=settings.kind)
        rows = rows_of(opened, found, *once(opened, Path(results), again))
        told = [item for item in found.candidates if item.key in {row.key for row in rows}]
        loop = opened.loop()
        unasked = len({item.key for item in told if item.key not in loop.pending and item.key not in loop.entries})
        summary = learn(opened, loop, found, [*rows, *opened.computed(unique(told))])
        opened.state["files"].append(opened.state.pop("telling")["sha256"])
        opened.folder.save()
        write_figures(opened, config)
    print(summary)
    if unasked:
        print(f"{unasked} of them were not asked for, and are learned from as well", file=sys.stderr)


def unique(candidates: list[Any]) -> list[Any]:
    """Each candidate once."""
    return list({item.key: item for item in candidates}.values())


def once(opened: Any, path: Path, again: bool) -> tuple[str, dict[str, int]]:
    """A file's hash, and the replicates its values go under where telling it was begun and did not end.

    Raises `DataError` where the very same file was told before, unless it is to be.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = opened.state.setdefault("files", [])
    if digest in known and not again:
        raise DataError(f"expected new results, got {path}, which was told already: --again if these are replicates")
    begun = opened.state.get("telling") or {}
    return digest, begun["first"] if begun.get("sha256") == digest else {}


def rows_of(opened: Any, found: Any, digest: str, begun: Mapping[str, int]) -> list[Any]:
    """What a file says as rows for the ledger, each value under the next free replicate, which is noted first."""
    from mogen.objective import Status
    from mogen.oracle import Row

    rows, used, first = [], dict[tuple[str, str], int](), dict[str, int]()
    for place, candidate in enumerate(found.candidates):
        for i, item in enumerate(opened.objectives.objectives):
            state = Status(int(found.evaluation.status[place, i]))
            if state == Status.MISSING:
                continue
            slot = (candidate.key, item.identity)
            if slot not in used:
                name = "\t".join(slot)
                used[slot] = first[name] = begun[name] if name in begun else first_free(opened.ledger, *slot)
            value = float(found.evaluation.raw[place, i])
            rows.append(Row(candidate.key, item.identity, value, state, account="mogen", replicate=used[slot]))
            used[slot] += 1
    if not rows:
        raise DataError("expected at least one value or failure to be told, got only empty cells")
    opened.note_noise(found, {tuple(name.split("\t")): number for name, number in first.items()})
    opened.state["telling"] = {"sha256": digest, "first": first}
    opened.folder.save()
    return rows


def first_free(ledger: Any, key: str, identity: str) -> int:
    """The first replicate that has no value; a failed one may be measured again."""
    from mogen.objective import Status

    number = 0
    while ledger.get([key], identity, number).get(key, (0.0, Status.FAILED))[1] == Status.MEASURED:
        number += 1
    return number


def learn(opened: Any, loop: Any, found: Any, rows: list[Any]) -> str:
    """Holds the belief against what is new, stores it, and says what it came to."""
    from mogen.loop.active import Round, describe
    from mogen.loop.runner import row_of
    from mogen.pareto import is_non_dominated

    before = loop.hypervolume()
    foreseen = loop.foreseen(unique(found.candidates), first_of(found))
    opened.store(found.candidates, rows)
    after = opened.loop()
    utility = after.observed.utility[after.observed.is_valid]
    front = int(is_non_dominated(utility).sum()) if len(utility) else 0
    volume = after.hypervolume()
    result = Round(len(opened.state["rows"]) + 1, len(after.entries), volume, front, volume - before, foreseen)
    opened.store([], [], row_of(result.number, result, opened.objectives.names, float("nan")))
    lines = [f"told: {len(found)} rows; {len(after.entries)} candidates known, {len(after.pending)} pending"]
    if foreseen is not None:
        lines.append(f"belief before learning: {describe(foreseen)}")
    lines.append(f"hypervolume {volume:.4f} ({volume - before:+.4f}), front of {front}")
    return "\n".join(lines)


def first_of(found: Any) -> Any:
    """The first row of every candidate."""
    places: dict[str, int] = {}
    for place, item in enumerate(found.candidates):
        places.setdefault(item.key, place)
    import torch

    return found.evaluation[torch.tensor(list(places.values()))]


def write_figures(opened: Any, config: Mapping[str, Any]) -> None:
    """candidates.parquet, front.csv, hypervolume.csv and summary.json, as a finished run has them."""
    from mogen.experiment import MAIN, Account, Experiment
    from mogen.oracle import History

    loop = opened.loop()
    evaluation = loop.evaluation()
    history = History(list(loop.entries), evaluation, None)
    account = Account(MAIN, history, len(history), len(history), len(history))
    experiment: Any = Experiment(
        opened.objectives, opened.builder.sampler, budget=max(1, int(config["budget"])), seed=opened.seed,
        out=opened.folder.path, config=config, progress=False,
    )  # fmt: skip
    experiment.folder.state = opened.folder.state
    archive = experiment.archive(history)
    experiment.tables([account], archive)
    experiment.summarise([account])


COMMAND = tell

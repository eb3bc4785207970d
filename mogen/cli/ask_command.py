"""mogen ask: what to measure next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from mogen import plugins
from mogen.errors import ConfigError


def ask(run: str, *, out: str, q: PositiveInt | None = None) -> None:
    """Write the next candidates to be measured, as CSV or SDF; they are pending until they are told.

    The file has a column for every objective to be filled in, and one for the status: write `failed` where a
    measurement was tried and failed. Where objectives have prices (`loop.prices`), a dash marks what need not be
    measured now.

    Args:
        run: the folder of a run with a loop whose values come from people
        out: the .csv or .sdf file to write; an SDF gets a CSV to be filled in beside it
        q: how many candidates (default: the batch of the config)
    """
    from mogen.cli.loop import check_is_waiting, waiting
    from mogen.cli.run_command import of_seed
    from mogen.cli.sample_command import check_file

    folder, target = Path(run), Path(out)
    if target.suffix.lower() not in (".csv", ".sdf"):
        raise ConfigError(f"expected a .csv or .sdf file to write a batch to, got {out}")
    config = check_is_waiting(folder)
    plugins.check_rooms()
    check_file(target)
    with waiting(folder, of_seed(config, config["seed"])) as opened:
        loop = opened.loop()
        pending = len(loop.pending)
        lacking = {item.key: loop.lacks(item) for item in loop.unfinished()}
        batch = loop.ask(q)
        wanted = None
        if loop.prices is not None:
            wanted = {item.key: lacking.get(item.key, list(loop.cheap)) for item in batch}
        opened.asked(batch, wanted)
        names = opened.objectives.names
    if not batch:
        print("nothing new to ask for", file=sys.stderr)
    write_batch(target, batch, names, wanted)
    more = f", beside {pending} pending ones" if pending else ""
    print(f"{len(batch)} candidates in {target}{more}")


def write_batch(
    out: Path, batch: list[Any], names: tuple[str, ...], wanted: dict[str, list[int]] | None = None
) -> None:
    """A table to be filled in, and an SDF if that is asked for; a dash where nothing needs to be measured."""
    import pandas as pd

    table = {"candidate": [item.key for item in batch]}
    for i, name in enumerate(names):
        table[name] = ["" if wanted is None or i in wanted[item.key] else "-" for item in batch]
    pd.DataFrame(table | {"status": [""] * len(batch)}).to_csv(out.with_suffix(".csv"), index=False)
    if out.suffix.lower() == ".sdf":
        from mogen.report.export import write_sdf

        write_sdf(pd.DataFrame({"candidate": table["candidate"]}), out)


COMMAND = ask

"""mogen run: builds what a config names, once, and calls the experiment."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mogen import plugins
from mogen.cli import config as settings
from mogen.errors import ConfigError, RunError

APART = ("out", "seeds", "progress", "overwrite")
"""options that say how a run is done, not what it is"""


def run(argv: list[str]) -> int:
    """Run an experiment from a YAML file."""
    if "-h" in argv or "--help" in argv:
        settings.parser(is_light=True).print_help()
        return 0
    is_printed = "--print_config" in argv
    argv = [word for word in argv if word != "--print_config"]
    if not argv:
        raise ConfigError("expected a config file or options, as in `mogen run CONFIG --budget 1000`, got nothing")
    content: dict[str, Any] = {}
    if not argv[0].startswith("-"):
        content = settings.absolute(settings.read(argv[0]), Path(argv[0]).resolve().parent)
        argv = argv[1:]
    plugins.check_rooms()
    made, values = settings.parse(settings.override(content, argv))
    if is_printed:
        print(made.dump(values, skip_unset=False).rstrip())
        return 0
    return execute(yaml.safe_load(made.dump(values, skip_unset=False)))


run.takes_raw_arguments = True  # type: ignore[attr-defined]


def execute(config: dict[str, Any]) -> int:
    """Runs a complete config: one seed into its folder, several into one folder each."""
    out = Path(config.get("out") or Path("runs") / config["name"])
    check_writable(out)
    if config.get("loop") and is_told(config):
        return wait(config, out)
    if config["seeds"] > 1:
        return run_seeds(config, out)
    from mogen.cli.outcome import table

    print(table(run_seed(config, out, config["seed"])))
    print(f"finished: {out / 'report.html'}")
    return 0


def run_seed(config: dict[str, Any], out: Path, seed: int) -> Mapping[str, Any]:
    """Runs one seed, or goes on with it, and gives its summary."""
    from mogen.experiment import Experiment, FinalSampling

    if config.get("loop"):
        return run_loop(config, out, seed)
    objectives, sampler, baselines = build(config)
    with executor(config["executor"]) as workers:
        experiment: Experiment[Any] = Experiment(
            objectives,
            sampler,
            budget=config["budget"],
            seed=seed,
            baselines=baselines,
            out=out,
            executor=workers,
            final=FinalSampling(**config["final"]),
            config=of_seed(config, seed),
            progress=config["progress"],
        )
        summary = experiment.run(overwrite=config.get("overwrite", False)).summary
    for line in failures(out, objectives):
        print(line, file=sys.stderr)
    return summary


def run_loop(config: dict[str, Any], out: Path, seed: int) -> Mapping[str, Any]:
    """Runs one seed of a loop, or goes on with it; what was measured before the run is in its ledger first."""
    from mogen.cli.loop import loop_experiment
    from mogen.oracle import Ledger
    from mogen.run import RunFolder

    kept = of_seed(config, seed)
    with executor(config["executor"]) as workers:
        experiment, rows = loop_experiment(config, out, seed, workers, kept)
        is_kept = not config.get("overwrite") and (out / "state.json").is_file()
        if rows and not (is_kept and RunFolder(out).is_finished):
            experiment.folder.open(kept, experiment.facts(), overwrite=config.get("overwrite", False))
            with Ledger(out / "ledger.sqlite") as ledger:
                ledger.put(rows)
            experiment.folder.release()
        summary = experiment.run(overwrite=not rows and config.get("overwrite", False)).summary
    rounds = out / "checkpoints" / "rounds.csv"
    if rounds.is_file():
        (out / "rounds.csv").write_bytes(rounds.read_bytes())
    for line in failures(out, experiment.objectives):
        print(line, file=sys.stderr)
    return summary


def is_told(config: Mapping[str, Any]) -> bool:
    """Whether some value comes from people."""
    from mogen.cli.loop import needs_people

    plugins.check_rooms()
    return needs_people(objectives_of(config))


def wait(config: dict[str, Any], out: Path) -> int:
    """Makes a run that is asked and told."""
    from mogen.cli.loop import prepare

    prepare(config, out, of_seed(config, config["seed"]))
    print(f"ready: mogen ask {out} --out batch.csv, measure, then mogen tell {out} batch.csv")
    return 0


def failures(folder: Path, objectives: Any) -> list[str]:
    """A sentence for every objective that failed on candidates of the main method, with the first reason."""
    from mogen.experiment import MAIN
    from mogen.objective import Status
    from mogen.oracle import Ledger

    lines = []
    with Ledger(folder / "ledger.sqlite") as ledger:
        keys = [row.key for row in ledger.asked(MAIN)]
        for item in objectives.objectives:
            known = ledger.get(keys, item.identity)
            failed = [key for key in keys if key in known and known[key][1] == Status.FAILED]
            if failed:
                reason = " ".join(str(ledger.message(failed[0], item.identity) or "not a number").split())
                lines.append(
                    f"warning: {item.name!r} could not measure {len(failed)} of {len(keys)} candidates, "
                    f"the first one {failed[0]}: {reason}"
                )
    return lines


def run_seeds(config: dict[str, Any], out: Path) -> int:
    """Runs several seeds and compares them; seeds that are finished are read, not run again."""
    from mogen.cli.seeds import summarise, table
    from mogen.run import write_json, write_text

    check_seeds(config, out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "config.yaml", yaml.safe_dump(config | {"overwrite": False}, sort_keys=False))
    summaries = []
    for place, seed in enumerate(seeds_of(config), 1):
        folder = out / f"seed-{seed}"
        print(f"seed {seed} ({place} of {config['seeds']}): {folder}", file=sys.stderr, flush=True)
        known = None if config.get("overwrite") else finished(folder, of_seed(config, seed))
        try:
            summaries.append(known if known is not None else run_seed(config, folder, seed))
        except KeyboardInterrupt:
            print(f"all seeds continue with: mogen resume {out}", file=sys.stderr, flush=True)
            raise
    summary = summarise(summaries)
    write_json(out / "summary.json", summary)
    write_text(out / "summary.txt", table(summary) + "\n")
    print(f"{table(summary)}\nfinished: {out / 'summary.json'}, and a report in every {out / 'seed-<k>'}")
    return 0


def seeds_of(config: Mapping[str, Any]) -> range:
    """The seeds of a config."""
    return range(config["seed"], config["seed"] + config["seeds"])


def of_seed(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What one seed's run folder keeps of a config."""
    return {key: value for key, value in config.items() if key not in APART} | {"seed": seed}


def finished(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The summary of a finished run of this very config, else None."""
    from mogen.run import RunFolder, read_json

    is_same = (folder / "config.yaml").is_file() and settings.read(folder / "config.yaml") == config
    return read_json(folder / "summary.json") if is_same and RunFolder(folder).is_finished else None


def check_seeds(config: Mapping[str, Any], out: Path) -> None:
    """Raises `RunError` where a folder for several seeds holds one run, or seeds of another config."""
    if (out / "state.json").is_file():
        raise RunError(f"expected a folder for several seeds, got the folder of one run at {out}")
    if not (out / "config.yaml").is_file() or config.get("overwrite"):
        return
    kept, given = of_seed(settings.read(out / "config.yaml"), 0), of_seed(config, 0)
    changed = [key for key in given if kept.get(key) != given[key]]
    if changed:
        raise RunError(
            f"expected the config the seeds in {out} were run with, got another {', '.join(changed)}: choose another "
            "folder, or --overwrite"
        )


def check_writable(out: Path) -> None:
    """Raises `RunError` where a folder is none, or nothing can be written there."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
        if is_new:
            out.rmdir()
    except FileExistsError as error:
        raise RunError(f"expected a folder for the run, got a file at {out}") from error
    except OSError as error:
        raise RunError(f"expected a folder that can be written to, got {error.strerror or error} for {out}") from error


def build(config: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The objectives, the sampler and the baselines a complete config names."""
    objectives = objectives_of(config)
    sampler = settings.instantiate(*settings.parse(config))
    return objectives, sampler, baselines(config["baselines"], sampler)


def baselines(names: Sequence[str], sampler: Any) -> dict[str, Any]:
    """The baselines of a config; of the default ones, those that suit what the sampler makes, if any."""
    made: dict[str, Any] = {}
    unsuited: dict[str, list[str]] = {}
    for text in names:
        try:
            made[baseline_name(text)] = baseline(text, sampler)
        except ConfigError as error:
            if tuple(names) != settings.BASELINES:
                raise
            unsuited.setdefault(str(error), []).append(text)
    for reason, left in unsuited.items():
        print(f"without the baseline{'s' * (len(left) > 1)} {', '.join(left)}: {reason}", file=sys.stderr)
    return made


def objectives_of(config: Mapping[str, Any]) -> Any:
    """The objective set of a config."""
    from mogen.objective.set_file import load_set

    return load_set(config["objectives"])


def baseline(text: str, sampler: Any) -> Any:
    """A baseline that works beside a sampler, on the same environment."""
    kind = plugins.resolve("mogen.baselines", text)
    if not hasattr(kind, "beside"):
        raise ConfigError(f"expected a baseline with a constructor `beside`, got {text!r}, which has none")
    try:
        return kind.beside(sampler)
    except AttributeError as error:
        raise ConfigError(
            f"the baseline {text!r} cannot stand beside the sampler {type(sampler).__name__} ({error}): name others, "
            "or none with --baselines '[]'"
        ) from error


def baseline_name(text: str) -> str:
    """What a baseline is called in tables: its name, or the last part of its path."""
    return text.replace(":", ".").rpartition(".")[2]


def executor(given: Mapping[str, Any]) -> Any:
    """Worker processes, or this process where there are to be none."""
    from mogen.oracle import ProcessExecutor, SerialExecutor

    if given["workers"] == 0:
        return SerialExecutor(chunk=given["chunk"])
    return ProcessExecutor(workers=given["workers"], chunk=given["chunk"], timeout=given["timeout"])


def config_of(folder: Path) -> dict[str, Any]:
    """The complete config of a run folder; raises `RunError` where there is none."""
    if not (folder / "config.yaml").is_file():
        raise RunError(f"expected a run folder with config.yaml, there is none at {folder}")
    content = {"seeds": 1, "progress": True, "overwrite": False} | settings.read(folder / "config.yaml")
    if "objectives" not in content:
        raise ConfigError(f"{folder}/config.yaml was not written by `mogen run`: run it again from Python")
    return content


COMMAND = run

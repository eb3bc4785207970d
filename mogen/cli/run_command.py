"""mogen run: builds what a config names, once, and calls the experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mogen import plugins
from mogen.cli import config as settings
from mogen.errors import ConfigError, RunError


def run(argv: list[str]) -> int:
    """Run an experiment from a YAML file."""
    if "-h" in argv or "--help" in argv:
        settings.parser(is_light=True).print_help()
        return 0
    is_printed = "--print_config" in argv
    argv = [word for word in argv if word != "--print_config"]
    content, directory = {}, Path()
    if argv and not argv[0].startswith("-"):
        content, directory = settings.read(argv[0]), Path(argv[0]).resolve().parent
        argv = argv[1:]
    plugins.check_rooms()
    content = settings.override(content, argv)
    made, values = settings.parse(content, directory)
    if is_printed:
        print(made.dump(values))
        return 0
    return execute(yaml.safe_load(made.dump(values)))


run.takes_raw_arguments = True  # type: ignore[attr-defined]


def execute(config: dict[str, Any]) -> int:
    """Runs a complete config: one seed into its folder, several into one folder each."""
    out = Path(config.get("out") or Path("runs") / config["name"])
    if config["seeds"] == 1:
        run_seed(config, out, config["seed"])
        print(f"finished: {out / 'report.html'}")
        return 0
    from mogen.cli.seeds import summarise, table

    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    summaries = []
    for seed in range(config["seed"], config["seed"] + config["seeds"]):
        summaries.append(run_seed(config, out / f"seed-{seed}", seed, is_kept=True))
    summary = summarise(summaries)
    (out / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    print(table(summary))
    return 0


def run_seed(config: dict[str, Any], out: Path, seed: int, *, is_kept: bool = False) -> Mapping[str, Any]:
    """Runs one seed; with `is_kept`, a finished run of the same config is read instead."""
    from mogen.experiment import Experiment, FinalSampling

    kept = {key: value for key, value in config.items() if key not in ("out", "seeds", "progress")} | {"seed": seed}
    if is_kept and (out / "summary.json").is_file() and settings.read(out / "config.yaml") == kept:
        return json.loads((out / "summary.json").read_text(encoding="utf-8"))
    objectives, sampler, baselines = build(config)
    experiment: Experiment[Any] = Experiment(
        objectives,
        sampler,
        budget=config["budget"],
        seed=seed,
        baselines=baselines,
        out=out,
        executor=executor(config["executor"]),
        final=FinalSampling(**config["final"]),
        config=kept,
        progress=config["progress"],
    )
    return experiment.run().summary


def build(config: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The objectives, the sampler and the baselines a complete config names."""
    objectives = objectives_of(config)
    made, values = settings.parse(dict(config), Path())
    sampler = made.instantiate_classes(values).sampler
    return objectives, sampler, {name: baseline(name, sampler) for name in config["baselines"]}


def objectives_of(config: Mapping[str, Any]) -> Any:
    """The objective set of a config."""
    from mogen.objective.set_file import load_set

    return load_set(config["objectives"])


def baseline(name: str, sampler: Any) -> Any:
    """A baseline that works beside a sampler, on the same environment."""
    return plugins.resolve("mogen.baselines", name).beside(sampler)


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
    content = {"seeds": 1, "progress": True} | settings.read(folder / "config.yaml")
    if "objectives" not in content:
        raise ConfigError(f"{folder}/config.yaml was not written by `mogen run`: run it again from Python")
    return content


COMMAND = run

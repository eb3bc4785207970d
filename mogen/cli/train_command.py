"""mogen train: a generator learns from data, before any objective is known."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mogen import plugins
from mogen.cli import config as settings
from mogen.cli.run_command import failures, objectives_of
from mogen.errors import ConfigError, RunError

USAGE = """usage: mogen train CONFIG [--out DIR] [--seed K] [--key value ...] [--print_config]

Train the generator of the YAML file CONFIG on the data it names, and write a model folder that `mogen sample` and
`mogen run` take. CONFIG has the keys sampler (a sampler's name, or class_path and init_args), out and seed; and
objectives (a set's name, a file, or a set inline), where the guidance of a model is to be trained for them: every label
is a candidate asked for, counted, and kept in DIR/ledger.sqlite, so that none is paid for twice. Training that was
stopped goes on from its newest checkpoint in DIR, with the same data, network, options and seed.

options:
  -h, --help   this text
  --out DIR    the folder to write (default: models/<name of CONFIG>)
  --seed K     the seed of weights, batches and noise (default: 0)
  --print_config  print the complete config, and end
  --sampler.init_args.training.updates 1000, ...: replaces what CONFIG says"""
KEYS = ("sampler", "objectives", "out", "seed")


def train(argv: Sequence[str]) -> int:
    """Reads a config, builds the sampler it describes, trains it and saves it."""
    words = [word for word in argv if word != "--print_config"]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    path = Path(words[0])
    config = settings.absolute(settings.read(path), path.parent)
    config = settings.override(config, words[1:])
    if "budget" in config:
        raise ConfigError(f"expected a config to train from, got {path}, which has a budget: try `mogen run {path}`")
    settings.check_keys(config, KEYS, f"the config {path}")
    if "sampler" not in config:
        raise ConfigError(f"expected a sampler in {path}, got only {', '.join(config) or 'nothing'}")
    out, seed = Path(str(config.get("out") or Path("models") / path.stem)), config.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"expected a whole number for seed, got {seed!r}")
    if "--print_config" in argv:
        made, values = parsed(config["sampler"])
        whole = yaml.safe_load(made.dump(values, skip_unset=False))
        print(
            yaml.safe_dump(
                {**config, "sampler": whole["sampler"], "out": str(out), "seed": seed}, sort_keys=False
            ).rstrip()
        )
        return 0
    if (out / "sampler.yaml").exists():
        raise RunError(f"expected a new or unfinished folder, got {out}, which holds a trained model")
    sampler = built(config["sampler"])
    if not hasattr(sampler, "train"):
        raise ConfigError(f"expected a sampler that learns from data, got {type(sampler).__qualname__}")
    if config.get("objectives"):
        train_guided(sampler, objectives_of(config), out, seed)
    else:
        print(f"training in {out}", file=sys.stderr)
        sampler.train(out / "checkpoints", seed=seed)
    sampler.save(out)
    print(f"a trained model in {out}: try `mogen sample {out} -n 10`")
    return 0


def train_guided(sampler: Any, objectives: Any, out: Path, seed: int) -> None:
    """Trains a sampler with its guidance, whose labels come through a ledger in the folder of the model."""
    from mogen.oracle import Ledger, Oracle

    if "measure" not in inspect.signature(sampler.train).parameters:
        raise ConfigError(f"expected a sampler whose guidance is trained, got {type(sampler).__qualname__}")
    print(f"training in {out}", file=sys.stderr)
    with Ledger(out / "ledger.sqlite") as ledger:
        oracle: Any = Oracle(objectives, ledger, budget=sys.maxsize)
        before = oracle.paid
        try:
            sampler.train(out / "checkpoints", seed=seed, measure=oracle, m=objectives.m)
        finally:
            if oracle.asked:
                fresh = f"{oracle.paid - before} of them measured now"
                print(f"labels: {oracle.asked} candidates asked for, {fresh}, kept in {ledger.path}", file=sys.stderr)
    for line in failures(out, objectives):
        print(line, file=sys.stderr)


def parsed(given: Any) -> tuple[Any, Any]:
    """The parser and the typed config of the sampler a config describes."""
    plugins.check_rooms()
    return settings.parse({"sampler": given, "objectives": "none", "budget": 1})


def built(given: Any) -> Any:
    """The sampler a config describes."""
    return settings.instantiate(*parsed(given))


train.takes_raw_arguments = True  # type: ignore[attr-defined]
COMMAND = train

"""`mogen import gdss`: a published checkpoint as a model folder."""

from __future__ import annotations

from pathlib import Path

from mogen.errors import ConfigError


def gdss(file: str, *, out: str, data: str | None = None, averaged: bool = False) -> None:
    """Turn a published GDSS checkpoint into a model folder, without running anything that is in it.

    Args:
        file: the checkpoint (.pth), or an .npz of its arrays with the configs in a .json of the same name
        out: the folder to write
        data: the data set whose sizes of graphs are drawn (default: the one it was trained on)
        averaged: take the moving averages of the weights, where the file holds them
    """
    from mogen.dataset.store import sha256
    from samplers.gdss.checkpoint import published_model
    from samplers.gdss.sampler import GDSSSampler

    if (Path(out) / "sampler.yaml").exists():
        raise ConfigError(f"expected a new folder for the model, got {out}, which holds one")
    model, solver, name = published_model(Path(file), data, averaged)
    weights = sum(value.numel() for value in model.parameters())
    card = {"source": "GDSS (Jo et al. 2022), published weights", "data": name, "sha256": sha256(Path(file))}
    GDSSSampler.of(model, solver, 1000, card).save(Path(out))
    print(f"GDSS for {name}, {weights} weights, in {out}: try `mogen sample {out} -n 10`")


COMMANDS = {"gdss": gdss}

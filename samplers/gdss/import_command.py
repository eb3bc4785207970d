"""`mogen import gdss`: a published checkpoint as a model folder."""

from __future__ import annotations

from pathlib import Path

from mogen.errors import ConfigError


def gdss(file: str, *, out: str | None = None, data: str | None = None, averaged: bool | None = None) -> None:
    """Turn a published GDSS checkpoint into a model folder, without running anything that is in it.

    Args:
        file: the checkpoint (.pth), or an .npz of its arrays with the configs in a .json of the same name
        out: the folder to write (default: models/<name of FILE>)
        data: the data set whose sizes of graphs are drawn (default: the one it was trained on)
        averaged: take the moving averages of the weights, which the file has to hold (default: where the samples of
            the data set were published with them, ENZYMES and grid, and the file holds them)
    """
    from mogen.dataset.store import sha256
    from samplers.gdss.checkpoint import published_model
    from samplers.gdss.sampler import GDSSSampler

    folder = Path(out) if out else Path("models") / Path(file).stem
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"expected a new folder for the model, got {folder}, which is there: name one with --out")
    model, solver, facts = published_model(Path(file), data, averaged)
    weights = sum(value.numel() for value in model.parameters())
    card = {"source": "GDSS (Jo et al. 2022), published weights", **facts, "sha256": sha256(Path(file))}
    GDSSSampler.of(model, solver, 1000, card).save(folder)
    print(f"GDSS for {facts['data']}, {weights} weights ({facts['weights']}), in {folder}: ", end="")
    print(f"try `mogen sample {folder} -n 10`")


COMMANDS = {"gdss": gdss}

"""Training runs on :class:`~pyg_symbreak.datasets.Saddles`, and what is made of the folder of one."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch_geometric.data import Data

from pyg_symbreak.datasets import SaddleForces, Saddles
from pyg_symbreak.nn import ForceField
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.forces import Frames, field_of, fit_forces
from pyg_symbreak.training.minima import known_molecule, predict_minima, score

__all__ = ["load_minima", "train_minima", "trained_on"]

OF_PAIRS = ("strategy", "keep", "lmax", "object_degree", "check_every", "patience", "compile", "devices", "num_nodes")
"""What a configuration says of runs on pairs only."""


def train_minima(config: Config, out: str | os.PathLike) -> dict[str, Any]:
    """Train a force field on SaddleForces, but not on what is held out; predict the minima of that and write down.

    Parameters
    ----------
    config : Config
        ``dataset: Saddles``. ``held_out`` names molecules or frames of Saddles.
    out : path
        Folder of the run: ``config.yaml``, ``metrics.json``, and in a folder for each seed the weights, ``model.pt``,
        which :func:`load_minima` reads.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each seed the loss of the last steps, and for each molecule that is held out
        what :func:`~pyg_symbreak.training.minima.score` says. Molecules of Saddles whose bonds change are left out.

    Raises
    ------
    FileExistsError
        The folder holds a run already.
    ValueError
        ``held_out`` names what is not there, or leaves nothing to train on; or the configuration sets what has a
        meaning for pairs only.
    """
    out = Path(out)
    if (out / "config.yaml").exists():
        raise FileExistsError(f"{out} holds a run already: give another folder")
    for key in OF_PAIRS:
        if getattr(config, key) != Config.__dataclass_fields__[key].default:
            raise ValueError(
                f"{key} has no meaning with dataset: Saddles, where what is kept is predicted by a force field: leave "
                "it out of the configuration"
            )
    source = Saddles()
    held_out = {str(name) for name in config.held_out or ()}
    known = {d.name for d in source} | {d.frame for d in source}
    if unknown := sorted(held_out - known):
        raise ValueError(f"held_out names {unknown[0]!r}, which is no molecule and no frame of Saddles")
    outside = [d for d in source if {d.name, d.frame} & held_out]
    inside = trained_on(SaddleForces(), outside, held_out)
    if not inside:
        raise ValueError("held_out names all molecules: none is left to train on")
    out.mkdir(parents=True, exist_ok=True)
    config.write(out / "config.yaml")
    frames = Frames(inside, config.cutoff)
    console, runs = Console(stderr=True), []
    for seed in config.seeds:
        field, losses = fit_forces(frames, config, seed, f"seed-{seed}")
        (out / f"seed-{seed}").mkdir(exist_ok=True)
        torch.save(field.state_dict(), out / f"seed-{seed}" / "model.pt")
        rows = []
        for d in track(outside, "molecules held out", console=console, transient=True):
            if not bool(d.rearranged):
                molecule = known_molecule(d, config)
                rows.append(score(molecule, d, predict_minima(field, molecule)))
        runs.append({"seed": seed, "steps": config.steps, "loss": float(np.mean(losses[-100:])), "held out": rows})
    metrics = {"config": asdict(config), "molecules": len(inside), "structures": len(frames), "runs": runs}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    return metrics


def trained_on(molecules: Iterable[Data], held_out: Iterable[Data], frames: Container[str] = ()) -> list[Data]:
    """Those molecules that have no name or formula in common with what is held out, and are of none of some frames."""
    apart = {d.name for d in held_out} | {d.formula for d in held_out}
    return [d for d in molecules if d.name not in apart and d.formula not in apart and d.frame not in frames]


def load_minima(folder: str | os.PathLike, seed: int | None = None) -> tuple[ForceField, Config]:
    """The force field of a run on Saddles, and its configuration.

    Parameters
    ----------
    folder : path
        Of the run.
    seed : int, optional
        Default: the first.

    Raises
    ------
    FileNotFoundError
        There is no finished run of that seed in the folder.
    ValueError
        The run was on pairs.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} holds no run of pyg-symbreak train: it has no config.yaml")
    config = Config.read(folder / "config.yaml")
    if config.dataset != "Saddles":
        raise ValueError(
            f"the run in {folder} was trained on pairs ({config.dataset}), whose targets say what is kept; of a new "
            "molecule that is not known: train with dataset: Saddles"
        )
    path = folder / f"seed-{config.seeds[0] if seed is None else seed}" / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the run of that seed is not there or not finished")
    field = field_of(config)
    field.load_state_dict(torch.load(path, weights_only=True))
    return field.eval(), config

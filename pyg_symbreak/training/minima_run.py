"""Training runs on :class:`~pyg_symbreak.datasets.Saddles`, and what is made of the folder of one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from pyg_symbreak.datasets import Saddles
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.minima import (
    MinimaNetwork,
    Molecule,
    answers_of,
    judge_loss,
    known_molecule,
    mover_loss,
    predict_minima,
    score,
)

__all__ = ["descend", "fit_minima", "load_minima", "train_minima"]

BATCH = 32
"""Pairs of an object and a minimum in a step, if the configuration does not say."""


def train_minima(config: Config, out: str | os.PathLike) -> dict[str, Any]:
    """Train on the molecules of Saddles whose bonds stay, but those held out; evaluate and write down.

    Parameters
    ----------
    config : Config
        ``dataset: Saddles``. ``held_out`` names molecules or frames. What is to be kept is not read, and ``strategy``,
        ``keep``, ``check_every``, ``patience``, ``compile`` and those of several processes have no meaning.
    out : path
        Folder of the run: ``config.yaml``, ``metrics.json``, and in a folder for each seed the weights, ``model.pt``,
        which :func:`load_minima` reads.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each seed the loss of the last tenth of the steps, the time, and for each
        molecule that is held out what :func:`~pyg_symbreak.training.minima.score` says.

    Raises
    ------
    FileExistsError
        The folder holds a run already.
    ValueError
        ``held_out`` names what is not there, or leaves nothing to train on.
    """
    out = Path(out)
    if (out / "config.yaml").exists():
        raise FileExistsError(f"{out} holds a run already: give another folder")
    data = [d for d in Saddles() if not bool(d.rearranged)]
    held_out = {str(name) for name in config.held_out or ()}
    known = {d.name for d in data} | {d.frame for d in data}
    if unknown := sorted(held_out - known):
        raise ValueError(f"held_out names {unknown[0]!r}, which is no molecule and no frame of Saddles")
    inside = [d for d in data if not {d.name, d.frame} & held_out]
    outside = [d for d in data if {d.name, d.frame} & held_out]
    if not inside:
        raise ValueError("held_out names all molecules: none is left to train on")
    out.mkdir(parents=True, exist_ok=True)
    config.write(out / "config.yaml")
    console = Console(stderr=True)
    molecules = [known_molecule(d, config) for d in track(inside, "molecules", console=console, transient=True)]
    runs = []
    for seed in config.seeds:
        model, losses = fit_minima(molecules, config, seed, f"seed-{seed}")
        (out / f"seed-{seed}").mkdir(exist_ok=True)
        torch.save(model.state_dict(), out / f"seed-{seed}" / "model.pt")
        rows = [score(m, d, predict_minima(model, m)) for m, d in ((known_molecule(d, config), d) for d in outside)]
        runs.append({"seed": seed, "steps": config.steps, "loss": float(np.mean(losses[-10:])), "held out": rows})
    metrics = {"config": asdict(config), "molecules": len(inside), "runs": runs}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    return metrics


def fit_minima(
    molecules: Sequence[Molecule], config: Config, seed: int = 0, progress: str | None = None
) -> tuple[MinimaNetwork, list[float]]:
    """Train a network on molecules, first what moves the atoms, then the judge of its answers for as many steps.

    Returns
    -------
    MinimaNetwork
    list of float
        The loss of each step, of both.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    model = MinimaNetwork(config)
    size = config.batch_size or BATCH
    losses = descend(model, lambda: mover_loss(model, molecules, size, draw), config, progress)
    model.eval()
    answers = [answers_of(model, m) for m in molecules]
    model.train()
    losses += descend(model, lambda: judge_loss(model, answers, 2 * size, draw), config, progress)
    return model.eval(), losses


def descend(model: nn.Module, loss: Callable[[], Tensor], config: Config, progress: str | None = None) -> list[float]:
    """Adam with a learning rate that rises and falls, and gradients of norm 1 at most: the loss of each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    schedule = OneCycleLR(optimizer, config.lr, total_steps=config.steps)
    losses, steps = [], range(config.steps)
    for _ in steps if progress is None else track(steps, progress, console=Console(stderr=True), transient=True):
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(value.detach()))
    return losses


def load_minima(folder: str | os.PathLike, seed: int | None = None) -> tuple[MinimaNetwork, Config]:
    """The network of a run on Saddles, and its configuration.

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
    model = MinimaNetwork(config)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval(), config

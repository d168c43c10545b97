"""Training runs: Lightning underneath, one folder for each."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

try:
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
except ImportError as error:
    raise ImportError("training needs Lightning: pip install 'pyg_symbreak[train]'") from error

from pyg_symbreak.plot import plot_losses
from pyg_symbreak.training.config import Config
from pyg_symbreak.training.model import Distorter, answer_all, compare, sample
from pyg_symbreak.training.pairs import Pairs, load_pairs
from pyg_symbreak.training.results import draw_predictions, write_structures

__all__ = ["double_precision", "is_first_process", "load", "train"]


def train(config: Config, out: str | os.PathLike, resume: bool = False) -> dict[str, Any]:
    """Train, evaluate and write down a run for each seed.

    Under ``torchrun``, or with several ``devices`` in the configuration, each process takes its part of every batch;
    the result is that of one process. Before the first step a table on stderr says what each pair is, and what is
    wrong with it.

    Parameters
    ----------
    config : Config
    out : path
        Folder of the run: ``config.yaml``, ``metrics.json``, and in a folder for each seed ``curve.csv``, ``loss.png``,
        ``predicted.extxyz`` (targets and all answers as structures), ``predicted.png``, ``checkpoints/`` and the final
        weights, ``model.pt``, which :func:`load` reads. It must not hold another run.
    resume : bool
        Go on from the last checkpoints of the run in the folder; only ``steps`` and where it runs may have
        changed.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each seed the training loss, the last step, and what
        :func:`~pyg_symbreak.training.evaluate` says of each pair.

    Raises
    ------
    FileExistsError
        The folder holds a run already, and ``resume`` is not set.
    ValueError
        The configuration differs from that of the run to be resumed; or for what
        :func:`~pyg_symbreak.training.load_pairs` refuses.
    """
    out = Path(out)
    is_main = is_first_process()
    if is_main:
        _check_folder(config, out, resume)
    with double_precision():
        pairs = load_pairs(config)
        if is_main:
            out.mkdir(parents=True, exist_ok=True)
            config.write(out / "config.yaml")
            _print_pairs(pairs)
        runs = [_run(pairs, config, out / f"seed-{seed}", seed, resume) for seed in config.seeds]
        metrics = {"config": asdict(config), "runs": runs}
        if is_main:
            (out / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    return metrics


def load(folder: str | os.PathLike, seed: int | None = None) -> tuple[Distorter, Pairs, Config]:
    """The trained network of a run, with its pairs and configuration.

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
    """
    folder = Path(folder)
    config = Config.read(folder / "config.yaml")
    path = folder / f"seed-{config.seeds[0] if seed is None else seed}" / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the run of that seed is not there or not finished")
    with double_precision():
        pairs = load_pairs(config)
        model = Distorter(pairs, config)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval(), pairs, config


def is_first_process() -> bool:
    """Whether this process reports: the only one, or the first that torchrun, Slurm or Lightning started."""
    names = ("RANK",) if "RANK" in os.environ else ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(int(os.environ.get(name, 0)) == 0 for name in names)


def _print_pairs(pairs: Pairs) -> None:
    table = Table("pair", "", "S", "K", "objects", "S misses by (Å)", "")
    for part, some in (("training", pairs.training), ("held out", pairs.held_out)):
        for pair in some:
            objects = "" if pair.objects is None else str(len(pair.objects))
            cells = [pair.group.schoenflies, pair.keep.schoenflies, objects, f"{pair.residual:.1e}", pair.warning]
            table.add_row(pair.name, part, *cells)
    Console(stderr=True).print(table, highlight=False)


def _check_folder(config: Config, out: Path, resume: bool) -> None:
    path = out / "config.yaml"
    if not path.exists():
        return
    if not resume:
        raise FileExistsError(f"{out} holds a run already: resume it (--resume) or give another folder")
    before, now = asdict(Config.read(path)), asdict(config)
    free = ("steps", "compile", "devices", "num_nodes", "parallel")
    changed = [key for key in now if key not in free and before[key] != now[key]]
    if changed:
        key = changed[0]
        raise ValueError(
            f"{key} is {now[key]!r}, but {before[key]!r} in the run that {out} holds: it cannot be resumed"
        )


@contextmanager
def double_precision() -> Iterator[None]:
    """Numbers are made in float64 within."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _run(pairs: Pairs, config: Config, folder: Path, seed: int, resume: bool) -> dict[str, Any]:
    """One run: the report of it."""
    torch.manual_seed(seed)
    module, curve = _Module(pairs, config, seed), _Curve(folder)
    if config.compile:
        module.model.network.compile()
    last, best = folder / "checkpoints/last.ckpt", folder / "checkpoints/best.ckpt"
    common: dict[str, Any] = {
        "dirpath": last.parent,
        "enable_version_counter": False,
        "every_n_epochs": config.check_every,
    }
    callbacks: list[lightning.Callback] = [
        curve,
        _Bar(config.steps, folder.name),
        ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common),
        ModelCheckpoint(filename="best", monitor="watched", save_on_train_epoch_end=False, **common),
    ]
    if config.patience is not None:
        callbacks.append(EarlyStopping("watched", patience=config.patience, check_on_train_epoch_end=False))
    started = "LOCAL_WORLD_SIZE" in os.environ  # by torchrun; Lightning's own processes have WORLD_SIZE only
    local = int(os.environ["LOCAL_WORLD_SIZE"]) if started else 1
    processes = int(os.environ["WORLD_SIZE"]) if started else 1
    with _quiet():
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=config.devices or local,
            num_nodes=config.num_nodes or processes // local,
            strategy="ddp" if processes > 1 and config.parallel == "auto" else config.parallel,
            max_steps=config.steps,
            max_epochs=-1,
            callbacks=callbacks,
            check_val_every_n_epoch=config.check_every,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, ckpt_path=str(last) if resume and last.exists() else None, weights_only=True)
        trainer.save_checkpoint(last)
        if config.patience is not None and best.exists():
            module.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    model = module.model.cpu().eval()
    if trainer.is_global_zero:
        curve.write()
        curve.plot(pairs)
        torch.save(model.state_dict(), folder / "model.pt")
    answered = {
        part: [(pair, *answer_all(model, pair, config)) for pair in some]
        for part, some in (("training", pairs.training), ("held out", pairs.held_out))
    }
    if trainer.is_global_zero:
        write_structures(answered, pairs.irreps_graph_out, folder / "predicted.extxyz")
        draw_predictions(answered, pairs.irreps_out, folder / "predicted.png")
    return {
        "seed": seed,
        "steps": trainer.global_step,
        "loss": curve.rows[-1][1],
        **{part: [compare(model, *row) for row in rows] for part, rows in answered.items()},
    }


class _Module(lightning.LightningModule):
    """The network, the batches of each epoch, and Adam."""

    def __init__(self, pairs: Pairs, config: Config, seed: int) -> None:
        super().__init__()
        self.model = Distorter(pairs, config)
        self.pairs, self.config, self.seed = pairs, config, seed
        every_pair = [*pairs.training, *pairs.held_out]
        self.most_images = max(len(pair.images_graph_y) for pair in every_pair)
        self.watched = pairs.held_out or pairs.training

    def setup(self, stage: str) -> None:
        """Refuse more processes than there are pairs in a batch."""
        size = min(self.config.batch_size or len(self.pairs.training), len(self.pairs.training))
        if size < self.trainer.world_size:
            raise ValueError(f"{self.trainer.world_size} processes cannot share batches of {size}")

    def train_dataloader(self) -> DataLoader:
        """All training pairs in an order, and with noise, that depend on seed and epoch; of each batch the own part."""
        config, count = self.config, len(self.pairs.training)
        size = config.batch_size or count
        epoch = self.trainer.global_step // math.ceil(count / size)
        number = self.seed * 1_000_003 + epoch
        order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
        batches = [part[self.global_rank :: self.trainer.world_size].tolist() for part in order.split(size)]
        batches = [part for part in batches if part]
        images = self.most_images if config.strategy == "noise" else 1
        samples = [sample(pair, config, number, images) for pair in self.pairs.training]
        return DataLoader(samples, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader:
        """The held-out pairs, without them those of training; every process looks at all of them."""
        samples = [sample(pair, self.config, -1, self.most_images) for pair in self.watched]
        return DataLoader(samples, batch_size=len(samples))

    def training_step(self, batch: Batch) -> Tensor:
        """The mean over the batch of all processes: each counts its own structures, and Lightning takes the mean."""
        losses, processes = self.model.loss(batch), self.trainer.world_size
        total = self.trainer.strategy.reduce(losses.new_tensor(len(losses)), reduce_op="sum")
        loss = losses.sum() * processes / total
        self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """The loss that early stopping watches."""
        self.log("watched", self.model.loss(batch).mean(), batch_size=1)

    def configure_optimizers(self) -> Any:
        """Adam with a learning rate that falls to zero as a cosine does."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _cosine(self.config.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _cosine(steps: int) -> Callable[[int], float]:
    return lambda step: 0.5 + 0.5 * math.cos(math.pi * min(step / steps, 1))


class _Curve(lightning.Callback):
    """The loss of each epoch, kept with the checkpoints; written as curve.csv and loss.png."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[int, float, float | None]] = []
        self.watched: float | None = None

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note the loss of the watched pairs."""
        self.watched = float(trainer.callback_metrics["watched"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note the loss, and that of the watched pairs if it was looked at in this epoch."""
        if self.rows and self.rows[-1][0] == trainer.global_step:  # a resumed run first ends the old epoch again
            return
        self.rows.append((trainer.global_step, float(trainer.callback_metrics["loss"]), self.watched))
        if self.watched is not None and trainer.is_global_zero:
            self.write()
        self.watched = None

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows = list(state["rows"])

    def write(self) -> None:
        """Write curve.csv."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "curve.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "loss", "watched"])
            writer.writerows(self.rows)

    def plot(self, pairs: Pairs) -> None:
        """Draw loss.png."""
        curves = {"training": {step: loss for step, loss, _ in self.rows}}
        watched = {step: loss for step, _, loss in self.rows if loss is not None}
        if pairs.held_out and watched:
            curves["held out"] = watched
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = plot_losses(curves, axes=figure.add_subplot())
        axes.set_ylabel("squared error, in units of the targets' own")
        figure.savefig(self.folder / "loss.png", dpi=120)


class _Bar(lightning.Callback):
    """A progress bar over all steps."""

    def __init__(self, steps: int, name: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        loss = TextColumn("loss {task.fields[loss]:.3g}")
        self.progress = Progress(*columns, loss, console=Console(stderr=True))
        self.task = self.progress.add_task(name, total=steps, loss=float("nan"))

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Show it, in one process."""
        if trainer.is_global_zero:
            self.progress.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Move it on."""
        loss = float(trainer.callback_metrics.get("loss", math.nan))
        self.progress.update(self.task, completed=trainer.global_step, loss=loss)

    def teardown(self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str) -> None:
        """Leave it as it stands, also after an error."""
        self.progress.stop()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its announcements of devices and hints on workers."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)

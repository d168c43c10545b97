"""Many structures through a transform, in processes or on a Ray cluster, into a data set on disk."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch_geometric.data import Data, OnDiskDataset, SQLiteDatabase

from pyg_symbreak.structures import from_ase, from_bytes, to_bytes

__all__ = ["Failure", "Preprocessed", "preprocess"]

MOST_LOST = 3
"""How often a process may die over a shard."""

Transform = Callable[[Data], Data]
Shards = Iterator[tuple[int, bytes]]
"""Number and pickled structures, or pickled results, of each shard."""


@dataclass(frozen=True)
class Failure:
    """A structure that the transform refused.

    Attributes
    ----------
    index : int
        Its number among the structures.
    structure : str
        What it is.
    error : str
        Why it was refused.
    """

    index: int
    structure: str
    error: str


@dataclass(frozen=True)
class Preprocessed:
    """What :func:`preprocess` did.

    Attributes
    ----------
    root : Path
        Folder of the data set; ``OnDiskDataset(root)`` opens it.
    count : int
        Number of structures in it.
    failures : tuple of Failure
        Structures that are not.
    """

    root: Path
    count: int
    failures: tuple[Failure, ...]

    def dataset(self, transform: Transform | None = None) -> OnDiskDataset:
        """The data set, in the order of the structures, without those that failed."""
        return OnDiskDataset(str(self.root), transform, log=False)


def preprocess(
    structures: Iterable[Data | Atoms],
    root: str | os.PathLike[str],
    transform: Transform,
    *,
    processes: int = 1,
    ray: bool = False,
    shard_size: int = 500,
    progress: bool = False,
) -> Preprocessed:
    """Apply a transform to many structures and write the results to a data set on disk.

    The structures are worked on in shards of fixed size. Finished shards are files in ``root``: called again with the
    same structures, the call goes on where it was interrupted. A shard whose process dies is done again. Memory does
    not grow with the number of structures if ``structures`` is an iterator.

    Parameters
    ----------
    structures : iterable of Data or ase.Atoms
        Atoms become Data by :func:`~pyg_symbreak.structures.from_ase`.
    root : path
        Folder of the data set.
    transform : callable
        From a Data to a Data, such as :class:`~pyg_symbreak.transforms.AddSymmetryBreaking` or a Compose. It can be
        pickled, and its repr tells it from others.
    processes : int
        Number of processes; 1 works in the present one.
    ray : bool
        Work on the Ray cluster that the environment names (``RAY_ADDRESS``), or on one started here. It needs the
        extra ``[distributed]``; ``processes`` is not heeded.
    shard_size : int
        Structures in a shard.
    progress : bool
        Show a bar.

    Returns
    -------
    Preprocessed
        ``report.json`` in ``root`` says the same.

    Raises
    ------
    ValueError
        ``root`` was begun with another transform, shard size or other structures.
    ImportError
        ``ray=True`` where Ray is not installed.
    RuntimeError
        The processes that worked on a shard died again and again.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import molecule
    >>> from pyg_symbreak.transforms import AddSymmetryBreaking
    >>> with tempfile.TemporaryDirectory() as root:
    ...     done = preprocess([molecule("CH4"), molecule("NH3")], root, AddSymmetryBreaking(seed=0, symprec=0.01))
    ...     shapes = [list(data.breaking.shape) for data in done.dataset()]
    >>> done.count, done.failures, shapes
    (2, (), [[1, 3], [1, 3]])
    """
    if processes < 1 or shard_size < 1:
        raise ValueError(f"processes and shard_size must be 1 or more, got {processes} and {shard_size}")
    folder = Path(root)
    settings = {"transform": repr(transform), "shard_size": shard_size}
    finished = _begun(folder, settings)
    if finished is not None:
        return finished
    store = _Store(folder / "shards")
    total = len(structures) if isinstance(structures, Sized) else None
    waiting = store.missing(structures, shard_size)
    work = pickle.dumps(transform)
    results = _on_ray(waiting, work) if ray else _in_processes(waiting, work, processes)
    with _bar(progress) as bar:
        task = bar.add_task("structures", total=total)
        for number, result in results:
            store.write(number, result)
            bar.update(task, completed=store.finished * shard_size)
        bar.update(task, completed=store.read, total=store.read)
    return _assemble(folder, store, settings)


# ---------------------------------------------------------------------- what is on disk


def _begun(folder: Path, settings: dict[str, Any]) -> Preprocessed | None:
    """The result if it is complete; the settings are compared with those that the folder was begun with."""
    for path in (folder / "report.json", folder / "shards" / "settings.json"):
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            for name, value in settings.items():
                if known[name] != value:
                    raise ValueError(
                        f"{folder} was begun with {name} {known[name]}, now it is {value}: remove it or name another"
                    )
            if path.name == "report.json":
                return Preprocessed(folder, known["count"], tuple(Failure(**f) for f in known["failures"]))
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    _write(folder / "shards" / "settings.json", json.dumps(settings).encode())
    return None


class _Store:
    """Files of finished shards, named by their number and what was in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self.read = 0
        self.finished = 0

    def missing(self, structures: Iterable[Data | Atoms], size: int) -> Shards:
        """Read all structures; those of shards that are not finished come."""
        items = iter(structures)
        while shard := list(islice(items, size)):
            number = len(self.paths)
            self.paths.append(self.folder / f"{number:06d}-{_digest(shard)}.pkl")
            self.read += len(shard)
            if self.paths[-1].exists():
                self.finished += 1
                continue
            if other := next(self.folder.glob(f"{number:06d}-*.pkl"), None):
                first = number * size
                raise ValueError(
                    f"structures {first} to {self.read - 1} are not those that {other} was made of: remove its folder "
                    "or name another"
                )
            yield number, to_bytes(shard)

    def write(self, number: int, result: bytes) -> None:
        _write(self.paths[number], result)
        self.finished += 1


def _digest(shard: list[Data | Atoms]) -> str:
    """Tells lists of structures apart, in any session."""
    found = hashlib.sha256()
    for item in shard:
        if isinstance(item, Atoms):
            entries: list[tuple[str, Any]] = [*item.arrays.items(), ("cell", item.cell.array), ("pbc", item.pbc)]
        else:
            entries = list(item)
        for name, value in sorted(entries, key=lambda entry: entry[0]):
            value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            found.update(f"{name} {getattr(value, 'shape', '')}".encode())
            found.update(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())
    return found.hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def _assemble(folder: Path, store: _Store, settings: dict[str, Any]) -> Preprocessed:
    """Put the shards into the database that OnDiskDataset opens, write the report, and remove them."""
    (folder / "processed").mkdir(exist_ok=True)
    part, path = folder / "processed" / "sqlite.part", folder / "processed" / "sqlite.db"
    part.unlink(missing_ok=True)
    database = SQLiteDatabase(str(part), OnDiskDataset.__name__)
    failures: list[Failure] = []
    count = 0
    for number, shard in enumerate(store.paths):
        content, failed = pickle.loads(shard.read_bytes())
        results = from_bytes(content)
        database.multi_insert(range(count, count + len(results)), results)
        count += len(results)
        failures += [Failure(number * settings["shard_size"] + index, *rest) for index, *rest in failed]
    database.close()
    part.replace(path)
    report = settings | {"count": count, "failures": [asdict(failure) for failure in failures]}
    _write(folder / "report.json", json.dumps(report, indent=1).encode())
    shutil.rmtree(store.folder)
    return Preprocessed(folder, count, tuple(failures))


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), disable=not shown
    )


# ---------------------------------------------------------------------- work


def _work(shard: bytes, transform: bytes) -> bytes:
    """Pickled results of a pickled shard, and index, name and error of those that failed.

    Structures travel as bytes: tensors in shared memory take a file descriptor each.
    """
    apply = pickle.loads(transform)
    results, failed = [], []
    for index, item in enumerate(from_bytes(shard)):
        try:
            results.append(apply(from_ase(item) if isinstance(item, Atoms) else item))
        except Exception as error:
            name = item.get_chemical_formula() if isinstance(item, Atoms) else item.get("name") or repr(item)
            failed.append((index, str(name), f"{type(error).__name__}: {error}"))
    return pickle.dumps((to_bytes(results), failed))


def _in_processes(shards: Shards, transform: bytes, processes: int) -> Shards:
    """Results in the order in which they come; where a process dies, what was sent is sent again."""
    if processes == 1:
        yield from ((number, _work(shard, transform)) for number, shard in shards)
        return
    sent: dict[int, bytes] = {}
    lost: Counter[int] = Counter()
    while True:
        with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                futures = {pool.submit(_work, shard, transform): number for number, shard in sent.items()}
                while True:
                    for number, shard in islice(shards, max(0, 2 * processes - len(futures))):
                        sent[number] = shard
                        futures[pool.submit(_work, shard, transform)] = number
                    if not futures:
                        return
                    for future in wait(futures, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        number = futures.pop(future)
                        del sent[number]
                        yield number, result
            except BrokenProcessPool as error:
                lost.update(list(sent))
                _require_alive(lost, error)


def _on_ray(shards: Shards, transform: bytes) -> Shards:
    """Results in the order in which they come; Ray does again what a worker that dies has lost."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("ray=True needs Ray: pip install 'pyg_symbreak[distributed]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    work = ray.remote(max_retries=MOST_LOST - 1)(_work)
    sent: dict[Any, int] = {}
    while True:
        workers = int(ray.cluster_resources().get("CPU", 1))
        for number, shard in islice(shards, max(0, 2 * workers - len(sent))):
            sent[work.remote(shard, transform)] = number
        if not sent:
            return
        for reference in ray.wait(list(sent))[0]:
            try:
                result = ray.get(reference)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                _require_alive(Counter({sent[reference]: MOST_LOST}), error)
            yield sent.pop(reference), result


def _require_alive(lost: Counter[int], error: Exception) -> None:
    number, times = lost.most_common(1)[0]
    if times >= MOST_LOST:
        raise RuntimeError(
            f"the process that worked on shard {number} (from 0) died {times} times: one of its structures may take "
            "more memory than there is"
        ) from error

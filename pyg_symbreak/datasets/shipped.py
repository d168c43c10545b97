"""Data sets whose files are part of the package."""

import hashlib
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

__all__ = ["ShippedDataset", "require_unchanged"]


class ShippedDataset(InMemoryDataset):
    """Graphs made from files of the package: in memory, or under a root folder as in any PyG data set.

    A subclass names its ``folder`` and ``raw_file_names`` and makes the graphs in ``graphs``.
    """

    folder: str

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        transform: Callable | None = None,
        pre_transform: Callable | None = None,
        pre_filter: Callable | None = None,
        force_reload: bool = False,
    ):
        self._in_memory = root is None
        super().__init__(
            None if root is None else os.fspath(root), transform, pre_transform, pre_filter, force_reload=force_reload
        )
        if self._in_memory:
            self.data, self.slices = self.collate(self._prepared())
        else:
            self.load(self.processed_paths[0])

    def graphs(self) -> list[Data]:
        """The graphs, as the files say."""
        raise NotImplementedError

    def split(self, by: str = "name", held_out: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Numbers of the graphs for training and of those held out, which share no value of an attribute.

        Parameters
        ----------
        by : str
            An attribute that no held-out graph has in common with one for training; one that all graphs differ in,
            such as a name, divides at random.
        held_out : float
            Share of the values that are held out.
        seed : int

        Returns
        -------
        tuple of long tensors

        Raises
        ------
        ValueError
            ``held_out`` is not between 0 and 1, or the graphs lack the attribute.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must be between 0 and 1, got {held_out}")
        graphs = [self.get(int(i)) for i in self.indices()]
        if graphs and by not in graphs[0]:
            raise ValueError(f"the graphs have no {by!r}: split by one of {', '.join(sorted(graphs[0].keys()))}")
        values = [str(graph[by]) for graph in graphs]
        names = sorted(set(values))
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        out = {names[i] for i in order[: round(held_out * len(names))]}
        held = torch.tensor([value in out for value in values])
        return (~held).nonzero().flatten(), held.nonzero().flatten()

    @property
    def raw_dir(self) -> str:
        """Folder of the data files, part of the package."""
        return str(files("pyg_symbreak.datasets.files") / self.folder)

    @property
    def processed_file_names(self) -> list[str]:
        """File of the processed graphs."""
        return ["data.pt"]

    def _process(self) -> None:
        if not self._in_memory:
            super()._process()

    def process(self) -> None:
        """Write the graphs under ``root``."""
        self.save(self._prepared(), self.processed_paths[0])

    def _prepared(self) -> list[Data]:
        graphs = self.graphs()
        if self.pre_filter is not None:
            graphs = [graph for graph in graphs if self.pre_filter(graph)]
        if self.pre_transform is not None:
            graphs = [self.pre_transform(graph) for graph in graphs]
        return graphs


def require_unchanged(path: Path, sha256: str) -> None:
    """Raise a ValueError if a file is not the one that this version was made with."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256:
        raise ValueError(f"{path} was changed: its sha256 is {digest}, not {sha256}; reinstall the package")

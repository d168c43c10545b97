"""What a training run is told."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """A training run, as a YAML file says it.

    Attributes
    ----------
    dataset : str
        "JahnTeller", "BaTiO3" or "TriangularPrism"; "Saddles", for a force field that predicts what is kept too
        (:mod:`pyg_symbreak.training.minima_run`); or the path of a file with many structures, in any format of ASE's,
        in which every first one is a parent and the next its target; or of a folder that holds a file named ``parent``
        (parent.cif, ...) beside those of its targets, or folders of that kind.
    held_out : list of str or int, optional
        Names or numbers, from 0, of the pairs that are not trained on. Default: those that the data set marks, if any.
    strategy : "group", "input", "noise" or "none"
        Where the objects come from (:class:`~pyg_symbreak.transforms.AddSymmetryBreaking`); "none" is the network
        without object.
    keep : str
        What the objects keep of the symmetry of a parent: "target", what its target keeps; "nothing"; or a label. With
        "group" and "input" only.
    symprec : float
        Tolerance in Å of the symmetry of the parents, and of what their targets keep of it (there of energies in eV and
        of strains too).
    cutoff : float
        Å; atoms closer than this are neighbours.
    hidden, lmax, layers, object_degree
        As for :class:`~pyg_symbreak.nn.GatedNetwork`; of Saddles ``hidden`` and ``layers`` as for
        :class:`~pyg_symbreak.nn.ForceField`. ``hidden`` by default as there.
    steps : int
        Training steps; the learning rate falls to zero over them as a cosine does.
    lr : float
        Learning rate of Adam at the start.
    batch_size : int, optional
        Pairs in a step, over all processes. Default: all.
    check_every : int
        Epochs from one checkpoint, and one look at the held-out pairs, to the next.
    patience : int, optional
        Stop when the loss of the held-out pairs (if there are none, of training) has not fallen in so many looks, and
        go back to the weights that were best. Default: take the weights after the last step.
    seeds : list of int
        One run for each.
    compile : bool
        Compile the network (``torch.compile``): up to minutes at the start, and a quarter of the time of a step less
        (``benchmarks/training_options.py``).
    devices : int, optional
        Processes on each machine, one for a GPU. Default: one, or what ``torchrun`` started.
    num_nodes : int, optional
        Machines. Default: one, or those of ``torchrun``.
    parallel : str
        Lightning's strategy for several processes: "ddp", "fsdp", ... Default: "auto".

    Examples
    --------
    >>> Config.of({"dataset": "BaTiO3", "steps": 200}).strategy
    'group'
    >>> Config.of({"dataset": "BaTiO3", "step": 200})
    Traceback (most recent call last):
        ...
    ValueError: unknown key 'step'; the keys are dataset, held_out, strategy, keep, symprec, cutoff, hidden, lmax, \
layers, object_degree, steps, lr, batch_size, check_every, patience, seeds, compile, devices, num_nodes, parallel
    """

    dataset: str
    held_out: list[str | int] | None = None
    strategy: Literal["group", "input", "noise", "none"] = "group"
    keep: str = "target"
    symprec: float = 1e-3
    cutoff: float = 4.0
    hidden: str | None = None
    lmax: int = 2
    layers: int = 2
    object_degree: int = 2
    steps: int = 1000
    lr: float = 1e-2
    batch_size: int | None = None
    check_every: int = 10
    patience: int | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    compile: bool = False
    devices: int | None = None
    num_nodes: int | None = None
    parallel: str = "auto"

    @classmethod
    def of(cls, values: dict[str, Any]) -> Config:
        """Check the values and fill in the defaults.

        Raises
        ------
        ValueError
            A key is unknown or missing, or a value is not what it should be.
        """
        names = [x.name for x in fields(cls)]
        for key in values:
            if key not in names:
                raise ValueError(f"unknown key {key!r}; the keys are {', '.join(names)}")
        if "dataset" not in values:
            raise ValueError("the configuration names no dataset")
        hints = get_type_hints(cls)
        config = cls(**{key: _checked(key, value, hints[key]) for key, value in values.items()})
        sizes = ("cutoff", "symprec", "layers", "object_degree", "steps", "lr", "batch_size", "check_every", "patience")
        for key in (*sizes, "devices", "num_nodes"):
            value = getattr(config, key)
            if value is not None and not value > 0:
                raise ValueError(f"{key} must be positive, got {value}")
        if not config.seeds:
            raise ValueError("seeds is empty: give at least one")
        return config

    @classmethod
    def read(cls, path: str | os.PathLike) -> Config:
        """Read a YAML file; the path of a data set in it is relative to the file.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such file, or it is not such a configuration.
        """
        import yaml

        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path} must hold keys and values, such as 'dataset: BaTiO3'")
        beside = Path(path).parent / str(values.get("dataset"))
        if beside.exists():
            values["dataset"] = str(beside)
        return cls.of(values)

    def write(self, path: str | os.PathLike) -> None:
        """Write all values to a YAML file."""
        import yaml

        Path(path).write_text(yaml.safe_dump(asdict(self), sort_keys=False), encoding="utf-8")


def _checked(key: str, value: Any, hint: Any) -> Any:
    """The value, if it is of the type; whole numbers pass as floats, and numbers as YAML 1.1 misreads them (1e-3)."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{key} must be one of {', '.join(get_args(hint))}, got {value!r}")
        return value
    options = [hint] if get_origin(hint) is list else list(get_args(hint)) or [hint]
    for option in options:
        if option is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                return float(value)
            except ValueError:
                continue
        if get_origin(option) is list:
            (item,) = get_args(option)
            if isinstance(value, (list, tuple)) and all(type(x) in (get_args(item) or (item,)) for x in value):
                return list(value)
        elif type(value) is option:
            return value
    expected = " or ".join(str(getattr(o, "__name__", o)) if get_origin(o) is None else str(o) for o in options)
    raise ValueError(f"{key} must be {expected.replace('NoneType', 'null')}, got {value!r}")

"""Command line: which symmetry a structure has, which sets break it, what a target asks for; relaxing and training.

The options of all commands are here; what a command does is in the module of its name. These modules are imported when
their command runs, and files are read before, so that help and bad files are answered at once.
"""

from __future__ import annotations

import warnings
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from pyg_symbreak.cli.options import (
    CALCULATORS,
    Cell,
    Features,
    Json,
    Parameters,
    Supercell,
    Symprec,
    features_of,
    periodic_directions,
    repeatable,
)
from pyg_symbreak.cli.output import emit, errors
from pyg_symbreak.files import parse_file, read_frames, read_structure

__all__ = ["app"]

warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # of code that e3nn compiles when it is imported

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Symmetry of structures: which it is, what breaks it, what a target asks for; relax and train across it.",
)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Structure, in any format that ASE reads; of several frames the last.")],
    symprec: Symprec = "1e-3",
    features: Features = None,
    supercell: Supercell = (1, 1, 1),
    pbc: Annotated[
        str | None, typer.Option(metavar="TTF", help="Periodic directions, where the file is wrong: TTF is a slab.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the symmetry of a structure, its orbits, and the subgroups that it can be broken to."""
    with errors():
        atoms = read_structure(file, None if pbc is None else periodic_directions(pbc))
        repeatable(file, atoms, supercell)
        from pyg_symbreak.cli.inspect import report, show

        emit({"file": str(file)} | report(atoms.repeat(supercell), symprec, features_of(features)), as_json, show)


@app.command(context_settings={"ignore_unknown_options": True})  # symbols such as -6m2 start as options do
def group(
    symbol: Annotated[str, typer.Argument(help="Schoenflies or Hermann-Mauguin: Oh, m-3m, D3h, Cinfv, O3.")],
    keep: Annotated[str | None, typer.Option(help="Subgroup to keep, by symbol or label: C4v, 'C2v[011]'.")] = None,
    parent: Annotated[Literal["O3", "SO3"], typer.Option(help="What the network is equivariant under.")] = "O3",
    as_json: Json = False,
) -> None:
    """Show a point group and the smallest equivariant sets of objects that break it."""
    with errors():
        from pyg_symbreak.cli.group import report, show

        emit(report(symbol, keep, parent), as_json, show)


@app.command()
def diagnose(
    structure: Annotated[Path, typer.Argument(metavar="INPUT", help="The symmetric structure.")],
    target: Annotated[Path, typer.Argument(help="The structure to be predicted; a crystal in a cell of its own.")],
    symprec: Symprec = "1e-3",
    as_json: Json = False,
) -> None:
    """Tell whether an equivariant network can lead from one structure to another, and what has to be broken."""
    with errors():
        for file in (structure, target):
            parse_file(file)
        pair = read_structure(structure), read_structure(target)
        from pyg_symbreak.cli.diagnose import report, show

        emit({"input": str(structure), "target": str(target)} | report(*pair, symprec), as_json, show)


@app.command()
def relax(
    file: Annotated[
        Path, typer.Argument(help="Symmetric structure, in any format that ASE reads; of several frames the last.")
    ],
    calculator: Annotated[str, typer.Option(help=CALCULATORS)] = "emt",
    parameters: Parameters = "{}",
    along: Annotated[
        Literal["unstable", "all"],
        typer.Option(help="Leave along unstable modes, or first along every isotropy subgroup of every irrep."),
    ] = "unstable",
    amplitude: Annotated[
        float, typer.Option(help="Largest displacement of an atom, as a fraction of the shortest distance.")
    ] = 0.1,
    generations: Annotated[int, typer.Option(help="How often to go on from what was found.")] = 5,
    combine: Annotated[int, typer.Option(min=1, help="Start along up to so many unstable irreps at once.")] = 1,
    max_calls: Annotated[int, typer.Option(min=1, help="Stop after so many force calls, and say so.")] = 1000,
    cell: Cell = "fixed",
    optimizer: Annotated[str, typer.Option(help="Class of ase.optimize.")] = "BFGS",
    fmax: Annotated[float, typer.Option(help="Forces at which a relaxation ends, eV/Å.")] = 0.01,
    steps: Annotated[int, typer.Option(help="Steps after which a relaxation has failed.")] = 500,
    symprec: Symprec = "1e-3",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for found.extxyz, primitive.extxyz, relax.traj, relax.png and report.json."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Leave the saddle: relax a symmetric structure along the distortions that break its symmetry.

    The cell is fixed unless --cell says otherwise; atoms that the file holds fixed stay where they are.
    """
    with errors():
        atoms = read_structure(file)
        from pyg_symbreak.cli.relax import report, show

        found = report(
            atoms,
            calculator,
            parameters,
            along=along,
            amplitude=amplitude,
            generations=generations,
            combine=combine,
            max_calls=max_calls,
            cell=cell,
            optimizer=optimizer,
            fmax=fmax,
            steps=steps,
            symprec=symprec,
            out=out,
        )
        emit({"file": str(file)} | found, as_json, show)


@app.command()
def distortions(
    file: Annotated[
        Path, typer.Argument(help="Symmetric structure, in any format that ASE reads; of several frames the last.")
    ],
    supercell: Supercell = (1, 1, 1),
    combine: Annotated[int, typer.Option(min=1, help="Up to so many irreps in one distortion.")] = 1,
    irrep: Annotated[list[str] | None, typer.Option(help="Of these irreps alone, such as 'M(2)'; repeat it.")] = None,
    tilts: Annotated[bool, typer.Option("--tilts", help="The 15 tilt systems of a perovskite instead.")] = False,
    strain: Annotated[bool, typer.Option("--strain", help="Strains of the cell too.")] = False,
    copies: Annotated[int, typer.Option(min=1, help="At most so many copies of an irrep, softest first.")] = 1,
    amplitude: Annotated[
        float, typer.Option(help="Largest displacement of an atom in a start, as a fraction of the shortest distance.")
    ] = 0.1,
    calculator: Annotated[str | None, typer.Option(help=f"Relax inside each symmetry: {CALCULATORS}")] = None,
    parameters: Parameters = "{}",
    cell: Cell = "symmetric",
    fmax: Annotated[float, typer.Option(help="Forces at which a relaxation ends, eV/Å.")] = 0.01,
    processes: Annotated[int, typer.Option(min=1, help="Relaxations at once.")] = 1,
    symprec: Symprec = "1e-3",
    write: Annotated[
        Path | None, typer.Option(help="Folder for structures, a file for each row: its starts, then their ends.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the ways in which a structure can distort: k vectors, irreps, what they keep, domains, energies."""
    with errors():
        atoms = read_structure(file)
        repeatable(file, atoms, supercell)
        from pyg_symbreak.cli.distortions import report, show

        found = report(
            atoms,
            symprec,
            supercell=supercell,
            strain=strain,
            copies=copies,
            combine=combine,
            irreps=irrep,
            tilts=tilts,
            amplitude=amplitude,
            calculator=calculator,
            parameters=parameters,
            cell=cell,
            fmax=fmax,
            processes=processes,
            write=write,
        )
        emit({"file": str(file), "distortions": found}, as_json, show)


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="Symmetric structure, or many, in any format that ASE reads.")],
    target: Annotated[
        Path | None, typer.Argument(help="What it is to become: the same atoms in any order; of many, frame by frame.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    model: Annotated[
        Path | None,
        typer.Option(help="What predicts the target: a model that torch.save wrote, or the folder of a run of train."),
    ] = None,
    cutoff: Annotated[float | None, typer.Option(help="Neighbours that the model is given, Å.")] = None,
    symprec: Symprec = "1e-3",
    as_json: Json = False,
) -> None:
    """Write a page on a structure: in three dimensions its symmetry, its distortions, and the sets that break it.

    Of a file with several structures: which symmetries they have, what their targets ask for, and how to break it.
    The page needs no network and no other file.
    """
    with errors():
        frames = read_frames(file)
        first = list(islice(frames, 2))
        if target is not None:
            parse_file(target)
        if len(first) > 1:
            if model is not None:
                raise ValueError("--model is for one structure and its target")
            from pyg_symbreak.cli.report_dataset import report as write_many
            from pyg_symbreak.cli.report_dataset import show

            ends = None if target is None else read_frames(target)
            emit({"file": str(file)} | write_many(file.name, chain(first, frames), ends, symprec, out), as_json, show)
            return
        atoms = read_structure(file)
        end = None if target is None else read_structure(target)
        from pyg_symbreak.cli.report import report as write
        from pyg_symbreak.cli.report import show

        known = None
        if model is not None:
            if end is None:
                raise ValueError("--model needs the target that it is to predict")
            from pyg_symbreak.cli.answers import Model, loaded

            known = Model(model, None if model.is_dir() else loaded(model), cutoff)
        emit({"file": str(file)} | write(file.name, atoms, end, symprec, out, known), as_json, show)


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML file: dataset, strategy, steps, seeds and more; help(pyg_symbreak.training.Config) says all."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: results/ and the file's name.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoints in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network to predict distortions, and compare its answers with all equally good targets."""
    with errors():
        from pyg_symbreak.training.config import Config

        settings = Config.read(config)
        if settings.dataset == "Saddles":
            if resume:
                raise ValueError("a run on Saddles takes minutes and has no checkpoints: start it anew")
            from pyg_symbreak.cli.train import show_minima
            from pyg_symbreak.training.minima_run import train_minima

            folder = out or Path("results") / config.stem
            emit(train_minima(settings, folder), as_json, lambda report: show_minima(report, folder))
            return
        from pyg_symbreak.cli.train import show
        from pyg_symbreak.training.memory import keep_freed_memory
        from pyg_symbreak.training.run import is_first_process
        from pyg_symbreak.training.run import train as run

        keep_freed_memory()
        folder = out or Path("results") / config.stem
        found = run(settings, folder, resume)
        if is_first_process():
            emit(found, as_json, lambda report: show(report, folder))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a run of train with dataset: Saddles.")],
    file: Annotated[
        Path, typer.Argument(help="Symmetric molecule, in any format that ASE reads; of several frames the last.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the structures, extended XYZ.")] = Path(
        "minima.extxyz"
    ),
    charge: Annotated[float, typer.Option(help="Of the molecule, elementary charges.")] = 0.0,
    most: Annotated[int, typer.Option(min=1, help="Answers that are written, the first ones.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Of the network. Default: the first of the run.")] = None,
    as_json: Json = False,
) -> None:
    """Predict every minimum below a symmetric molecule, ranked; what they keep of its symmetry is found too."""
    with errors():
        atoms = read_structure(file)
        from pyg_symbreak.cli.predict import report, show

        emit({"file": str(file)} | report(model, atoms, charge, seed, most, out), as_json, show)


@app.command()
def preprocess(
    file: Annotated[Path, typer.Argument(metavar="IN", help="Structures: the frames of a file that ASE reads.")],
    out: Annotated[Path, typer.Argument(help="Folder of the data set. One that was begun is gone on with.")],
    breaking: Annotated[
        Literal["group", "input", "sympe", "noise"], typer.Option(help="Where objects come from.")
    ] = "group",
    keep: Annotated[str | None, typer.Option(help="Subgroup to keep, by symbol or label.")] = None,
    irreps: Annotated[str | None, typer.Option(help="Irreps that all objects are placed in, to share a batch.")] = None,
    cutoff: Annotated[float | None, typer.Option(help="Also list neighbours within this distance, Å.")] = None,
    seed: Annotated[int, typer.Option(help="Of the objects drawn.")] = 0,
    symprec: Symprec = "1e-3",
    processes: Annotated[int, typer.Option(min=1)] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Work on a Ray cluster: RAY_ADDRESS, or one started here.")
    ] = False,
    shard_size: Annotated[int, typer.Option(min=1, help="Structures that are done at once, or done again.")] = 500,
    as_json: Json = False,
) -> None:
    """Detect and break the symmetry of many structures, into a data set that PyG's OnDiskDataset opens."""
    with errors():
        frames = read_frames(file)
        from pyg_symbreak.cli.preprocess import run, show

        work = {"processes": processes, "ray": ray, "shard_size": shard_size}
        objects = {"breaking": breaking, "keep": keep, "irreps": irreps, "seed": seed, "symprec": symprec}
        emit({"file": str(file)} | run(frames, out, objects, cutoff, work), as_json, show)


@app.command()
def discover(
    model: Annotated[
        Path, typer.Argument(help="Model, as torch.save(model, file) writes it. Loading it runs its code.")
    ],
    data: Annotated[
        Path,
        typer.Argument(help="Structures: frames of a file that ASE reads, or a list of Data saved by torch, *.pt."),
    ],
    irreps_out: Annotated[str, typer.Option(help="How the output is meant to transform: 1x1o, 0e.")],
    features: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=IRREPS", help="Attribute of Data in a .pt file that turns with it: breaking=1o."),
    ] = None,
    cutoff: Annotated[
        float | None, typer.Option(help="List neighbours within this distance, Å, before each call.")
    ] = None,
    degree: Annotated[int, typer.Option(min=0, help="Largest l of the irreps that errors are told in.")] = 3,
    figure: Annotated[Path | None, typer.Option(help="File for a figure of the errors.")] = None,
    as_json: Json = False,
) -> None:
    """Tell where a model breaks the symmetry that it was meant to have, in which irreps, and why."""
    with errors():
        if not model.is_file():
            raise FileNotFoundError(f"{model}: no such file")
        frames = None if data.suffix == ".pt" else list(read_frames(data))
        from pyg_symbreak.cli.discover import report, saved, show

        dataset = saved(data) if frames is None else frames
        found = report(model, dataset, irreps_out, features_of(features), cutoff, degree, figure)
        emit({"model": str(model), "data": str(data)} | found, as_json, show)

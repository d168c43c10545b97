"""Command line: which symmetry a structure has, which sets break it, what a target asks for; relaxing and training."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from pyg_symbreak.breaking import BreakingSet, breaking_set, breaking_sets
from pyg_symbreak.detect import Symmetry, detect_symmetry
from pyg_symbreak.diagnosis import describe_group, describe_set, describe_symmetry, diagnose
from pyg_symbreak.groups import PointGroup
from pyg_symbreak.structures import read_structure

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Symmetry of structures: which it is, what breaks it, what a target asks for; relax and train across it.",
)


def _tolerance(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a length in Å nor 'auto'") from error


Symprec = Annotated[
    Any, typer.Option(metavar="Å|auto", parser=_tolerance, help="Tolerance of the symmetry detection, or auto.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; null stands for what is infinite.")]


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Structure, in any format that ASE reads.")],
    symprec: Symprec = "1e-3",
    as_json: Json = False,
) -> None:
    """Show the symmetry of a structure, its orbits, and the subgroups that it can be broken to."""
    with _errors():
        atoms = read_structure(file)
        symmetry = detect_symmetry(atoms, symprec)
        assert isinstance(symmetry, Symmetry)
        report = {
            "file": str(file),
            "formula": atoms.get_chemical_formula(),
            "atoms": len(atoms),
            "symmetry": describe_symmetry(symmetry),
            "orbits": _orbits(symmetry, atoms.get_chemical_symbols()),
            "subgroups": _subgroup_rows(symmetry.group, "O3"),
        }
        _emit(report, as_json, _print_inspection)


@app.command(context_settings={"ignore_unknown_options": True})  # symbols such as -6m2 start as options do
def group(
    symbol: Annotated[str, typer.Argument(help="Schoenflies or Hermann-Mauguin: Oh, m-3m, D3h, Cinfv, O3.")],
    keep: Annotated[str | None, typer.Option(help="Subgroup to keep, by symbol or label: C4v, 'C2v[011]'.")] = None,
    parent: Annotated[Literal["O3", "SO3"], typer.Option(help="What the network is equivariant under.")] = "O3",
    as_json: Json = False,
) -> None:
    """Show a point group and the smallest equivariant sets of objects that break it."""
    with _errors():
        whole = PointGroup(symbol)
        sets = breaking_sets(whole, keep if whole.is_finite else _listed(whole, keep), parent)
        normalizer = whole.normalizer(parent)
        report: dict[str, Any] = describe_group(whole) | {
            "parent": parent,
            "normalizer": normalizer.schoenflies,
            "keep": None if keep is None else _named_group(sets[0].keep),
            "set": describe_set(sets[0]) | {"objects": _objects(sets[0])},
            "choices": [describe_set(x) for x in sets],
        }
        if keep is None:
            report["subgroups"] = _subgroup_rows(whole, parent)
        elif whole.is_finite and normalizer.is_finite:
            report["generalized_normalizer"] = whole.generalized_normalizer(sets[0].keep, parent).schoenflies
        _emit(report, as_json, _print_group)


@app.command("diagnose")
def diagnose_pair(
    structure: Annotated[Path, typer.Argument(metavar="INPUT", help="The symmetric structure.")],
    target: Annotated[Path, typer.Argument(help="The structure to be predicted: the same atoms in any order.")],
    symprec: Symprec = "1e-3",
    as_json: Json = False,
) -> None:
    """Tell whether an equivariant network can lead from one structure to another, and what has to be broken."""
    with _errors():
        found = diagnose(read_structure(structure), read_structure(target), symprec)
        report = {"input": str(structure), "target": str(target)} | found.to_dict()
        _emit(report, as_json, lambda _: _console().print(str(found), highlight=False, soft_wrap=True))


@app.command("relax")
def relax_structure(
    file: Annotated[Path, typer.Argument(help="Symmetric structure, in any format that ASE reads.")],
    calculator: Annotated[str, typer.Option(help="emt, lj, or module:Class of any ASE calculator.")] = "emt",
    parameters: Annotated[str, typer.Option(metavar="JSON", help="Arguments of the calculator.")] = "{}",
    along: Annotated[
        Literal["unstable", "all"],
        typer.Option(help="Leave along unstable modes, or first along every isotropy subgroup of every irrep."),
    ] = "unstable",
    amplitude: Annotated[float, typer.Option(help="Displacement, as a fraction of the shortest distance.")] = 0.1,
    generations: Annotated[int, typer.Option(help="How often to go on from what was found.")] = 5,
    optimizer: Annotated[str, typer.Option(help="Class of ase.optimize.")] = "BFGS",
    fmax: Annotated[float, typer.Option(help="Forces at which a relaxation ends, eV/Å.")] = 0.01,
    steps: Annotated[int, typer.Option(help="Steps after which a relaxation has failed.")] = 500,
    symprec: Symprec = "1e-3",
    out: Annotated[Path | None, typer.Option(help="Folder for found.extxyz and report.json.")] = None,
    as_json: Json = False,
) -> None:
    """Leave the saddle: relax a symmetric structure along the distortions that break its symmetry."""
    import ase.optimize

    from pyg_symbreak.distort import distortions, relax

    with _errors(), Console(stderr=True).status("") as status:
        atoms = read_structure(file)
        if not hasattr(ase.optimize, optimizer):
            raise ValueError(f"ase.optimize has no {optimizer!r}: BFGS, LBFGS, FIRE, ...")
        try:
            found = relax(
                atoms,
                _calculator(calculator, parameters),
                along="unstable" if along == "unstable" else distortions(atoms, symprec, copies=1),
                amplitude=amplitude,
                generations=generations,
                optimizer=getattr(ase.optimize, optimizer),
                fmax=fmax,
                steps=steps,
                symprec=symprec,
                progress=status.update,
            )
        except RuntimeError as error:  # not converged, or what the calculator cannot do
            raise ValueError(str(error)) from error
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.write(out / "found.extxyz")
            (out / "report.json").write_text(json.dumps(found.to_dict(), indent=2) + "\n")
        status.stop()
        _emit({"file": str(file)} | found.to_dict(), as_json, _print_relaxation)


def _calculator(name: str, parameters: str) -> Any:
    """An ASE calculator by a short name or module:Class, made with arguments given as JSON."""
    module, _, kind = {"emt": "ase.calculators.emt:EMT", "lj": "ase.calculators.lj:LennardJones"}.get(
        name, name
    ).partition(":")
    try:
        made = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"calculator {name!r}: {error}; give emt, lj or module:Class") from error
    try:
        return made(**json.loads(parameters))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"parameters {parameters!r} of {name}: {error}") from error


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file: dataset, strategy, steps, seeds and more.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: results/ and the file's name.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoints in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network to predict distortions, and compare its answers with all equally good targets."""
    with _errors():
        from pyg_symbreak.training import Config  # imports what reading a structure does not need
        from pyg_symbreak.training.run import train as run_training

        folder = out or Path("results") / config.stem
        report = run_training(Config.read(config), folder, resume)
        if int(os.environ.get("RANK", 0)) == 0:
            _emit(report, as_json, lambda found: _print_training(found, folder))


# ---------------------------------------------------------------------- what is reported


def _orbits(symmetry: Symmetry, species: list[str]) -> list[dict[str, Any]]:
    out = []
    for number in range(int(symmetry.orbits.max()) + 1):
        members = (symmetry.orbits == number).nonzero().flatten().tolist()
        out.append(
            {
                "species": species[members[0]],
                "multiplicity": len(members),
                "members": members,
                "site_symmetry": symmetry.site_symmetry(members[0]).schoenflies,
            }
        )
    return out


def _subgroup_rows(group: PointGroup, parent: str) -> list[dict[str, Any]]:
    """What the group could be broken to, largest subgroups first, each with the smallest set for it."""
    return [
        _named_group(keep) | {"conjugates": conjugates, "set": _set_or_reason(group, keep, parent)}
        for keep, conjugates in reversed(_subgroups(group))
        if keep != group
    ]


def _subgroups(group: PointGroup) -> list[tuple[PointGroup, int | None]]:
    """Subgroups up to conjugacy, and how many conjugates each has (None: infinitely many, or not counted)."""
    if group.is_finite:
        return [(k, k.conjugates) for k in group.subgroups()]
    upright = [PointGroup(name).rotated(group.frame) for name in ("C1", "Cinf", "Cinfh", "Cinfv", "Dinf", "Dinfh")]
    small = [k.rotated(group.frame) for k in PointGroup("D2h").subgroups()[1:]] if group.dimension == 1 else []
    turn = group.frame @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ group.frame.T
    found: list[PointGroup] = []
    for k in [*upright[:1], *small, *upright[1:], PointGroup("SO3")]:
        if group.contains_group(k) and all(k != other and k.rotated(turn) != other for other in found):
            found.append(k)
    return [(k, None) for k in found]


def _listed(group: PointGroup, keep: str | None) -> PointGroup | None:
    """The subgroup of a continuous group that a label in its table means."""
    if keep is None:
        return None
    choices = [k for k, _ in _subgroups(group)]
    found = [k for k in choices if keep in (k.label, k.schoenflies)]
    if len(found) != 1:
        raise ValueError(
            f"{keep!r} does not name one of the listed subgroups of {group.schoenflies}; the choices are "
            + ", ".join(repr(k.label) for k in choices)
        )
    return found[0]


def _named_group(group: PointGroup) -> dict[str, Any]:
    return {"label": group.label} | describe_group(group)


def _set_or_reason(group: PointGroup, keep: PointGroup, parent: str) -> dict[str, Any]:
    try:
        return describe_set(breaking_set(group, keep, parent))
    except ValueError as error:
        return {"size": None, "irreps": None, "ideal": None, "degeneracy": None, "explanation": str(error)}


def _objects(found: BreakingSet) -> list[list[float]] | None:
    return None if found.size == math.inf else (found.objects.numpy().round(9) + 0.0).tolist()


# ---------------------------------------------------------------------- how it is printed


@contextmanager
def _errors() -> Iterator[None]:
    """Bad files and labels become one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        raise typer.Exit(2) from error


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)


def _emit(report: dict[str, Any], as_json: bool, show: Any) -> None:
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(report)


def _title(group: dict[str, Any], label: str | None = None) -> str:
    order = "continuous" if group["order"] is None else f"order {group['order']}"
    symbol = f"{group['hermann_mauguin']}, " if group["hermann_mauguin"] else ""
    return f"{label or group['schoenflies']} ({symbol}{order})"


def _print_inspection(report: dict[str, Any]) -> None:
    console = _console()
    symmetry = report["symmetry"]
    for name, value in (
        ("Structure", f"{report['formula']}, {report['atoms']} atom{'s' * (report['atoms'] > 1)}"),
        ("Point group", _title(symmetry)),
        ("Space group", _numbered(symmetry["space_group"])),
        ("Layer group", _numbered(symmetry["layer_group"])),
        ("Operations", symmetry["operations"] if symmetry["operations"] != symmetry["order"] else None),
        ("Tolerance", f"{symmetry['symprec']:.3g} Å; the operations miss by at most {symmetry['residual']:.1e} Å"),
    ):
        if value is not None:
            console.print(f"{name:12} {value}", highlight=False)
    orbits = Table("species", "atoms", "site symmetry", "members")
    for orbit in report["orbits"]:
        orbits.add_row(
            orbit["species"], str(orbit["multiplicity"]), orbit["site_symmetry"], _shortened(orbit["members"])
        )
    console.print("Orbits")
    console.print(orbits, highlight=False)
    _print_subgroups(console, report["subgroups"], symmetry["schoenflies"])


def _print_group(report: dict[str, Any]) -> None:
    console = _console()
    found = report["set"]
    lines = [
        ("Group", _title(report)),
        ("Normalizer", f"{report['normalizer']} in {report['parent']}"),
    ]
    if report["keep"] is not None:
        lines.append(("Keep", _title(report["keep"], report["keep"]["label"])))
    if "generalized_normalizer" in report:
        lines.append(("N(S, K)", report["generalized_normalizer"]))
    lines += [
        ("Set", f"{_size(found)} objects, irreps {found['irreps']}"),
        ("", found["explanation"]),
    ]
    if len(report["choices"]) > 1:
        choices = [f"{x['irreps']} (fixed by {x['complement']})" for x in report["choices"]]
        lines.append(("Choices", "; ".join(choices)))
    for name, value in lines:
        console.print(f"{name:12} {value}", highlight=False, soft_wrap=True)
    if "subgroups" in report:
        _print_subgroups(console, report["subgroups"], report["schoenflies"])


def _print_training(report: dict[str, Any], folder: Path) -> None:
    console = _console()
    for run in report["runs"]:
        table = Table(title=f"seed {run['seed']}, {run['steps']} steps, loss {run['loss']:.2g}", title_justify="left")
        for name in ("pair", "", "S", "K", "targets", "answers", "error (Å)", "bound without object (Å)"):
            table.add_column(name, justify="left" if name in ("pair", "", "S", "K") else "right")
        for part in ("training", "held out"):
            for row in run[part]:
                cells = [str(row[key]) for key in ("group", "keep", "targets", "answers")]
                table.add_row(row["name"], part, *cells, f"{row['error']:.2g}", f"{row['curie']:.2g}")
        console.print(table, highlight=False)
    console.print(f"Metrics, curves and checkpoints are in {folder}", highlight=False)


def _print_subgroups(console: Console, rows: list[dict[str, Any]], name: str) -> None:
    if not rows:
        console.print(f"{name} has no smaller subgroup: there is nothing to break.", highlight=False)
        return
    finite = rows[0]["conjugates"] is not None
    choice = "" if finite else f" (a selection; [001] is the axis of {name})"
    console.print(f"What {name} can be broken to{choice}", highlight=False)
    table = Table()
    for column in ("keep", "order", *(["conjugates"] if finite else []), "objects", "irreps", "ideal"):
        table.add_column(column, justify="right" if column in ("order", "conjugates", "objects") else "left")
    for row in rows:
        found = row["set"]
        cells = [row["label"], "∞" if row["order"] is None else str(row["order"])]
        cells += [str(row["conjugates"])] if finite else []
        if found["irreps"] is None:
            cells += ["?", "none found", ""]
        else:
            ideal = "yes" if found["ideal"] else "no, continuous" if found["size"] is None else "no"
            cells += [_size(found), found["irreps"], ideal]
        table.add_row(*cells)
    console.print(table, highlight=False)


def _print_relaxation(report: dict[str, Any]) -> None:
    console = _console()
    found = Table("number", "symmetry", "energy (eV)", "below the first (eV)", "kind", "unstable in")
    for number, row in enumerate(report["found"]):
        kind = {True: "minimum", False: "saddle", None: "not looked at"}[row["minimum"]]
        gain = report["found"][0]["energy"] - row["energy"]
        unstable = ", ".join(row["unstable"])
        found.add_row(str(number), row["symmetry"], f"{row['energy']:.4f}", f"{gain:.4f}", kind, unstable)
    descents = Table("from", "along", "curvature (eV/Å²)", "kept", "force calls", "to")
    for row in report["descents"]:
        along = "" if row["irrep"] is None else row["irrep"] + (" reversed" if row["sign"] < 0 else "")
        curvature = "" if row["curvature"] is None else f"{row['curvature']:.3f}"
        cells = ["" if row["parent"] is None else str(row["parent"]), along, curvature, row["kept"] or "all"]
        end = "not converged" if row["found"] is None else str(row["found"])
        descents.add_row(*cells, str(row["force_calls"]), end)
    console.print("Stationary structures")
    console.print(found, highlight=False)
    console.print("Relaxations")
    console.print(descents, highlight=False)
    total, curvatures = report["force_calls"], report["force_calls_for_curvatures"]
    console.print(f"{total} force calls, {curvatures} of them for curvatures", highlight=False)


def _size(found: dict[str, Any]) -> str:
    return "∞" if found["size"] is None else str(found["size"])


def _numbered(kind: dict[str, Any] | None) -> str | None:
    return None if kind is None else f"{kind['symbol']} ({kind['number']})"


def _shortened(members: list[int]) -> str:
    text = " ".join(map(str, members))
    return text if len(text) <= 60 else f"{text[:56].rsplit(' ', 1)[0]} ..."


if __name__ == "__main__":
    app()

"""The command line: what it reports of structures, groups and pairs, and how it refuses what is bad."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule, nanotube
from ase.constraints import FixAtoms
from ase.io import read, write
from typer.testing import CliRunner

from pyg_symbreak.breaking import breaking_set
from pyg_symbreak.cli import app
from pyg_symbreak.distort import glazer
from pyg_symbreak.groups import PointGroup

BATIO3 = files("pyg_symbreak.datasets.files") / "batio3"


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def report(*arguments: object) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def error(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_inspect_a_crystal():
    found = report("inspect", BATIO3 / "cubic.cif")
    assert found["symmetry"]["space_group"] == {"symbol": "Pm-3m", "number": 221}
    assert (found["symmetry"]["schoenflies"], found["symmetry"]["hermann_mauguin"]) == ("Oh", "m-3m")
    assert found["symmetry"]["order"] == 48
    orbits = [(o["species"], o["multiplicity"], o["site_symmetry"]) for o in found["orbits"]]
    assert orbits == [("Ba", 1, "Oh"), ("Ti", 1, "Oh"), ("O", 3, "D4h")]
    assert sorted(i for o in found["orbits"] for i in o["members"]) == list(range(5))
    sets = {row["label"]: row for row in found["subgroups"]}
    assert len(sets) == 32  # m-3m has 33 classes of subgroups, itself among them
    assert sum(row["conjugates"] for row in sets.values()) == 97  # and 98 subgroups
    for label, row in sets.items():  # finite normalizers: every set is ideal, of |S|/|K| objects
        assert row["set"]["size"] == 48 // row["order"], label
        assert row["set"]["ideal"]
    assert sets["C4v"]["set"]["irreps"] == "1x1o"
    assert sets["O"]["set"]["irreps"] == "1x0o"


def test_inspect_reports_operations_of_a_supercell(tmp_path):
    from ase.io import read

    write(tmp_path / "super.cif", read(BATIO3 / "cubic.cif").repeat((2, 1, 1)))
    found = report("inspect", tmp_path / "super.cif")["symmetry"]
    assert (found["order"], found["operations"]) == (16, 32)


def test_inspect_tolerance(tmp_path):
    atoms = molecule("CH4")
    atoms.positions[1] += 0.01
    write(tmp_path / "ch4.xyz", atoms)
    assert report("inspect", tmp_path / "ch4.xyz")["symmetry"]["schoenflies"] != "Td"
    assert report("inspect", tmp_path / "ch4.xyz", "--symprec", 0.05)["symmetry"]["schoenflies"] == "Td"


def test_automatic_tolerance(tmp_path):
    atoms = molecule("CH4")
    atoms.rattle(1e-3, seed=3)
    write(tmp_path / "ch4.xyz", atoms)
    assert report("inspect", tmp_path / "ch4.xyz", "--symprec", "auto")["symmetry"]["schoenflies"] == "Td"
    atoms.positions[1] += 0.2
    write(tmp_path / "off.xyz", atoms)
    found = report("diagnose", tmp_path / "ch4.xyz", tmp_path / "off.xyz", "--symprec", "auto")
    assert found["symmetry"]["schoenflies"] == "Td"
    result = run("inspect", tmp_path / "ch4.xyz", "--symprec", "about right")
    assert result.exit_code == 2
    assert "'about right'" in result.output


@pytest.mark.parametrize(("name", "group"), [("CO2", "Dinfh"), ("HCN", "Cinfv"), ("H", "O3")])
def test_inspect_continuous_groups(tmp_path, name, group):
    write(tmp_path / "x.xyz", molecule(name))
    found = report("inspect", tmp_path / "x.xyz")
    assert found["symmetry"]["schoenflies"] == group
    assert found["symmetry"]["order"] is None
    assert len(found["orbits"]) == {"CO2": 2, "HCN": 3, "H": 1}[name]
    assert all(row["set"]["irreps"] for row in found["subgroups"])
    shown = run("inspect", tmp_path / "x.xyz")
    assert shown.exit_code == 0
    assert f"{group} (continuous)" in shown.stdout


def test_table_of_subgroups_is_printed():
    shown = run("inspect", BATIO3 / "cubic.cif").stdout
    for text in ("BaO3Ti, 5 atoms", "Oh (m-3m, order 48)", "Pm-3m (221)", "C2v[011]", "1x1o"):
        assert text in shown


def test_group_full_set():
    found = report("group", "-6m2")
    assert (found["schoenflies"], found["order"], found["normalizer"]) == ("D3h", 12, "D6h")
    assert (found["set"]["size"], found["set"]["ideal"]) == (12, True)
    assert sorted(x["complement"] for x in found["choices"]) == ["C2", "C2", "Ci", "Cs"]
    assert found["keep"] is None
    np.testing.assert_allclose(found["set"]["objects"], breaking_set(PointGroup("-6m2")).objects.numpy(), atol=1e-8)


def test_group_takes_symbols_that_start_with_a_minus():
    assert report("group", "m-3m", "--keep", "-43m")["keep"]["label"] == "Td"
    assert run("group", "Oh", "--kept", "Td").exit_code == 2


def test_group_partial_set():
    found = report("group", "Oh", "--keep", "C4v")
    axes = np.concatenate([np.eye(3), -np.eye(3)])  # the polar axes, computed by nobody
    assert sorted(found["set"]["objects"]) == sorted(axes.tolist())
    assert (found["keep"]["label"], found["generalized_normalizer"]) == ("C4v", "Oh")
    assert "Ideal" in run("group", "Oh", "--keep", "C4v").stdout


def test_group_in_rotations_only():
    assert report("group", "C4", "--parent", "SO3")["normalizer"] == "Dinf"
    assert report("group", "O", "--parent", "SO3")["normalizer"] == "O"
    assert report("group", "O")["normalizer"] == "Oh"


def test_group_without_finite_set():
    found = report("group", "C4")
    assert (found["set"]["size"], found["set"]["ideal"], found["set"]["objects"]) == (None, False, None)
    assert "continuous" in run("group", "C4").stdout


def test_continuous_group_with_labels_of_its_table():
    table = report("group", "Dinfh")["subgroups"]
    for row in table:
        assert report("group", "Dinfh", "--keep", row["label"])["set"] | {"objects": 0} == row["set"] | {"objects": 0}
    along, across = (report("group", "Dinfh", "--keep", label)["set"]["irreps"] for label in ("C2v[001]", "C2v[100]"))
    assert across == "1x1o"  # a bent CO2
    assert along != across
    message = error("group", "Dinfh", "--keep", "C2v")
    assert "'C2v[001]'" in message
    assert "'C2v[100]'" in message


def test_diagnose():
    found = report("diagnose", BATIO3 / "paper_initial.cif", BATIO3 / "paper_target.cif")
    assert found["keep"]["label"] == "C4v"
    assert not found["representable"]
    assert 10 * found["residual"]["sum_of_squares"] == pytest.approx(0.247814, abs=1e-6)
    assert found["breaking_set"]["size"] == 6
    assert len(found["keep"]["matrices"]) == 8
    shown = run("diagnose", BATIO3 / "paper_initial.cif", BATIO3 / "paper_target.cif").stdout
    assert "cannot represent" in shown
    assert "6 objects, irreps 1x1o" in shown


def bad_structures() -> dict[str, tuple[str, str]]:
    lattice = 'Lattice="1 0 0 2 0 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return {
        "empty": ("0\n\n", "no atoms"),
        "nothing": ("", "cannot read"),
        "coincident": ("3\n\nC 1 0 0\nO 0 0 0\nO 0 0 0.001\n", "atoms 1 (O) and 2 (O) coincide"),
        "nan": ("2\n\nO 0 0 0\nO 0 0 nan\n", "position of atom 1"),
        "flat": (f"1\n{lattice}\nO 0 0 0\n", "no volume"),
    }


@pytest.mark.parametrize("name", bad_structures())
def test_bad_files(tmp_path, name):
    text, message = bad_structures()[name]
    file = tmp_path / f"{name}.xyz"
    file.write_text(text)
    for arguments in (("inspect", file), ("diagnose", BATIO3 / "cubic.cif", file)):
        assert message in error(*arguments)
        assert str(file) in error(*arguments)


def test_other_errors(tmp_path):
    assert "no such file" in error("inspect", tmp_path / "missing.cif")
    write(tmp_path / "he.xyz", Atoms("He"))
    assert "must be crystals" in error("diagnose", BATIO3 / "cubic.cif", tmp_path / "he.xyz")
    write(tmp_path / "he.cif", Atoms("He", cell=[4] * 3, pbc=True))
    assert "must hold a whole number of the parent" in error("diagnose", BATIO3 / "cubic.cif", tmp_path / "he.cif")
    assert "symprec" in error("inspect", tmp_path / "he.xyz", "--symprec", -1)
    assert "no subgroup D5" in error("group", "Oh", "--keep", "D5")
    ambiguous = error("group", "Oh", "--keep", "C2v")
    for choice in ("'C2v[001]m[010]'", "'C2v[001]m[110]'", "'C2v[011]'"):
        assert choice in ambiguous
    assert "nearest" in error("group", "Q7")
    assert "break its rotations, O" in error("group", "Oh", "--parent", "SO3")


def test_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "pyg_symbreak.cli", "inspect", "missing.cif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_relax(tmp_path):
    write(tmp_path / "line.xyz", Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]]))
    found = report("relax", tmp_path / "line.xyz", "--out", tmp_path / "out")
    assert [(row["symmetry"], row["minimum"]) for row in found["found"]] == [("Dinfh", False), ("D3h", True)]
    assert found["found"][0]["unstable"] == ["Pi_u"]
    assert found["force_calls"] == found["force_calls_for_curvatures"] + sum(
        row["force_calls"] for row in found["descents"]
    )
    frames = read(tmp_path / "out" / "found.extxyz", index=":")
    assert [frame.info["symmetry"] for frame in frames] == ["Dinfh", "D3h"]
    for frame, row in zip(frames, found["found"], strict=True):
        assert frame.get_potential_energy() == pytest.approx(row["energy"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["found"] == found["found"]


def test_relax_prints_tables(tmp_path):
    write(tmp_path / "square.xyz", Atoms("Cu4", [[1.7, 0, 0], [0, 1.7, 0], [-1.7, 0, 0], [0, -1.7, 0]]))
    for along, words in {"unstable": ("saddle", "B2u"), "all": ("not looked at", "Eu", "A1g")}.items():
        result = run("relax", tmp_path / "square.xyz", "--along", along, "--generations", 1, "--optimizer", "LBFGS")
        assert result.exit_code == 0
        for word in ("D4h", "Td", "force calls", *words):
            assert (word in result.stdout) == (word != "A1g")  # what keeps all symmetry is not followed


def test_relax_takes_any_calculator(tmp_path):
    write(tmp_path / "line.xyz", Atoms("Ar3", [[0, 0, -3.8], [0, 0, 0], [0, 0, 3.8]]))
    options = ("--calculator", "ase.calculators.lj:LennardJones", "--parameters", '{"sigma": 3.4, "rc": 40}')
    found = report("relax", tmp_path / "line.xyz", *options)
    assert found["found"][-1]["symmetry"] == "D3h"
    assert found["found"][-1]["energy"] == pytest.approx(-3, abs=1e-3)  # three bonds of depth 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calculator", "nowhere"), "nowhere"),
        (("--calculator", "ase.calculators.emt:Nothing"), "Nothing"),
        (("--parameters", "{"), "parameters"),
        (("--optimizer", "Nothing"), "Nothing"),
        (("--steps", 1), "not relaxed"),
    ],
)
def test_relax_refuses(tmp_path, options, message):
    write(tmp_path / "line.xyz", Atoms("Cu3", [[0, 0, -2.0], [0, 0, 0], [0, 0, 2.0]]))
    assert message in error("relax", tmp_path / "line.xyz", *options)


def test_relax_says_what_the_calculator_cannot_do(tmp_path):
    write(tmp_path / "xe.xyz", Atoms("Xe2", [[0, 0, 0], [0, 0, 3]]))
    assert "EMT" in error("relax", tmp_path / "xe.xyz")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "diagnose"),
        (["relax", "--help"], 0, "--calculator"),
        (["inspect", "missing.cif"], 2, "error: missing.cif: no such file"),
        (["diagnose", str(BATIO3 / "cubic.cif"), "missing.cif"], 2, "error: missing.cif: no such file"),
        (["relax", __file__], 2, "ASE cannot read this file"),
        (["train", "missing.yaml"], 2, "error: missing.yaml: no such file"),
        (["train", __file__], 2, "YAML"),
    ],
)
def test_help_and_bad_files_wait_for_no_network(arguments, code, said):
    script = "import sys; from pyg_symbreak.cli import app\ntry: app()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "AssertionError" not in done.stderr


def test_relax_writes_a_trajectory_and_a_picture(tmp_path):
    write(tmp_path / "line.xyz", Atoms("Cu3", [[0, 0, -2.3], [0, 0, 0], [0, 0, 2.3]]))
    found = report("relax", tmp_path / "line.xyz", "--out", tmp_path / "out")
    frames = read(tmp_path / "out" / "relax.traj", index=":")
    assert len(frames) == sum(row["force_calls"] for row in found["descents"])
    assert (tmp_path / "out" / "relax.png").read_bytes()[:4] == b"\x89PNG"


def test_relax_stops_at_a_number_of_force_calls(tmp_path):
    write(tmp_path / "square.xyz", Atoms("Cu4", [[1.7, 0, 0], [0, 1.7, 0], [-1.7, 0, 0], [0, -1.7, 0]]))
    result = run("relax", tmp_path / "square.xyz", "--max-calls", 25)
    assert result.exit_code == 0
    assert "25 force calls" in result.stdout
    assert "Stopped there, unfinished: D4h" in result.stdout
    assert "max_calls" in error("relax", tmp_path / "square.xyz", "--max-calls", 2)


def test_relax_of_a_crystal_with_its_cell(tmp_path):
    write(tmp_path / "bcc.cif", bulk("Cu", "bcc", a=2.9))
    fixed = report("relax", tmp_path / "bcc.cif")
    assert [row["space_group"]["symbol"] for row in fixed["found"]] == ["Im-3m"]
    result = run("relax", tmp_path / "bcc.cif", "--cell", "symmetric")
    for word in ("Im-3m (229)", "Fm-3m (225)", "saddle", "minimum"):
        assert word in result.stdout
    assert "The cell is fixed unless --cell says otherwise" in " ".join(run("relax", "--help").stdout.split())


def test_distortions_of_a_supercell(tmp_path):
    write(tmp_path / "cu.cif", Atoms("Cu", cell=[2.4] * 3, pbc=True))
    rows = report("distortions", tmp_path / "cu.cif", "--supercell", 2, 1, 1, "--write", tmp_path / "out")[
        "distortions"
    ]
    assert [(row["irrep"], row["space_group"]["number"]) for row in rows][:2] == [("Z(1)", 123), ("Z(2)", 51)]
    for number, row in enumerate(rows):
        starts = read(tmp_path / "out" / f"{number}.extxyz", index=":")
        assert len(starts) == (1 if row["reversible"] else 2)
        assert len(starts[0]) == 2
    result = run("distortions", tmp_path / "cu.cif", "--supercell", 2, 1, 1)
    assert "P4/mmm (123)" in result.stdout
    write(tmp_path / "ch4.xyz", molecule("CH4"))
    assert "only a crystal" in error("distortions", tmp_path / "ch4.xyz", "--supercell", 2, 1, 1)
    assert "from 1 on" in error("distortions", tmp_path / "cu.cif", "--supercell", 2, 0, 1)


def test_distortions_with_energies(tmp_path):
    """Simple cubic copper: within Cmcm the dimers of a doubled cell become face-centred."""
    write(tmp_path / "cu.cif", Atoms("Cu", cell=[2.4] * 3, pbc=True))
    options = ("--supercell", 2, 1, 1, "--irrep", "Z(2)", "--calculator", "emt")
    rows = report("distortions", tmp_path / "cu.cif", *options, "--write", tmp_path / "out")["distortions"]
    assert [(row["k"][0]["letter"], row["space_group"]["number"]) for row in rows] == [("Z", 51), ("Z", 63), ("Z", 11)]
    ends = [row["relaxed"][0] for row in rows]
    assert [(end["space_group"]["number"], end["same_as"]) for end in ends] == [(191, None), (225, None), (225, 2)]
    assert ends[1]["below_parent"] == pytest.approx(0.453, abs=5e-3)
    assert len(read(tmp_path / "out" / "1.extxyz", index="-1")) == 1
    assert read(tmp_path / "out" / "1.extxyz", index="-1").info["space_group"] == "Fm-3m (225)"
    assert len(read(tmp_path / "out" / "parent.extxyz")) == 1
    shown = run("distortions", tmp_path / "cu.cif", *options).stdout
    assert "Fm-3m (225), as #1" in " ".join(shown.split())
    unknown = error("distortions", tmp_path / "cu.cif", "--calculator", "no.such:Calculator")
    assert "give emt, lj, sevenn, chgnet or module:Class" in unknown


def test_distortions_of_a_perovskite(tmp_path):
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    write(tmp_path / "sto.cif", Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True))
    rows = report("distortions", tmp_path / "sto.cif", "--tilts", "--write", tmp_path / "out")["distortions"]
    assert [row["tilt"] for row in rows][12:] == ["a+b-b-", "a+b-c-", "a+a+c-"]
    assert rows[12]["space_group"] == {"number": 62, "symbol": "Pnma"}
    assert len(read(tmp_path / "out" / "12.extxyz")) == 40
    found = report("inspect", tmp_path / "sto.cif", "--supercell", 2, 2, 2)
    assert (found["symmetry"]["operations"], found["supercell"]["translations"]) == (384, 8)
    assert [wave["letter"] for wave in found["supercell"]["k"]] == ["Γ", "X", "M", "R"]
    assert [wave["arms"] for wave in found["supercell"]["k"]] == [1, 3, 3, 1]
    shown = run("inspect", tmp_path / "sto.cif", "--supercell", 2, 2, 2).stdout
    assert "k vectors    Γ, X (3 arms), M (3 arms), R" in shown
    assert "the cell lacks symmetry" not in shown
    shown = run("inspect", tmp_path / "sto.cif", "--supercell", 2, 2, 1).stdout  # the long axis could be any of three
    assert "the cell lacks symmetry of the crystal: of each domain there are 3 in all" in shown


def test_inspect_notes_what_was_not_used(tmp_path):
    """Each array of a file that tells atoms apart, until it is named, and each constraint."""
    atoms = Atoms("Fe2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.87, 2.87, 2.87], pbc=True)
    path = tmp_path / "iron.traj"

    def notes(*options):
        write(path, atoms)
        return json.loads(run("inspect", path, *options, "--json").stdout)["notes"]

    assert notes() == []
    atoms.set_initial_magnetic_moments([2.0, -2.0])
    assert notes() == ["initial_magmoms were not used: --features initial_magmoms=0e"]
    atoms.set_initial_charges([0.5, -0.5])
    atoms.set_masses([56, 57])
    atoms.set_tags([0, 1])
    assert notes("--features", "initial_magmoms=0e") == [
        "initial_charges were not used: --features initial_charges=0e",
        "masses were not used: --features masses=0e",
        "tags were not used: --features tags=0e",
    ]
    atoms.set_constraint(FixAtoms([0]))
    named = [f"{name}=0e" for name in ("initial_magmoms", "initial_charges", "masses", "tags")]
    options = [word for name in named for word in ("--features", name)]
    assert notes(*options) == ["the constraint FixAtoms was not used"]
    assert "Note         the constraint FixAtoms was not used" in run("inspect", path, *options).stdout
    mixed = Path(__file__).parent / "cases" / "copper_gold_half_ordered.cif"
    assert "partial occupancies tell sites apart" in json.loads(run("inspect", mixed, "--json").stdout)["notes"]


def test_inspect_features_and_periodic_directions(tmp_path):
    iron = Atoms("Fe2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.87, 2.87, 2.87], pbc=True)
    iron.set_initial_magnetic_moments([[0, 0, 2.0], [0, 0, -2.0]])
    write(tmp_path / "iron.xyz", iron)
    plain = json.loads(run("inspect", tmp_path / "iron.xyz", "--json").stdout)
    assert plain["symmetry"]["space_group"]["number"] == 229
    assert plain["notes"] == ["initial_magmoms were not used: --features initial_magmoms=1e"]
    report = json.loads(run("inspect", tmp_path / "iron.xyz", "--features", "initial_magmoms=1e", "--json").stdout)
    assert report["symmetry"]["operations"] == 16
    assert report["notes"] == []
    layer = Atoms("C2", [[0, 0, 0], [0, 1.42, 0]], cell=[[2.46, 0, 0], [1.23, 2.13, 0], [0, 0, 12]], pbc=True)
    write(tmp_path / "POSCAR", layer)
    report = json.loads(run("inspect", tmp_path / "POSCAR", "--pbc", "TTF", "--symprec", "0.01", "--json").stdout)
    assert report["symmetry"]["layer_group"]["number"] == 80
    tube = nanotube(4, 0, vacuum=5)
    write(tmp_path / "tube.vasp", tube)
    report = json.loads(run("inspect", tmp_path / "tube.vasp", "--pbc", "FFT", "--json").stdout)
    assert (report["symmetry"]["line_group"], report["symmetry"]["schoenflies"]) == ("L8_4/mcm", "D8h")
    assert "L8_4/mcm" in run("inspect", tmp_path / "tube.vasp", "--pbc", "FFT").stdout
    bad = run("inspect", tmp_path / "POSCAR", "--pbc", "slab")
    assert bad.exit_code == 2
    assert "three letters T or F" in bad.stderr


def test_diagnose_a_child_in_a_cell_of_its_own(tmp_path):
    """Five atoms of the parent, twenty of Pnma, turned: M and R tilts of the amplitudes that were put in."""
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    parent = Atoms("CaTiO3", scaled_positions=places, cell=[3.9] * 3, pbc=True)
    tilt = glazer("a+b-b-", parent)
    child = tilt.kept.primitive_cell(next(tilt.starts(amplitude=0.1)))
    child.rotate(40, (1, 2, 3), rotate_cell=True)
    write(tmp_path / "parent.extxyz", parent)
    write(tmp_path / "child.extxyz", child)
    found = report("diagnose", tmp_path / "parent.extxyz", tmp_path / "child.extxyz")
    assert (found["space_group"], found["domains"]) == ({"number": 62, "symbol": "Pnma"}, 24)
    assert {row["k"]["letter"] for row in found["irreps"]} == {"M", "R"}
    total = 0.1 * 1.95 * np.linalg.norm(tilt.direction) / 2**0.5  # half as many atoms as in 2 x 2 x 2
    assert np.hypot(*(row["amplitude"] for row in found["irreps"])) == pytest.approx(total, rel=1e-3)
    shown = run("diagnose", tmp_path / "parent.extxyz", tmp_path / "child.extxyz").stdout
    assert "space group Pnma (62), 24 domains" in shown


def test_diagnose_a_child_with_as_many_atoms_in_another_setting(tmp_path):
    """Five atoms in each, but the tetragonal axis first: a polar displacement along it, as in the same setting."""
    places = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)]
    parent = Atoms("TiBaO3", scaled_positions=np.array(places) + [0.5] * 3, cell=[3.9, 3.9, 6.0], pbc=True)
    child = parent.copy()
    child.positions[0, 2] += 0.2
    turned = child.copy()
    turned.set_cell(child.cell.array[[2, 0, 1]])
    write(tmp_path / "parent.extxyz", parent)
    found = []
    for name, atoms in (("child", child), ("turned", turned)):
        write(tmp_path / f"{name}.extxyz", atoms)
        found.append(report("diagnose", tmp_path / "parent.extxyz", tmp_path / f"{name}.extxyz"))
    assert found[0]["cell"] is None
    assert sorted(map(sorted, found[1]["cell"])) == [[0, 0, 1]] * 3
    for row in found:
        assert (row["space_group"]["number"], row["domains"]) == (99, 2)
        (irrep,) = row["irreps"]
        assert (irrep["irrep"], irrep["amplitude"]) == (found[0]["irreps"][0]["irrep"], pytest.approx(0.2 * 0.8**0.5))

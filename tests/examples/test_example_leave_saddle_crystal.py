"""The example with Lennard-Jones atoms in the places of a perovskite: curvatures by ASE's phonons, tilts, files."""

import json

import numpy as np
from ase.calculators.lj import LennardJones
from ase.io import read

EXAMPLE = "leave_saddle_crystal"
LJ = {"sigma": 1.8, "rc": 5.0, "smooth": True}


def test_curvatures_are_eigenvalues_of_force_constants(example):
    """Of the 120 eigenvalues of the force constants of 40 atoms those of each irrep are as many as its dimension."""
    found = example.cubic_phase(example.cubic("SrTiO3", 4.0), LennardJones(**LJ))
    atoms, step, rows = found.atoms.copy(), 1e-3, []
    atoms.calc = LennardJones(**LJ)
    for atom in range(5):  # the others are images by translations
        for axis in range(3):
            forces = []
            for sign in (1, -1):
                atoms.positions[atom, axis] += sign * step
                forces.append(atoms.get_forces().ravel())
                atoms.positions[atom, axis] -= sign * step
            rows.append((forces[1] - forces[0]) / (2 * step))
    vectors = atoms.get_scaled_positions()
    constants = np.zeros((120, 120))
    for cell in range(8):
        shift = vectors[5 * cell] - vectors[0]
        moved = (vectors + shift)[:, None] - vectors
        order = np.linalg.norm((moved - np.rint(moved)) @ atoms.cell.array, axis=2).argmin(1)
        columns = (3 * order[:, None] + np.arange(3)).ravel()
        for row in range(15):
            constants[columns[row], columns] = rows[row]
    values = np.linalg.eigvalsh((constants + constants.T) / 2)
    assert (
        np.abs(np.array([c for _, c in found.curvatures])[:, None] - values).min(1).max() < 1e-3 * np.abs(values).max()
    )
    assert abs(min(c for _, c in found.curvatures) - values[0]) < 1e-3 * np.abs(values).max()


def test_the_whole_runs(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "EDGES", {"SrTiO3": 4.0})
    monkeypatch.setattr(example, "TILTS", ("a0a0c-",))
    monkeypatch.setattr(example, "made_calculator", lambda name, parameters: LennardJones(**LJ))
    example.main(out=tmp_path)
    rows = json.loads((tmp_path / "metrics.json").read_text())["tilts"]
    assert [row["tilt"] for row in rows] == ["a0a0a0", "a0a0c-"]
    assert rows[0]["space group"] == "Pm-3m (221)"
    assert rows[0]["meV"] == 0
    assert len(read(tmp_path / "SrTiO3.extxyz", index=":")) == 2
    assert (tmp_path / "leave_saddle_crystal.png").stat().st_size > 10_000

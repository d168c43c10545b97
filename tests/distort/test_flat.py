"""Flat directions: the trough of E ⊗ e, with a known warping."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from scipy.spatial.transform import Rotation

from pyg_symbreak.distort import FLAT, relax
from pyg_symbreak.distort.displacements import Displacements


class Trough(Calculator):
    """Three atoms: V = -2 ρ² + 8 ρ⁴ + warping ρ³ cos 3φ, ρ and φ from the changes of the three distances."""

    implemented_properties = ("energy", "forces")

    def __init__(self, warping: float, error: float = 0.0):
        super().__init__()
        self.warping, self.error = warping, error

    def energy(self, pos: torch.Tensor) -> torch.Tensor:
        change = (pos - pos.roll(1, 0)).norm(dim=1) - 2.0
        phase = torch.exp(2j * torch.pi / 3 * torch.arange(3, dtype=torch.float64))
        z = (change * phase).sum()
        square = z.abs().square()
        return 10 * change.sum().square() - 2 * square + 8 * square.square() + self.warping * (z**3).real

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        pos = torch.tensor(atoms.positions, requires_grad=True)
        energy = self.energy(pos)
        energy.backward()
        self.error = -self.error  # outwards, then inwards
        outwards = atoms.positions - atoms.positions.mean(0)
        forces = -pos.grad.numpy() + self.error * outwards / np.linalg.norm(outwards)
        self.results = {"energy": energy.item(), "forces": forces}

    def lowest_across(self, atoms: Atoms) -> float:
        """Of the exact second derivatives, in the irrep that breaks C2v."""
        (irrep,) = Displacements(atoms, 0.05).irreps
        hessian = torch.autograd.functional.hessian(self.energy, torch.tensor(atoms.positions)).reshape(9, 9).numpy()
        flat = irrep.basis.reshape(-1, 9)
        return float(np.linalg.eigvalsh(flat @ hessian @ flat.T)[0])


def triangle(seed: int = 0) -> Atoms:
    angle = 2 * np.pi * np.arange(3) / 3
    points = 1.2 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return Atoms("H3", points @ Rotation.random(random_state=seed).as_matrix().T)


@pytest.mark.parametrize("seed", range(3))
def test_a_trough_without_warping_is_reported_as_flat(seed):
    result = relax(triangle(seed), Trough(0))
    assert result.found[0].unstable == ["E'"]
    assert [(s.symmetry.schoenflies, s.kind, s.flat, s.is_minimum) for s in result.found[1:]] == [
        ("C2v", "flat", ["B2"], None)
    ] * 2
    assert result.minima == sorted(result.found[1:], key=lambda s: s.energy)
    for s in result.minima:
        assert s.energy == pytest.approx(-1 / 8, abs=1e-4)  # -2 ρ² + 8 ρ⁴ at ρ² = 1/8
        assert abs(s.curvatures[0][1]) < FLAT / 4
        assert s.uncertainty == FLAT
        assert "flat in B2" in repr(s)
    assert [row["flat"] for row in result.to_dict()["found"]] == [[], ["B2"], ["B2"]]


@pytest.mark.parametrize("warping", [0.01, -0.01, 0.003, -0.003, 0.03, 0.1])
@pytest.mark.parametrize("seed", range(2))
def test_a_weak_warping_has_its_saddle_and_its_minimum(warping, seed):
    """Along the trough the curvature is 9 |warping| ρ, and ∓ tells the lower from the upper."""
    result = relax(triangle(seed), Trough(warping))
    upper, lower = sorted(result.found[1:], key=lambda s: -s.energy)
    assert (upper.kind, upper.unstable) == ("saddle", ["B2"])
    assert lower.kind == "minimum"
    assert [s is lower for s in result.minima] == [True]
    for s in (upper, lower):
        ((_, curvature),) = s.curvatures
        exact = Trough(warping).lowest_across(s.atoms)
        assert np.sign(curvature) == np.sign(exact)
        if abs(curvature) < 0.1:  # else they are not refined
            assert curvature == pytest.approx(exact, abs=1e-3)


def test_a_warping_that_cannot_be_told_is_flat():
    result = relax(triangle(), Trough(3e-4))
    assert [s.kind for s in result.found[1:]] == ["flat", "flat"]


def test_forces_that_do_not_vanish_widen_what_is_called_flat():
    """The structure cannot be relaxed further, so that 0.02 eV/Å² are not told from nothing, and 0.3 are."""
    for warping, kinds in ((0.003, {"flat"}), (0.05, {"saddle", "minimum"})):
        result = relax(triangle(), Trough(warping, error=8e-3), steps=60)
        assert {s.kind for s in result.found[1:]} == kinds
        for s in result.found[1:]:
            assert FLAT < s.uncertainty < 0.1


def test_what_is_far_from_flat_takes_no_more_force_calls():
    steep = relax(triangle(), Trough(2.0))
    assert [s.curvature_calls for s in steep.found] == [1, 1, 1]

import subprocess
import sys

import numpy as np
import pytest
import torch
from e3nn import o3
from explicit_groups import by_harmonics, explicit, random_orthogonal, random_rotation, turn

from pyg_symbreak.groups import irreps_matrices, irreps_terms, wigner_d

RNG = np.random.default_rng(0)
POLAR = np.array([0.0, 1, 0])  # the axis of e3nn's harmonics, where Euler angles degenerate
ROTATIONS = np.array(
    [
        np.eye(3),
        *(turn(POLAR, a) for a in (np.pi, 1e-9, 1e-4, 0.3, np.pi - 1e-7)),
        *(turn([1, 0, 0], a) for a in (np.pi, np.pi / 2, 1e-8)),
        *(random_rotation(RNG) for _ in range(12)),
    ]
)


@pytest.mark.parametrize("l", range(12))
def test_wigner_matrices_move_spherical_harmonics(l):
    assert np.abs(wigner_d(l, ROTATIONS)[l] - by_harmonics(f"1x{l}e", ROTATIONS)).max() < 1e-13


def test_degree_one_is_the_rotation_and_degree_two_moves_symmetric_tensors():
    d0, d1, d2 = wigner_d(2, ROTATIONS)
    assert (d0 == 1).all()
    assert (d1 == ROTATIONS).all()
    to_tensor = o3.wigner_3j(1, 1, 2, dtype=torch.float64).numpy()
    v = RNG.standard_normal(5)
    moved = ROTATIONS @ (to_tensor @ v) @ np.swapaxes(ROTATIONS, 1, 2)
    assert np.abs(to_tensor @ (d2 @ v)[:, None, :, None] - moved[:, :, :, None]).max() < 1e-14


def test_homomorphism_and_orthogonality_to_high_degree():
    a = np.array([random_rotation(RNG) for _ in range(30)])
    b = np.array([random_rotation(RNG) for _ in range(30)])
    for l, (x, y, z) in enumerate(zip(wigner_d(16, a), wigner_d(16, b), wigner_d(16, a @ b), strict=True)):
        assert np.abs(x @ y - z).max() < 2e-14
        assert np.abs(x @ np.swapaxes(x, 1, 2) - np.eye(2 * l + 1)).max() < 2e-14


def test_characters_of_turns():
    """The trace of D^l(θ) is sin((l + ½)θ)/sin(θ/2)."""
    for angle in (0.1, 1.0, 2.5):
        for l, d in enumerate(wigner_d(16, turn([1, 2, 3], angle)[None])):
            assert abs(np.trace(d[0]) - np.sin((l + 0.5) * angle) / np.sin(angle / 2)) < 1e-12


@pytest.mark.parametrize("irreps", ["0e+0o", "2x1o+1e", "3x0o+2e+2x2o+4o", "5o"])
def test_irreps_of_improper_elements(irreps):
    elements = np.array([random_orthogonal(RNG) for _ in range(8)] + [-np.eye(3), np.diag([1.0, 1, -1])])
    d = irreps_matrices(irreps, elements)
    assert d.shape == (10, o3.Irreps(irreps).dim, o3.Irreps(irreps).dim)
    assert np.abs(d - by_harmonics(irreps, elements)).max() < 1e-13
    parity = np.concatenate([[float(ir.p)] * ir.dim for mul, ir in o3.Irreps(irreps) for _ in range(mul)])
    assert np.abs(d[8] - np.diag(parity)).max() < 1e-15


def test_a_group_stays_a_group_in_its_irreps():
    for name in ("Ih", "D7d"):
        g = explicit(name)
        d = irreps_matrices("3o+6e", g)
        products = (d[:, None] @ d).reshape(-1, d.shape[1] ** 2)
        nearest = np.argmax(products @ d.reshape(len(d), -1).T, axis=1)
        assert np.abs(products - d.reshape(len(d), -1)[nearest]).max() < 1e-12


@pytest.mark.parametrize("l", range(17))
def test_matrices_of_e3nn(l):
    """To the accuracy of e3nn's, which come from Euler angles."""
    ours = wigner_d(l, ROTATIONS[9:])[l]
    theirs = o3.Irrep(l, 1).D_from_matrix(torch.from_numpy(ROTATIONS[9:])).numpy()
    assert np.abs(ours - theirs).max() < 2e-5


def test_terms_of_irreps_as_e3nn_reads_them():
    for text in ("", "0e", "2x1o+0e", " 3x2e + 1o+12x10o", "1x1o+1x1o", "0x1o+2e"):
        irreps = o3.Irreps(text)
        expected = [(mul, (ir.l, ir.p)) for mul, ir in irreps]
        assert irreps_terms(text) == irreps_terms(irreps) == irreps_terms(expected) == expected
        assert irreps_matrices(text, ROTATIONS).shape == (len(ROTATIONS), irreps.dim, irreps.dim)
    for text in ("1", "1a", "x1o", "1o,2e", "-1o", "1o+", "o1", "2x", "1oe"):
        with pytest.raises(ValueError, match="does not name irreps"):
            irreps_terms(text)


def test_the_groups_import_neither_torch_nor_e3nn():
    heavy = "torch", "e3nn", "torch_geometric", "scipy", "sympy"
    code = "import sys; from pyg_symbreak.groups import PointGroup, wigner_d; PointGroup('Oh').subgroups()"
    code += "; wigner_d(3, PointGroup('O').matrices)"
    code += f"; print({{*{heavy!r}}} & {{*sys.modules}})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.strip().endswith("set()")

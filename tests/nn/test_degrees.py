import torch
from e3nn import o3

from pyg_symbreak.nn.degrees import blocks_of, join_degrees, parities_of, split_by_degree


def test_split_and_join():
    irreps = o3.Irreps("2x1o+1x0e+0x3e+1x2e+1x1e+2x0o")
    assert parities_of(irreps) == {0: [1, -1, -1], 1: [-1, -1, 1], 2: [1]}
    x = torch.arange(2.0 * irreps.dim).view(2, irreps.dim)
    parts = split_by_degree(x, blocks_of(irreps))
    # Columns of x are 2x1o at 0..5, 0e at 6, 2e at 7..11, 1e at 12..14 and 2x0o at 15, 16.
    assert parts[0][0].tolist() == [[6.0, 15.0, 16.0]]
    assert parts[1][0].tolist() == [[0.0, 3.0, 12.0], [1.0, 4.0, 13.0], [2.0, 5.0, 14.0]]
    assert parts[2][0].flatten().tolist() == [7.0, 8.0, 9.0, 10.0, 11.0]
    assert torch.equal(join_degrees(parts, blocks_of(irreps)), x)

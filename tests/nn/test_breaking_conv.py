import pytest
import torch
from e3nn import o3
from e3nn.nn.models.gate_points_2102 import Convolution
from nn_graphs import random_graph, random_orthogonal, representation

from pyg_symbreak.nn import BreakingConv

# One block for each irrep, sorted by degree, so that e3nn's blocks are the channels of one degree and parity.
WIDE = "16x0e+17x0o+16x1o+18x1e+3x2e"  # so wide that each parity has matrices of its own
HIDDEN = "3x0e+2x0o+2x1o+4x1e+1x2e+3x2o"


def weights_in_matrices(conv: BreakingConv) -> list[torch.Tensor]:
    """W_1 and W_0 of each degree of the input, side by side, and W_2 of each degree of the output, by rows."""
    p_in, p_out = ({} for _ in range(2))
    for parities, irreps in ((p_in, conv.irreps_in), (p_out, conv.irreps_out)):
        for mul, ir in sorted(o3.Irreps(irreps), key=lambda term: term.ir.l):
            parities.setdefault(ir.l, []).extend(mul * [ir.p])
    masks = [(parities, parities + p_out.get(ell, [])) for ell, parities in p_in.items()]
    for l_out, parities_out in p_out.items():
        rows = []
        for l_in, parities in p_in.items():
            for l_edge in range(abs(l_in - l_out), min(conv.lmax, l_in + l_out) + 1):
                reached = [p * (-1) ** l_edge for p in parities]
                rows += reached if set(reached) & set(parities_out) else []
        masks.append((rows, parities_out))
    matrices, at = [], 0
    for rows, columns in masks:
        mask = torch.tensor(rows)[:, None] == torch.tensor(columns)
        matrices.append(torch.zeros(mask.shape).masked_scatter(mask, conv.weight.detach()[at:]))
        at += int(mask.sum())
    assert at == len(conv.weight)
    return matrices


def reference_with_same_weights(conv: BreakingConv) -> Convolution:
    """e3nn's convolution with the weights of ``conv``; its radial perceptron is one linear map."""
    irreps_in, irreps_out = o3.Irreps(conv.irreps_in), o3.Irreps(conv.irreps_out)
    reference = Convolution(
        irreps_in,
        "0e",
        o3.Irreps.spherical_harmonics(conv.lmax),
        irreps_out,
        conv.radial_weight.size(1),
        radial_layers=0,
        radial_neurons=0,
        num_neighbors=1.0,
    )
    degrees_in = [ell for ell, _ in conv.degrees_in]
    degrees_out = sorted({ir.l for _, ir in irreps_out})

    def channels(irreps, block):
        start = sum(mul for mul, ir in irreps[:block] if ir.l == irreps[block].ir.l)
        return slice(start, start + irreps[block].mul)

    matrices = weights_in_matrices(conv)
    with torch.no_grad():
        for product, is_self in ((reference.lin1, False), (reference.sc, True)):
            for _, ins, view in product.weight_views(yield_instruction=True):
                ell = irreps_in[ins.i_in1].ir.l
                num_in = conv.degrees_in[degrees_in.index(ell)][1]
                columns = channels(irreps_out, ins.i_out) if is_self else channels(irreps_in, ins.i_out)
                columns = slice(columns.start + num_in * is_self, columns.stop + num_in * is_self)
                view[:, 0] = matrices[degrees_in.index(ell)][channels(irreps_in, ins.i_in1), columns]

        # Radial weights lie by (l_in, l_out, l_edge, channel with a weight), rows of W_2 by (l_in, l_edge, channel).
        radial_at, row_at, start = {}, {}, 0
        for l_out in degrees_out:
            parities_out = {ir.p for _, ir in irreps_out if ir.l == l_out}
            row = 0
            for l_in, num_in in conv.degrees_in:
                for l_edge in range(abs(l_in - l_out), min(conv.lmax, l_in + l_out) + 1):
                    if any(ir.l == l_in and ir.p * (-1) ** l_edge in parities_out for _, ir in irreps_in):
                        row_at[l_in, l_edge, l_out] = row
                        row += num_in
        for l_in in degrees_in:
            for l_out in degrees_out:
                for l_edge in range(abs(l_in - l_out), min(conv.lmax, l_in + l_out) + 1):
                    for block, (mul, ir) in enumerate(irreps_in):
                        if ir.l == l_in and o3.Irrep(l_out, ir.p * (-1) ** l_edge) in irreps_out:
                            radial_at[block, l_edge, l_out] = slice(start, start + mul)
                            start += mul
        second = {ins.i_in1: (ins.i_out, view) for _, ins, view in reference.lin2.weight_views(yield_instruction=True)}
        radial, at = [], 0
        for ins in reference.tp.instructions:
            l_out = reference.tp.irreps_out[ins.i_out].ir.l
            radial.append(conv.radial_weight[radial_at[ins.i_in1, ins.i_in2, l_out]])
            at += len(radial[-1])
            block_out, view = second[ins.i_out]
            rows = channels(irreps_in, ins.i_in1)
            offset = row_at[irreps_in[ins.i_in1].ir.l, ins.i_in2, l_out]
            matrix = matrices[len(degrees_in) + degrees_out.index(l_out)]
            view[:, 0] = matrix[offset + rows.start : offset + rows.stop, channels(irreps_out, block_out)]
        reference.fc.layer0.weight.copy_(torch.cat(radial).T)
    return reference


@pytest.mark.parametrize(
    ("irreps_in", "irreps_out", "lmax"),
    [
        (HIDDEN, HIDDEN, 4),
        ("3x0e+1x1o", HIDDEN, 4),
        (HIDDEN, "1x1o", 4),
        ("2x0o+1x3e", "4x0e+1x2o", 3),
        (WIDE, WIDE, 2),
        ("1x0e+2x1o+1x0o+1x0e+1x1e+1x1o", "2x1o+1x0o+3x1e+1x0e", 2),
    ],
)
def test_is_the_convolution_of_e3nn(double, irreps_in, irreps_out, lmax):
    torch.manual_seed(0)
    reachable = [
        (mul, ir)
        for mul, ir in o3.Irreps(irreps_out)
        if any(ir in a * b for _, a in o3.Irreps(irreps_in) for _, b in o3.Irreps.spherical_harmonics(lmax))
    ]
    conv = BreakingConv(irreps_in, o3.Irreps(reachable), lmax=lmax, edge_features=6)
    reference = reference_with_same_weights(conv)
    assert sum(p.numel() for p in conv.parameters()) == sum(p.numel() for p in reference.parameters())
    data = random_graph(6, o3.Irreps(irreps_in).dim, seed=0)
    source, target = data.edge_index
    edge_vec = data.pos[target] - data.pos[source]
    cutoff = torch.rand(len(edge_vec), 1)
    harmonics = cutoff * o3.spherical_harmonics(range(lmax + 1), edge_vec, True, normalization="component")
    radial = torch.randn(len(edge_vec), 6)
    # Each edge counts as its cutoff says, in the harmonics of degree 0; as its square in the others.
    divided = harmonics.clone()
    for edge, node in enumerate(target.tolist()):
        number = sum(cutoff[e, 0] for e in range(len(target)) if target[e] == node)
        squared = sum(cutoff[e, 0] ** 2 for e in range(len(target)) if target[e] == node)
        divided[edge, 0] /= 1 + number
        divided[edge, 1:] /= (1 + squared) ** 0.5
    expected = reference(data.x, torch.ones(6, 1), source, target, divided, radial)
    out = conv(data.x, data.edge_index, harmonics, radial)
    assert out.std() > 0.1
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("improper", [False, True])
def test_equivariant_in_features_and_object(improper):
    torch.manual_seed(0)
    irreps_in, irreps_out, irreps_breaking = "2x1o+1x0e+1x1e", "1x2e+1x0o+2x1o+1x0e", "1x4o+1x1o"
    conv = BreakingConv(irreps_in, irreps_out, irreps_breaking).double()
    data = random_graph(5, 10, seed=0)
    edge_vec = data.pos[data.edge_index[1]] - data.pos[data.edge_index[0]]
    radial = torch.randn(len(edge_vec), 16).double()
    breaking = torch.randn(5, 12).double()
    rotation = random_orthogonal(improper, torch.Generator().manual_seed(1))

    def convolve(x, vectors, b):
        harmonics = o3.spherical_harmonics(range(5), vectors, True, normalization="component")
        return conv(x, data.edge_index, harmonics, radial, b)

    out = convolve(data.x, edge_vec, breaking)
    turned = convolve(
        data.x @ representation(irreps_in, rotation).T,
        edge_vec @ rotation.T,
        breaking @ representation(irreps_breaking, rotation).T,
    )
    torch.testing.assert_close(turned, out @ representation(irreps_out, rotation).T, rtol=0, atol=1e-12)
    assert (convolve(data.x, edge_vec, torch.zeros_like(breaking)) - out).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"no object breaking was given: expected \[5, 12\]"):
        convolve(data.x, edge_vec, None)


def test_errors():
    data, conv = random_graph(4, 1, seed=0), BreakingConv("0e", "1o", "1o").double()
    num_edges = data.edge_index.size(1)
    edges = torch.zeros(num_edges, 25).double(), torch.zeros(num_edges, 16).double()
    with pytest.raises(ValueError, match=r"x have shape \(4, 2\), expected \[N, 1\]"):
        conv(torch.zeros(4, 2).double(), data.edge_index, *edges)
    with pytest.raises(ValueError, match=r"breaking has shape \(1, 3\), expected \[4, 3\]"):
        conv(data.x, data.edge_index, *edges, torch.zeros(1, 3).double())
    with pytest.raises(ValueError, match="irreps_out 1x0o has an irrep of degree 0 that no path reaches from 1x0e"):
        BreakingConv("0e", "0o")


def test_repr():
    assert repr(BreakingConv("0e", "2x1o")) == "BreakingConv(1x0e, 2x1o, lmax=4)"
    assert repr(BreakingConv("0e", "2x1o", "1o")) == "BreakingConv(1x0e, 2x1o, irreps_breaking=1x1o, lmax=4)"

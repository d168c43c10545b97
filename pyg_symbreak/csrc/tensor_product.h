// Sums over neighbours of weighted tensor products with spherical harmonics, and all their derivatives.
//
// The form Φ = Σ_e Σ_paths Σ g[target e, m_out, u] w[e, u] C[e, m_out, m_in] x[source e, m_in, u] with u for channels,
// w[e] = W radial[e] and C[e] = Σ_m coupling[m] harmonics[e, m] is linear in each of x, harmonics, radial, W and g. The
// sum over the neighbours is ∂Φ/∂g, its gradients are the other four derivatives, and since Φ is linear in each factor,
// the derivatives of derivatives are derivatives with one factor replaced.
//
// Method. Edges go sorted by target, 16 at a time. For each path and run of channels the weights of the 16 edges are made
// (a small matrix product), then each edge adds its product to the row of its target, and to the slopes that the
// derivatives take (two more matrix products, and sums over channels for those by the harmonics). Channels lie side by
// side in a vector register. Threads have ranges of targets.
//
// Cost. Of a sum, edges · Σ channels · (radial + (2 l_in + 1) (2 l_out + 1)) multiplications, twice to three times as many
// of all derivatives; in memory what goes in and out, and kilobytes for a tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// One path for a run of channels: degrees as 2l + 1, and where its numbers lie in x, W, C and g. Of x and g it sees a block,
// which has x_width and out_width numbers for each node, and begins after x_block and out_block for each node. Lines in the
// rows of x and g (fixed m) are strides apart, the lines of C (fixed m_out) too.
struct Path {
    int64_t d_in, d_out, channels, x_block, x_width, x_at, x_stride, weight_at, coupling_at, coupling_stride, out_block, out_width, out_at, out_stride;
};

// An entry of the coupling that is not zero.
struct Coupled {
    int64_t m, at;
};

template <class T>
struct TensorProduct {
    size_t nodes, edges, dim_in, dim_out, harmonics, radial, weights, couplings;
    const int64_t *source, *target;
    std::vector<Path> paths;
    std::vector<Coupled> coupled;
    const T* coupling;                // [harmonics, couplings]
    const T *x, *y, *h, *w, *g;       // the factors; g is null if only out is asked for
    T *dx, *dy, *dh, *dw, *out;       // derivatives by them, zeros to be added to, null if not asked for

    void run(size_t threads) const;
};

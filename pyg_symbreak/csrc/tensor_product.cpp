#include "tensor_product.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#define INLINED __attribute__((always_inline))
#else
#define INLINE inline
#define INLINED
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define VECTORS 1
#endif
#endif

// Compiled for three generations of processors; the loader takes the newest that the machine has.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_PROCESSOR
#endif

namespace {

constexpr size_t TILE = 16;  // edges
constexpr int MOST = 23;     // 2l + 1 for l = 11

// L numbers side by side.
#if VECTORS
template <class T, int L>
struct Lanes {
    typedef T type __attribute__((vector_size(L * sizeof(T))));
};
template <class T>
constexpr int WIDEST = int(64 / sizeof(T));
#else
template <class T, int L>
struct Lanes;
template <class T>
constexpr int WIDEST = 1;
#endif
template <class T>
struct Lanes<T, 1> {
    typedef T type;
};

template <class V, class T>
INLINE V load(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class T>
INLINE void store(T* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

template <class V, class T>
INLINE void add(T* to, V v) {
    store(to, load<V>(to) + v);
}

// Calls f(L, at) for runs of L from 0 to end, as wide as fit.
template <int L, class F>
INLINE void in_lanes(size_t end, F f, size_t at = 0) {
    for (; at + L <= end; at += L) f(std::integral_constant<int, L>{}, at);
    if constexpr (L > 1) in_lanes<(L > 4 ? L / 2 : 1)>(end, f, at);
}

// One edge, one path, L channels. D is d_in where it is known. Products with q = ∂Φ/∂(C x) go to sums, lane by lane.
template <int D, class V, class T>
INLINE void couple(const Path& p, const T* x, const T* c, V w, const T* g, T* dx, T* sums, T* dw, T* out) {
    const int d = D ? D : int(p.d_in);
    V f[D ? D : MOST], df[D ? D : MOST];
#pragma GCC unroll 8
    for (int i = 0; i < d; i++) f[i] = load<V>(x + i * p.x_stride), df[i] = V{};
    V slope{};
    for (int o = 0; o < p.d_out; o++, c += p.coupling_stride * TILE) {
        V product{};
#pragma GCC unroll 8
        for (int i = 0; i < d; i++) product += c[i * TILE] * f[i];
        if (out) add(out + o * p.out_stride, w * product);
        if (!g) continue;
        const V y = load<V>(g + o * p.out_stride), q = w * y;
        slope += y * product;
        if (dx)
#pragma GCC unroll 8
            for (int i = 0; i < d; i++) df[i] += c[i * TILE] * q;
        if (sums)
#pragma GCC unroll 8
            for (int i = 0; i < d; i++) add(sums + (o * d + i) * TILE * WIDEST<T>, q * f[i]);
    }
    if (dw) store(dw, slope);
    if (dx)
#pragma GCC unroll 8
        for (int i = 0; i < d; i++) add(dx + i * p.x_stride, df[i]);
}

#if VECTORS
// Lanes [a0 + a1, b0 + b1, a2 + a3, ...] for S = 1, the same with runs of S in place of numbers.
template <int S, class V, int... I>
INLINE V merge(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int W = sizeof...(I);
    return __builtin_shufflevector(a, b, (I / S % 2 ? W + I - S : I)...) + __builtin_shufflevector(a, b, (I / S % 2 ? W + I : I + S)...);
}

// The sums of the lanes of v[0], ..., v[W - 1], by merging halves; S = W / 2 at the start.
template <class V, int W, int S>
INLINE V totals(const V* v) {
    if constexpr (S == 0) return *v;
    else return merge<S>(totals<V, W, S / 2>(v), totals<V, W, S / 2>(v + S), std::make_integer_sequence<int, W>{});
}
#else
template <class V, int W, int S>
INLINE V totals(const V* v) {
    return *v;
}
#endif

// Sums over `edges`, which are sorted by target, into dx, dw and out; rows of dy and dh.
template <class T>
INLINE void tiles(const TensorProduct<T>& t, const T* transposed, const int64_t* edges, size_t count, T* dx, T* dw) {
    using Row = typename Lanes<T, WIDEST<T>>::type;
    const size_t K = t.radial;
    size_t channels = 0, products = 0;
    for (const Path& p : t.paths) {
        channels = std::max(channels, size_t(p.channels));
        products = std::max(products, size_t(p.d_in * p.d_out));
    }
    std::vector<T> h(TILE * K), dh(TILE * K), y(TILE * t.harmonics), dy(y.size()), c(TILE * t.couplings), dc(c.size());
    std::vector<T> weights(TILE * channels), slopes(TILE * channels), sums(products * TILE * WIDEST<T>);
    const bool back = t.dh || dw;
    for (size_t start = 0; start < count; start += TILE, edges += TILE) {
        const size_t n = std::min(TILE, count - start);
        std::fill(h.begin(), h.end(), T(0)), std::fill(y.begin(), y.end(), T(0)), std::fill(c.begin(), c.end(), T(0));
        std::fill(dh.begin(), dh.end(), T(0)), std::fill(dy.begin(), dy.end(), T(0)), std::fill(dc.begin(), dc.end(), T(0));
        for (size_t e = 0; e < n; e++) {
            std::copy_n(t.h + edges[e] * K, K, h.data() + e * K);
            for (size_t m = 0; m < t.harmonics; m++) y[m * TILE + e] = t.y[edges[e] * t.harmonics + m];
        }
        for (const Coupled& k : t.coupled)
            for (size_t e = 0; e < TILE; e += WIDEST<T>)
                add(&c[k.at * TILE + e], t.coupling[k.m * t.couplings + k.at] * load<Row>(&y[k.m * TILE + e]));
        for (const Path& p : t.paths) {
            const size_t U = size_t(p.channels);
            const T* matrix = transposed + p.weight_at * K;  // [K, U]
            in_lanes<WIDEST<T>>(U, [&](auto lanes, size_t u) INLINED {
                using V = typename Lanes<T, decltype(lanes)::value>::type;
                for (size_t e = 0; e < n; e += 8) {
                    V w[8] = {};
                    for (size_t k = 0; k < K; k++) {
                        const V row = load<V>(matrix + k * U + u);
#pragma GCC unroll 8
                        for (int i = 0; i < 8; i++) w[i] += h[(e + i) * K + k] * row;
                    }
#pragma GCC unroll 8
                    for (int i = 0; i < 8; i++) store(&weights[(e + i) * U + u], w[i]);
                }
            });
            if (t.dy) std::fill_n(sums.data(), p.d_in * p.d_out * TILE * WIDEST<T>, T(0));
            for (size_t e = 0; e < n; e++) {
                const size_t j = t.nodes * p.x_block + t.source[edges[e]] * p.x_width + p.x_at;
                const size_t i = t.nodes * p.out_block + t.target[edges[e]] * p.out_width + p.out_at;
                in_lanes<WIDEST<T>>(U, [&](auto lanes, size_t u) INLINED {
                    using V = typename Lanes<T, decltype(lanes)::value>::type;
                    auto go = [&](auto d) INLINED {
                        couple<decltype(d)::value>(p, t.x + j + u, &c[p.coupling_at * TILE + e], load<V>(&weights[e * U + u]), t.g ? t.g + i + u : nullptr,
                                  dx ? dx + j + u : nullptr, t.dy ? &sums[e * WIDEST<T>] : nullptr, back ? &slopes[e * U + u] : nullptr, t.out ? t.out + i + u : nullptr);
                    };
                    if (p.d_in == 1) go(std::integral_constant<int, 1>{});
                    else if (p.d_in == 3) go(std::integral_constant<int, 3>{});
                    else if (p.d_in == 5) go(std::integral_constant<int, 5>{});
                    else go(std::integral_constant<int, 0>{});
                });
            }
            if (t.dy)
                for (int o = 0; o < p.d_out; o++)
                    for (int i = 0; i < p.d_in; i++)
                        for (size_t e = 0; e < TILE; e += WIDEST<T>) {
                            Row rows[WIDEST<T>];
                            std::memcpy(rows, &sums[((o * p.d_in + i) * TILE + e) * WIDEST<T>], sizeof rows);
                            add(&dc[(p.coupling_at + o * p.coupling_stride + i) * TILE + e], totals<Row, WIDEST<T>, WIDEST<T> / 2>(rows));
                        }
            if (back) in_lanes<WIDEST<T>>(K, [&](auto lanes, size_t k) INLINED {
                using V = typename Lanes<T, decltype(lanes)::value>::type;
                for (size_t e = 0; e < n; e += 8) {
                    V rows[8], sum[8];
#pragma GCC unroll 8
                    for (int i = 0; i < 8; i++) rows[i] = load<V>(&h[(e + i) * K + k]), sum[i] = load<V>(&dh[(e + i) * K + k]);
                    for (size_t u = 0; u < U; u++) {
                        const T* slope = &slopes[e * U + u];
                        const size_t at = (p.weight_at + u) * K + k;
                        if (t.dh) {
                            const V row = load<V>(t.w + at);
#pragma GCC unroll 8
                            for (int i = 0; i < 8; i++) sum[i] += slope[i * U] * row;
                        }
                        if (dw) {
                            V s = load<V>(dw + at);
#pragma GCC unroll 8
                            for (int i = 0; i < 8; i++) s += slope[i * U] * rows[i];
                            store(dw + at, s);
                        }
                    }
#pragma GCC unroll 8
                    for (int i = 0; i < 8; i++) store(&dh[(e + i) * K + k], sum[i]);
                }
            });
        }
        if (t.dy)
            for (const Coupled& k : t.coupled)
                for (size_t e = 0; e < TILE; e += WIDEST<T>)
                    add(&dy[k.m * TILE + e], t.coupling[k.m * t.couplings + k.at] * load<Row>(&dc[k.at * TILE + e]));
        for (size_t e = 0; e < n; e++) {
            if (t.dh) std::copy_n(dh.data() + e * K, K, t.dh + edges[e] * K);
            for (size_t m = 0; t.dy && m < t.harmonics; m++) t.dy[edges[e] * t.harmonics + m] = dy[m * TILE + e];
        }
    }
}

EACH_PROCESSOR void work(const TensorProduct<float>& t, const float* w, const int64_t* edges, size_t count, float* dx, float* dw) {
    tiles(t, w, edges, count, dx, dw);
}

EACH_PROCESSOR void work(const TensorProduct<double>& t, const double* w, const int64_t* edges, size_t count, double* dx, double* dw) {
    tiles(t, w, edges, count, dx, dw);
}

}  // namespace

template <class T>
void TensorProduct<T>::run(size_t threads) const {
    std::vector<int64_t> start(nodes + 1), order(edges);
    for (size_t e = 0; e < edges; e++) start[target[e] + 1]++;
    for (size_t i = 0; i < nodes; i++) start[i + 1] += start[i];
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (size_t e = 0; e < edges; e++) order[next[target[e]]++] = int64_t(e);
    std::vector<T> transposed(weights * radial);
    for (const Path& p : paths)
        for (int64_t u = 0; u < p.channels; u++)
            for (size_t k = 0; k < radial; k++)
                transposed[p.weight_at * radial + k * p.channels + u] = w[(p.weight_at + u) * radial + k];

    // Each thread has targets of its own, and sums of its own for what several targets share.
    std::vector<size_t> ends(threads + 1);
    for (size_t i = 1; i <= threads; i++)
        ends[i] = size_t(*std::lower_bound(start.begin(), start.end(), int64_t(edges * i / threads)));
    std::vector<std::vector<T>> sums(threads - 1, std::vector<T>((dx ? nodes * dim_in : 0) + (dw ? weights * radial : 0)));
    auto part = [&](size_t i, T* dx, T* dw) { work(*this, transposed.data(), order.data() + ends[i], ends[i + 1] - ends[i], dx, dw); };
    std::vector<std::thread> others;
    for (size_t i = 1; i < threads; i++) {
        T* const own = sums[i - 1].data();
        others.emplace_back(part, i, dx ? own : nullptr, dw ? own + (dx ? nodes * dim_in : 0) : nullptr);
    }
    part(0, dx, dw);
    for (std::thread& other : others) other.join();
    for (const std::vector<T>& own : sums) {
        size_t at = 0;
        for (size_t k = 0; dx && k < nodes * dim_in; k++) dx[k] += own[at++];
        for (size_t k = 0; dw && k < weights * radial; k++) dw[k] += own[at++];
    }
}

template struct TensorProduct<float>;
template struct TensorProduct<double>;

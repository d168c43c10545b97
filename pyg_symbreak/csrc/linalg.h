// Vectors and matrices of three dimensions, by their definitions; singular values by one-sided Jacobi rotations (Hestenes,
// J. SIAM 6, 51 (1958)).
//
// Cost. A few operations each; the decomposition takes some sweeps of three rotations.
#pragma once

#include <array>
#include <cmath>
#include <utility>

struct Vec {
    double x, y, z;
};

inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(double s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
inline double dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline double norm(Vec a) { return std::sqrt(dot(a, a)); }
inline Vec unit(Vec a) { return (1 / norm(a)) * a; }

// Rows r[0], r[1], r[2].
struct Mat {
    std::array<Vec, 3> r;

    static Mat identity() { return {{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}}; }
    static Mat zero() { return {{{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}}}; }
    static Mat columns(Vec a, Vec b, Vec c) { return {{{{a.x, b.x, c.x}, {a.y, b.y, c.y}, {a.z, b.z, c.z}}}}; }
};

inline Vec operator*(const Mat& m, Vec v) { return {dot(m.r[0], v), dot(m.r[1], v), dot(m.r[2], v)}; }
inline Mat operator*(double s, const Mat& m) { return {{{s * m.r[0], s * m.r[1], s * m.r[2]}}}; }
inline Mat transposed(const Mat& m) { return Mat::columns(m.r[0], m.r[1], m.r[2]); }
inline double determinant(const Mat& m) { return dot(m.r[0], cross(m.r[1], m.r[2])); }
inline double trace(const Mat& m) { return m.r[0].x + m.r[1].y + m.r[2].z; }

inline Mat operator*(const Mat& a, const Mat& b) {
    Mat out;
    for (int i = 0; i < 3; i++) out.r[i] = a.r[i].x * b.r[0] + a.r[i].y * b.r[1] + a.r[i].z * b.r[2];
    return out;
}

inline double largest_difference(const Mat& a, const Mat& b) {
    double out = 0;
    for (int i = 0; i < 3; i++) {
        const Vec d = a.r[i] - b.r[i];
        out = std::fmax(out, std::fmax(std::fabs(d.x), std::fmax(std::fabs(d.y), std::fabs(d.z))));
    }
    return out;
}

// Adds a bᵀ.
inline void add_outer(Mat& m, Vec a, Vec b) {
    m.r[0] = m.r[0] + a.x * b;
    m.r[1] = m.r[1] + a.y * b;
    m.r[2] = m.r[2] + a.z * b;
}

// Some unit vector across another vector.
inline Vec across(Vec a) {
    const double x = std::fabs(a.x), y = std::fabs(a.y), z = std::fabs(a.z);
    return unit(cross(a, x <= y && x <= z ? Vec{1, 0, 0} : y <= z ? Vec{0, 1, 0} : Vec{0, 0, 1}));
}

// Singular value decomposition m = Σ_k a[k] v[k]ᵀ, a[k] orthogonal with falling lengths, v orthonormal
// (one-sided Jacobi, which is accurate for small singular values too).
struct Singular {
    std::array<Vec, 3> a, v;

    explicit Singular(const Mat& m) {
        const Mat t = transposed(m);
        a = t.r;
        v = Mat::identity().r;
        bool turned = true;
        for (int sweep = 0; turned && sweep < 30; sweep++) {
            turned = false;
            for (int p = 0; p < 2; p++)
                for (int q = p + 1; q < 3; q++) turned |= turn(p, q);
        }
        auto exchange = [&](int p, int q) {
            if (dot(a[p], a[p]) < dot(a[q], a[q])) std::swap(a[p], a[q]), std::swap(v[p], v[q]);
        };
        exchange(0, 1), exchange(1, 2), exchange(0, 1);
    }

private:
    bool turn(int p, int q) {
        const double alpha = dot(a[p], a[p]), beta = dot(a[q], a[q]), gamma = dot(a[p], a[q]);
        if (gamma * gamma <= 1e-30 * alpha * beta) return false;
        const double zeta = (beta - alpha) / (2 * gamma);
        const double t = std::copysign(1 / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta)), zeta);
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (auto* w : {&a, &v}) {
            const Vec u = (*w)[p];
            (*w)[p] = c * u - s * (*w)[q];
            (*w)[q] = s * u + c * (*w)[q];
        }
        return true;
    }
};

// Orthogonal matrix R of a given determinant for which tr(Rᵀ m) is largest (Kabsch, Acta Cryst. A 32, 922 (1976)).
inline Mat nearest_orthogonal(const Mat& m, int sign) {
    const Singular svd(m);
    const Vec first = dot(svd.a[0], svd.a[0]) > 0 ? unit(svd.a[0]) : Vec{1, 0, 0};
    Vec second = svd.a[1] - dot(first, svd.a[1]) * first;
    second = dot(second, second) > 0 ? unit(second) : across(first);
    const double handed = dot(svd.v[0], cross(svd.v[1], svd.v[2]));
    const Vec third = (handed > 0 ? sign : -sign) * cross(first, second);
    return Mat::columns(first, second, third) * Mat{svd.v};
}

#include "canonical.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

namespace {

constexpr double shortest = 1e-4;  // lengths, of about 1, of which the direction is more than round-off
const double TWO_PI = 2 * std::acos(-1.0);

// Numbers of the distinct values, in their order; values closer than `same` of the largest are one.
std::vector<int64_t> levels(const std::vector<double>& values, double same) {
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return values[i] < values[j]; });
    double largest = 1e-300;
    for (const double x : values) largest = std::max(largest, std::fabs(x));
    std::vector<int64_t> out(values.size());
    for (size_t k = 1; k < order.size(); k++)
        out[order[k]] = out[order[k - 1]] + (values[order[k]] - values[order[k - 1]] > same * largest);
    return out;
}

// Positions of the values of the highest level.
std::vector<size_t> highest(const std::vector<double>& values, double same) {
    const std::vector<int64_t> level = levels(values, same);
    const int64_t top = *std::max_element(level.begin(), level.end());
    std::vector<size_t> out;
    for (size_t i = 0; i < level.size(); i++)
        if (level[i] == top) out.push_back(i);
    return out;
}

// Those items that belong to the class with the fewest members, the first of such classes.
template <class Key>
std::vector<size_t> rarest(const std::vector<size_t>& items, Key key) {
    std::map<decltype(key(0)), std::vector<size_t>> classes;
    for (const size_t i : items) classes[key(i)].push_back(i);
    auto fewer = [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); };
    return std::min_element(classes.begin(), classes.end(), fewer)->second;
}

// Positions from the centre, averaged over the operations.
std::vector<Vec> averaged(const std::vector<Vec>& positions, const std::vector<Mat>& rotations, const int64_t* images) {
    const size_t n = positions.size();
    const Vec sum = std::accumulate(positions.begin(), positions.end(), Vec{0, 0, 0}), center = (1.0 / double(n)) * sum;
    std::vector<Vec> out(n, Vec{0, 0, 0});
    for (size_t g = 0; g < rotations.size(); g++) {
        const Mat inverse = transposed(rotations[g]);
        for (size_t i = 0; i < n; i++) out[i] = out[i] + inverse * (positions[size_t(images[g * n + i])] - center);
    }
    for (Vec& x : out) x = (1.0 / double(rotations.size())) * x;
    return out;
}

struct Frames {
    std::vector<Mat> rows;       // the axes
    std::vector<double> widths;  // root mean square distances from the first axis
};

// Numbers of the classes of atoms that kind, distance from the centre and surroundings tell apart, in their order.
std::vector<int64_t> classes_of(const std::vector<Vec>& q, const int64_t* kinds, double same) {
    const size_t n = q.size();
    std::vector<double> radius, around(n);
    for (size_t i = 0; i < n; i++) {
        radius.push_back(norm(q[i]));
        for (size_t j = 0; j < n; j++) around[i] += std::exp(-norm(q[i] - q[j])) * std::sqrt(2.0 + double(kinds[j]));
    }
    const std::vector<int64_t> shell = levels(radius, same), place = levels(around, same);
    std::map<std::tuple<int64_t, int64_t, int64_t>, int64_t> numbers;
    for (size_t i = 0; i < n; i++) numbers[{kinds[i], shell[i], place[i]}] = 0;
    int64_t count = 0;
    for (auto& [key, number] : numbers) number = count++;
    std::vector<int64_t> out;
    for (size_t i = 0; i < n; i++) out.push_back(numbers[{kinds[i], shell[i], place[i]}]);
    return out;
}

// Frames of right hands of positions at distances of about 1 from the centre.
Frames frames_of(const std::vector<Vec>& q, const std::vector<int64_t>& classes, double same) {
    const size_t n = q.size();
    std::vector<double> radius;
    for (const Vec& v : q) radius.push_back(norm(v));
    auto of = [&](size_t i) { return classes[i]; };
    const std::vector<size_t> first = rarest(highest(radius, same), of);
    std::vector<double> along, offset;
    std::vector<Vec> across;
    for (const size_t i : first)
        for (size_t j = 0; j < n; j++) {
            const Vec axis = unit(q[i]);
            along.push_back(dot(axis, q[j]));
            across.push_back(q[j] - along.back() * axis);
            offset.push_back(norm(across.back()));
        }
    const std::vector<int64_t> height = levels(along, same);
    Frames out;
    for (const size_t pair : rarest(highest(offset, same), [&](size_t k) { return std::make_pair(of(k % n), height[k]); })) {
        const Vec e1 = unit(q[first[pair / n]]);
        Vec e2 = unit(across[pair]);
        e2 = e2 - dot(e1, e2) * e1;  // of a long thin molecule the first time is not enough
        out.rows.push_back({{{e1, e2, cross(e1, e2)}}});
        const double* distance = &offset[pair - pair % n];
        out.widths.push_back(std::sqrt(std::inner_product(distance, distance + n, distance, 0.0) / double(n)));
    }
    return out;
}

// Of each class of atoms, given by numbers, the places from their mean, stretched along the principal axes until these
// are 1: what turns a small ring around an axis, or a small shell around the centre, to the rest shows in them. Along
// axes shorter than `least` the class has no extent.
std::vector<Vec> stretched(const std::vector<Vec>& q, const std::vector<int64_t>& classes, double least) {
    std::map<int64_t, std::vector<size_t>> members;
    for (size_t i = 0; i < q.size(); i++) members[classes[i]].push_back(i);
    std::vector<Vec> out(q.size(), Vec{0, 0, 0});
    for (const auto& [number, atoms] : members) {
        const double share = 1.0 / double(atoms.size());
        Vec mean{0, 0, 0};
        for (const size_t i : atoms) mean = mean + share * q[i];
        Mat square = Mat::zero();
        for (const size_t i : atoms) add_outer(square, share * (q[i] - mean), q[i] - mean);
        const Singular axes(square);
        for (const size_t i : atoms)
            for (size_t k = 0; k < 3; k++)
                if (const double length = std::sqrt(norm(axes.a[k])); length > least)
                    out[i] = out[i] + (dot(axes.v[k], q[i] - mean) / length) * axes.v[k];
    }
    return out;
}

// Positions of the values that are least, up to `tie` of the largest.
std::vector<size_t> least(const std::vector<double>& values, double tie) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    std::vector<size_t> out;
    for (size_t k = 0; k < values.size(); k++)
        if (values[k] <= *low + tie * *high) out.push_back(k);
    return out;
}

}  // namespace

double Generic::operator()(Vec x) const {
    const Vec t = mixing * x - phases;
    double out = 1;
    for (const double phase : {t.x, t.y, t.z})
        out *= (1 - decay * decay) / (1 + decay * decay - 2 * decay * std::cos(TWO_PI * phase));
    return out;
}

CanonicalFrame canonical_frame(const std::vector<Vec>& positions, const int64_t* kinds, const std::vector<Mat>& rotations,
                               const int64_t* permutations, const Generic& generic) {
    const std::vector<Vec> x = averaged(positions, rotations, permutations);
    const size_t n = x.size();
    double squares = 0;
    for (const Vec& v : x) squares += dot(v, v);
    std::vector<Vec> q;
    for (const Vec& v : x) q.push_back(std::sqrt(double(n) / squares) * v);
    const std::vector<int64_t> classes = classes_of(q, kinds, generic.same);
    const Frames frames = frames_of(q, classes, generic.same);
    const size_t count = frames.rows.size();
    auto sum = [&](size_t f, const std::vector<Vec>& places, double width) {
        const double across = 1 / width, hand = f < count ? across : -across;
        double out = 0;
        for (size_t i = 0; i < n; i++) {
            const Vec v = frames.rows[f % count] * places[i];
            out += std::sqrt(2.0 + double(kinds[i])) * generic({v.x, across * v.y, hand * v.z});
        }
        return out;
    };
    std::vector<size_t> best(2 * count);
    std::iota(best.begin(), best.end(), 0);
    auto keep_least = [&](auto value) {
        std::vector<double> values;
        for (const size_t f : best) values.push_back(value(f));
        std::vector<size_t> kept;
        for (const size_t k : least(values, generic.tie)) kept.push_back(best[k]);
        best = kept;
    };
    keep_least([&](size_t f) { return sum(f, q, frames.widths[f % count]); });
    if (best.size() > rotations.size()) {
        const std::vector<Vec> places = stretched(q, classes, shortest);
        keep_least([&](size_t f) { return sum(f, places, 1); });
    }
    Mat rows = frames.rows[best[0] % count];
    if (best[0] >= count) rows.r[2] = -1.0 * rows.r[2];
    CanonicalFrame out = {transposed(rows), {}, std::vector<int64_t>(n), int64_t(best.size())};
    std::vector<std::pair<int64_t, double>> keys;
    for (size_t i = 0; i < n; i++) {
        out.positions.push_back(rows * x[i]);
        keys.push_back({kinds[i], dot(generic.direction, out.positions[i])});
    }
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return keys[i] < keys[j]; });
    for (size_t rank = 0; rank < n; rank++) out.ranks[order[rank]] = int64_t(rank);
    return out;
}

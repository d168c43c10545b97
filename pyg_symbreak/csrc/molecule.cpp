#include "molecule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

namespace {

// No group without an axis that all share has more elements.
constexpr size_t largest_polyhedral = 120;
constexpr size_t block_rows = 64;  // permutations are kept in blocks of at most so many
constexpr double round_off = 1e-6;  // groups that miss by less are one with the trivial group
constexpr double infinity = std::numeric_limits<double>::infinity();
// Points of a lattice differ along this direction, so that sorting by it tells them apart.
constexpr Vec generic = {0.5216294, 0.6180215, 0.5881373};

// Finds the atom of the same kind that is nearest to a point.
class Matcher {
public:
    Matcher(const std::vector<Vec>& x, const std::vector<int64_t>& kinds) : kinds(kinds), order(x.size()) {
        std::vector<double> along(x.size());
        for (size_t k = 0; k < x.size(); k++) along[k] = dot(generic, x[k]);
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](int a, int b) {
            return kinds[a] != kinds[b] ? kinds[a] < kinds[b] : along[a] != along[b] ? along[a] < along[b] : a < b;
        });
        for (const int k : order) heights.push_back(along[k]), points.push_back(x[k]);
        begin.resize(x.size()), end.resize(x.size());
        for (size_t first = 0, last = 0; first < order.size(); first = last) {
            while (last < order.size() && kinds[order[last]] == kinds[order[first]]) last++;
            for (size_t k = first; k < last; k++) begin[order[k]] = int(first), end[order[k]] = int(last);
        }
    }

    // Atom of the kind of `atom` nearest to a point and no farther from it than `radius`, or -1.
    int nearest(int atom, Vec point, double radius) const {
        const double height = dot(generic, point);
        auto k = std::lower_bound(heights.begin() + begin[atom], heights.begin() + end[atom], height - radius) -
                 heights.begin();
        double least = radius * radius;
        int found = -1;
        for (; k < end[atom] && heights[k] <= height + radius; k++) {
            const Vec miss = points[k] - point;
            const double square = dot(miss, miss);
            if (square <= least) least = square, found = order[k];
        }
        return found;
    }

private:
    const std::vector<int64_t>& kinds;
    std::vector<int> order, begin, end;  // begin, end: where the atoms of the kind of an atom lie in `order`
    std::vector<double> heights;
    std::vector<Vec> points;
};

// Finds operations by the images of two atoms and their determinant.
class Index {
public:
    explicit Index(const Operations& found) : found(found) {
        size_t capacity = 16;
        while (capacity < 2 * found.count()) capacity *= 2;
        slots.assign(capacity, -1);
    }

    // Number of the operation, or -1.
    int find(int32_t image_i, int32_t image_j, int sign) const {
        for (size_t slot = first_slot(image_i, image_j, sign);; slot = (slot + 1) & (slots.size() - 1)) {
            const int g = slots[slot];
            if (g < 0) return -1;
            const int32_t* map = found.map(g);
            if (map[found.i] == image_i && map[found.j] == image_j && found.signs[g] == sign) return g;
        }
    }

    // Number of the operation h followed by g, as far as the two atoms tell.
    int product(int g, int h) const {
        const int32_t *a = found.map(g), *b = found.map(h);
        return find(a[b[found.i]], a[b[found.j]], found.signs[g] * found.signs[h]);
    }

    void insert(int g) {
        size_t slot = first_slot(found.map(g)[found.i], found.map(g)[found.j], found.signs[g]);
        while (slots[slot] >= 0) slot = (slot + 1) & (slots.size() - 1);
        slots[slot] = g;
    }

private:
    size_t first_slot(int32_t image_i, int32_t image_j, int sign) const {
        const uint64_t key = (uint64_t(uint32_t(image_i)) << 33) ^ (uint64_t(uint32_t(image_j)) << 1) ^ (sign < 0);
        return size_t((key * 0x9E3779B97F4A7C15u) >> 32) & (slots.size() - 1);
    }

    const Operations& found;
    std::vector<int> slots;
};

// Groups that operations generate which miss by no more than a limit.
class Chain {
public:
    explicit Chain(const Operations& found) : found(found), index(found), by_residual(found.count()) {
        for (size_t g = 0; g < found.count(); g++) index.insert(int(g));
        std::iota(by_residual.begin(), by_residual.end(), 0);
        std::stable_sort(by_residual.begin(), by_residual.end(),
                         [&](int a, int b) { return found.residuals[a] < found.residuals[b]; });
    }

    // Sorted members of the group that grows by one operation after the other, those that miss least first, as long as
    // all products are within the limit; what it cannot grow by is left out. It is the same for all limits from the
    // largest residual of its members on.
    std::vector<int> group(double limit) {
        this->limit = limit;
        inside.assign(found.count(), false);
        inside[0] = true;
        members = {0};
        generators.clear();
        for (const int g : by_residual) {
            if (found.residuals[g] > limit) break;
            if (inside[g]) continue;
            const std::vector<int> before = members;
            generators.push_back(g);
            if (generate()) continue;
            generators.pop_back();
            members = before;
            inside.assign(found.count(), false);
            for (const int member : members) inside[member] = true;
        }
        std::sort(members.begin(), members.end());
        return members;
    }

private:
    // Closes the members under the generators; false if a product was not found. It is enough that a set with the
    // identity is closed under products with the generators, since all its members are such products.
    bool generate() {
        inside.assign(found.count(), false);
        inside[0] = true;
        members = {0};
        for (size_t k = 0; k < members.size(); k++)
            for (const int g : generators) {
                const int p = index.product(members[k], g);
                if (p < 0 || found.residuals[p] > limit || !composed(members[k], g, p)) return false;
                if (!inside[p]) inside[p] = true, members.push_back(p);
            }
        return true;
    }

    bool composed(int g, int h, int p) const {
        const int32_t *a = found.map(g), *b = found.map(h), *c = found.map(p);
        for (size_t k = 0; k < found.size; k++)
            if (a[b[k]] != c[k]) return false;
        return true;
    }

    const Operations& found;
    Index index;
    std::vector<int> by_residual;
    double limit = 0;
    std::vector<bool> inside;
    std::vector<int> members, generators;
};

// Right-handed orthonormal frame of two directions, in which both count alike.
Mat frame(Vec a, Vec b) {
    a = unit(a), b = unit(b);
    const Vec first = unit(a + b), second = unit(a - b);
    return Mat::columns(first, second, cross(first, second));
}

}  // namespace

void Operations::add(const Mat& rotation, const int32_t* map, double residual, int sign) {
    rotations.push_back(rotation);
    if (blocks.empty() || blocks.back()->size() + size > blocks.back()->capacity()) {
        blocks.push_back(std::make_shared<std::vector<int32_t>>());
        blocks.back()->reserve(size * std::min(block_rows, count() + 1));
    }
    blocks.back()->insert(blocks.back()->end(), map, map + size);
    maps.push_back(blocks.back()->data() + blocks.back()->size() - size);
    residuals.push_back(residual);
    signs.push_back(sign);
}

Operations Operations::chosen(const std::vector<int>& members) const {
    Operations out(size, i, j);
    out.blocks = blocks;
    for (const int g : members) {
        out.rotations.push_back(rotations[g]);
        out.residuals.push_back(residuals[g]);
        out.signs.push_back(signs[g]);
        out.maps.push_back(maps[g]);
    }
    return out;
}

double Operations::largest_residual() const { return *std::max_element(residuals.begin(), residuals.end()); }

Extent extent(const double* positions, size_t size) {
    double reach = 0;
    for (size_t k = 0; k < 3 * size; k++) {
        if (!std::isfinite(positions[k])) return {infinity, std::numeric_limits<double>::quiet_NaN()};
        reach = std::max(reach, std::fabs(positions[k]));
    }
    std::vector<std::pair<double, Vec>> sorted(size);
    for (size_t k = 0; k < size; k++) {
        const Vec v = {positions[3 * k], positions[3 * k + 1], positions[3 * k + 2]};
        sorted[k] = {dot(generic, v), v};
    }
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    double shortest = infinity;
    for (size_t k = 0; k < size; k++)
        for (size_t l = k + 1; l < size && sorted[l].first - sorted[k].first < shortest; l++)
            shortest = std::min(shortest, norm(sorted[l].second - sorted[k].second));
    return {shortest, reach};
}

Molecule::Molecule(const double* positions, const int64_t* kinds, size_t size)
    : x(size), kinds(kinds, kinds + size), radii(size), center{0, 0, 0}, off_axis(0) {
    const Vec* given = reinterpret_cast<const Vec*>(positions);
    for (size_t k = 0; k < size; k++) center = center + given[k];
    center = (1.0 / double(size)) * center;
    Mat moment = Mat::zero();
    for (size_t k = 0; k < size; k++) {
        x[k] = given[k] - center;
        radii[k] = norm(x[k]);
        add_outer(moment, x[k], x[k]);
    }
    axis = Singular(moment).v[0];
    for (size_t k = 0; k < size; k++) off_axis = std::max(off_axis, norm(x[k] - dot(axis, x[k]) * axis));
}

double Molecule::residual(const Mat& rotation, const int32_t* map) const {
    double square = 0;
    for (size_t k = 0; k < x.size(); k++) {
        const Vec miss = x[map[k]] - rotation * x[k];
        square = std::max(square, dot(miss, miss));
    }
    return std::sqrt(square);
}

// Orthogonal matrix of a given determinant that carries the atoms best onto those that they are mapped on.
Mat Molecule::fitted(const int32_t* map, int sign) const {
    bool still = sign > 0;
    Mat covariance = Mat::zero();
    for (size_t k = 0; k < x.size(); k++) {
        still = still && map[k] == int32_t(k);
        add_outer(covariance, x[map[k]], x[k]);
    }
    return still ? Mat::identity() : nearest_orthogonal(covariance, sign);
}

// Two atoms not in line with the centre, with few look-alikes; how much their errors grow elsewhere.
Molecule::Pair Molecule::reference_pair(double symprec) const {
    const size_t size = x.size();
    std::vector<int> order(size), alike(size);  // alike: atoms of the kind at the distance from the centre
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return kinds[a] != kinds[b] ? kinds[a] < kinds[b] : radii[a] < radii[b]; });
    for (size_t k = 0, low = 0, high = 0; k < size; k++) {
        const int atom = order[k];
        while (kinds[order[low]] != kinds[atom] || radii[order[low]] < radii[atom] - symprec) low++;
        high = std::max(high, k);
        while (high < size && kinds[order[high]] == kinds[atom] && radii[order[high]] <= radii[atom] + symprec) high++;
        alike[atom] = int(high - low);
    }
    const double far = *std::max_element(radii.begin(), radii.end());
    size_t i = size, j = size;
    for (size_t k = 0; k < size; k++)
        if (radii[k] >= far / 2 && (i == size || alike[k] < alike[i])) i = k;
    std::vector<double> growth(size);
    for (size_t k = 0; k < size; k++) {
        const double from_line = norm(cross(x[i], x[k])) / radii[i];
        const double spread = std::min(from_line, from_line * radii[i] / std::max(radii[k], 1e-12));
        growth[k] = far / std::max(spread, 1e-12);
    }
    const double allowed = std::max(2.0, 1.2 * *std::min_element(growth.begin(), growth.end()));
    for (size_t k = 0; k < size; k++)
        if (growth[k] <= allowed && (j == size || alike[k] < alike[j])) j = k;
    return {i, j, growth[j]};
}

// All operations, fitted one by one, that miss no atom by more than symprec; the identity is first.
Operations Molecule::search(double symprec, const Raise& raise) const {
    const auto [i, j, growth] = reference_pair(symprec);
    const size_t size = x.size();
    auto like = [&](size_t atom) {
        std::vector<int> out;
        for (size_t k = 0; k < size; k++)
            if (kinds[k] == kinds[atom] && std::fabs(radii[k] - radii[atom]) <= symprec) out.push_back(int(k));
        return out;
    };
    const std::vector<int> like_i = like(i), like_j = like(j);
    const double apart = norm(x[i] - x[j]), area = norm(cross(x[i], x[j]));
    const double far = *std::max_element(radii.begin(), radii.end());
    const double loose = (1 + 2 * growth) * symprec + 1e-9 * far;
    const Mat start = transposed(frame(x[i], x[j]));
    const Matcher matcher(x, kinds);

    Operations found(size, i, j);
    std::vector<int32_t> map(size);
    std::vector<size_t> hit(size, 0);
    size_t stamp = 0;
    auto matches = [&](const Mat& rotation) {
        stamp++;
        for (size_t k = 0; k < size; k++) {
            map[k] = matcher.nearest(int(k), rotation * x[k], loose);
            if (map[k] < 0 || hit[map[k]] == stamp) return false;
            hit[map[k]] = stamp;
        }
        return true;
    };
    Mat rotation;
    double miss;
    auto fits = [&](int sign) {
        rotation = fitted(map.data(), sign);
        miss = residual(rotation, map.data());
        return miss <= symprec;
    };
    // What is the product of two operations found needs no search: the second is one of few, kept with its inverse.
    std::unordered_map<size_t, size_t> known;
    std::vector<std::pair<size_t, std::vector<int32_t>>> generators;
    auto key = [&](int32_t a, int32_t b, int sign) { return 2 * (size_t(a) * size + size_t(b)) + (sign < 0); };
    auto is_product = [&](int32_t a, int32_t b, int sign) {
        for (const auto& [g, back] : generators) {
            const auto h = known.find(key(back[a], back[b], sign * found.signs[g]));
            if (h == known.end()) continue;
            for (size_t k = 0; k < size; k++) map[k] = found.map(g)[found.map(h->second)[k]];
            return true;
        }
        return false;
    };
    for (const int a : like_i)
        for (const int b : like_j) {
            if (std::fabs(norm(x[a] - x[b]) - apart) > 2 * symprec || norm(cross(x[a], x[b])) <= 0.1 * area) continue;
            Mat image = frame(x[a], x[b]);
            for (const int sign : {1, -1}) {
                if (sign < 0)
                    for (Vec& row : image.r) row.z = -row.z;
                const bool composed = is_product(a, b, sign) && fits(sign);
                if (!composed && !(matches(image * start) && fits(sign))) continue;
                if (!composed) {
                    generators.emplace_back(found.count(), std::vector<int32_t>(size));
                    for (size_t k = 0; k < size; k++) generators.back().second[map[k]] = int32_t(k);
                }
                known.emplace(key(map[i], map[j], sign), found.count());
                found.add(rotation, map.data(), miss, sign);
            }
        }
    if (raise) raise(found);

    std::vector<int> order;
    Index index(found);
    for (size_t g = 0; g < found.count(); g++) {
        const int32_t* images = found.map(g);
        if (found.residuals[g] > symprec || index.find(images[i], images[j], found.signs[g]) >= 0) continue;
        index.insert(int(g));
        order.push_back(int(g));
    }
    std::sort(order.begin(), order.end(), [&](int g, int h) {
        if (found.signs[g] != found.signs[h]) return found.signs[g] > found.signs[h];
        return std::lexicographical_compare(found.map(g), found.map(g) + size, found.map(h), found.map(h) + size);
    });
    return found.chosen(order);
}

// The operations of a group with matrices that multiply exactly as the permutations do, and what these miss by.
Operations Molecule::exact(Operations group, const Raise& raise) const {
    Operations out = std::move(group);
    out.rotations = out.count() > largest_polyhedral ? axial(out) : averaged(out);
    for (size_t g = 0; g < out.count(); g++) out.residuals[g] = residual(out.rotations[g], out.map(g));
    if (raise) raise(out);
    return out;
}

// The matrices of a group about one axis, of which there may be many: turns by multiples of one angle, and reflections
// of the plane across the axis, whose angles are fitted to all of them.
std::vector<Mat> Molecule::axial(const Operations& group) const {
    Mat squares = Mat::zero();  // turns by 2θ and back, which leave the axis alone
    for (const Mat& m : group.rotations) {
        const Mat square = m * m, back = transposed(square);
        for (int k = 0; k < 3; k++) squares.r[k] = squares.r[k] + square.r[k] + back.r[k];
    }
    const Vec z = Singular(squares).v[0], x = across(z), y = cross(z, x);
    const size_t count = group.count();
    std::vector<double> along(count), turned(count), angles(count);  // each of them 1 or -1, and the image of x
    size_t turns = 0, kernel = 0;
    for (size_t g = 0; g < count; g++) {
        const Mat& m = group.rotations[g];
        along[g] = dot(z, m * z) > 0 ? 1 : -1;
        turned[g] = group.signs[g] * along[g];
        angles[g] = std::atan2(dot(y, m * x), dot(x, m * x));
        turns += turned[g] > 0;
    }
    const double pi = std::acos(-1.0);
    for (size_t g = 0; g < count; g++)
        kernel += turned[g] > 0 && std::fabs(angles[g]) < pi / double(count);
    const double steps = double(turns) / double(kernel);
    double cosine = 0, sine = 0;
    for (size_t g = 0; g < count; g++)
        if (turned[g] < 0) cosine += std::cos(steps * angles[g]), sine += std::sin(steps * angles[g]);
    const double start = std::atan2(sine, cosine) / steps, unit_angle = 2 * pi / steps;
    std::vector<Mat> out(count);
    const Mat frame = Mat::columns(x, y, z), inverse = transposed(frame);
    for (size_t g = 0; g < count; g++) {
        const double from = turned[g] > 0 ? 0 : start;
        const double angle = from + unit_angle * std::round((angles[g] - from) / unit_angle);
        const double c = std::cos(angle), s = std::sin(angle);
        const Mat turn = Mat::columns({c, s, 0}, {-turned[g] * s, turned[g] * c, 0}, {0, 0, along[g]});
        out[g] = frame * turn * inverse;
    }
    out[0] = Mat::identity();
    return out;
}

// Make the matrices of a group multiply exactly as the permutations do.
//
// R_g is replaced by the orthogonal matrix nearest to the mean over h of R_hᵀ R_hg, which squares what an
// almost-homomorphism misses by (Grove, Karcher, Ruh).
std::vector<Mat> Molecule::averaged(const Operations& group) const {
    const size_t count = group.count();
    Index index(group);
    for (size_t g = 0; g < count; g++) index.insert(int(g));
    std::vector<int> table(count * count);
    for (size_t h = 0; h < count; h++)
        for (size_t g = 0; g < count; g++) table[g * count + h] = index.product(int(h), int(g));
    std::vector<Mat> out = group.rotations, means(count), inverses(count);
    for (int round = 0; round < 8; round++) {
        double deviation = 0;
        for (size_t h = 0; h < count; h++) inverses[h] = transposed(out[h]);
        for (size_t g = 0; g < count; g++) {
            Mat sum = Mat::zero();
            for (size_t h = 0; h < count; h++) {
                const Mat product = inverses[h] * out[table[g * count + h]];
                deviation = std::max(deviation, largest_difference(product, out[g]));
                for (int k = 0; k < 3; k++) sum.r[k] = sum.r[k] + product.r[k];
            }
            means[g] = sum;
        }
        if (deviation < 1e-14) break;
        for (size_t g = 0; g < count; g++) out[g] = nearest_orthogonal(means[g], group.signs[g]);
    }
    out[0] = Mat::identity();
    return out;
}

Operations Molecule::group(double symprec, const Raise& raise) const {
    const auto is_within = [&](const Operations& group) { return group.largest_residual() <= symprec; };
    return groups(symprec, is_within, raise).back();  // exact operations miss by a little more
}

std::vector<Operations> Molecule::levels(double limit, const Raise& raise) const {
    std::vector<Operations> out = groups(limit, [](const Operations& group) { return group.count() == 1; }, raise);
    std::reverse(out.begin(), out.end());
    return out;
}

// The groups for falling limits, until one is the last.
std::vector<Operations> Molecule::groups(double limit, const std::function<bool(const Operations&)>& is_last,
                                         const Raise& raise) const {
    const Operations found = search(limit, raise);
    Chain chain(found);
    std::vector<Operations> out;
    do {
        const Operations group = found.chosen(chain.group(limit));
        const double largest = group.largest_residual();
        limit = largest < round_off ? -1 : std::nextafter(largest, 0.0);
        out.push_back(exact(group, raise));
        out.back().tolerance = std::max(largest, out.back().largest_residual());
    } while (!is_last(out.back()));
    return out;
}

Operations Molecule::linear(double symprec) const {
    const size_t size = x.size();
    std::vector<int32_t> order(size), reverse(size);
    std::vector<double> height(size), off(size);
    for (size_t k = 0; k < size; k++) {
        height[k] = dot(axis, x[k]);
        off[k] = norm(x[k] - height[k] * axis);
    }
    std::iota(order.begin(), order.end(), 0);
    Operations out(size, 0, 0);
    out.add(Mat::identity(), order.data(), 2 * off_axis, 1);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return height[a] < height[b]; });
    double miss = 0;
    for (size_t k = 0; k < size; k++) reverse[order[k]] = order[size - 1 - k];
    for (size_t k = 0; k < size; k++) {
        if (kinds[k] != kinds[reverse[k]]) miss = infinity;
        miss = std::max(miss, std::hypot(height[k] + height[reverse[k]], off[k] + off[reverse[k]]));
    }
    if (size > 1 && miss <= symprec) out.add(-1 * Mat::identity(), reverse.data(), miss, -1);
    out.tolerance = out.largest_residual();
    return out;
}

std::string point_group_name(const std::vector<Mat>& elements, double tolerance) {
    const size_t order = elements.size();
    size_t proper = 0, half_turns = 0, third_turns = 0, mirrors = 0, inversions = 0;
    for (const Mat& m : elements) {
        const double turn = trace(m);
        // half-turns, mirrors, 1 and -1 are symmetric; near them the trace changes with the square of the angle only
        const bool symmetric = std::fabs(m.r[0].y - m.r[1].x) < tolerance && std::fabs(m.r[0].z - m.r[2].x) < tolerance &&
                               std::fabs(m.r[1].z - m.r[2].y) < tolerance;
        if (determinant(m) > 0) {
            proper++;
            half_turns += symmetric && turn < 0;
            third_turns += std::fabs(turn) < tolerance;
        } else {
            mirrors += symmetric && turn > 0;
            inversions += symmetric && turn < -2;
        }
    }
    if (order != proper && order != 2 * proper) return "";
    const bool improper = order != proper;
    const size_t polyhedral[][2] = {{12, 8}, {24, 8}, {60, 20}};
    const char* names[][3] = {{"T", "Td", "Th"}, {"O", "Oh", "Oh"}, {"I", "Ih", "Ih"}};
    for (int k = 0; k < 3; k++)
        if (proper == polyhedral[k][0] && third_turns == polyhedral[k][1]) return names[k][improper + (improper && inversions)];
    if (half_turns <= 1) {  // all rotations are about one axis
        const std::string n = std::to_string(proper);
        if (!improper) return "C" + n;
        if (proper == 1) return inversions ? "Ci" : "Cs";
        if (mirrors == proper) return "C" + n + "v";
        return mirrors ? "C" + n + "h" : "S" + std::to_string(order);
    }
    const std::string n = std::to_string(proper / 2);
    return "D" + n + (!improper ? "" : mirrors > proper / 2 ? "h" : "d");
}

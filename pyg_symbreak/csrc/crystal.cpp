#include "crystal.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace {

constexpr size_t images_per_atom = 125;
// Points of a lattice differ along this direction, so that sorting by it tells them apart.
constexpr Vec generic = {0.5216294, 0.6180215, 0.5881373};

Mat inverse(const Mat& m) {
    const Vec a = cross(m.r[1], m.r[2]);
    return (1 / dot(m.r[0], a)) * Mat::columns(a, cross(m.r[2], m.r[0]), cross(m.r[0], m.r[1]));
}

// Row vector times matrix.
Vec times(Vec v, const Mat& m) { return v.x * m.r[0] + v.y * m.r[1] + v.z * m.r[2]; }

// Distances between the faces of a cell.
std::array<double, 3> heights(const Mat& cell) {
    const Mat columns = transposed(inverse(cell));
    return {1 / norm(columns.r[0]), 1 / norm(columns.r[1]), 1 / norm(columns.r[2])};
}

std::array<double, 3> numbers(Vec v) { return {v.x, v.y, v.z}; }

// Atoms in bins of a periodic cell.
class Grid {
public:
    Grid(const std::vector<Vec>& fractional, const Mat& cell) : cell(cell), order(fractional.size()), points(fractional) {
        height = heights(cell);
        const double width = std::cbrt(std::fabs(determinant(cell)) / double(order.size()));
        radius = width / 4;
        for (int k = 0; k < 3; k++) {
            bins[k] = std::max(1, int(height[k] / width));
            radius = std::min(radius, height[k] / 4);
        }
        std::vector<int> of(order.size());
        begin.assign(size_t(bins[0]) * bins[1] * bins[2] + 1, 0);
        for (size_t i = 0; i < order.size(); i++) {
            std::array<int, 3> place{};
            const auto f = numbers(points[i]);
            for (int k = 0; k < 3; k++) place[k] = bin(k, f[k]);
            begin[(of[i] = number(place)) + 1]++;
        }
        std::partial_sum(begin.begin(), begin.end(), begin.begin());
        std::vector<int> next(begin.begin(), begin.end() - 1);
        for (size_t i = 0; i < order.size(); i++) order[next[of[i]]++] = int(i);
    }

    // The atom nearest to a point.
    int nearest(Vec point) const {
        const auto f = numbers(point);
        std::array<int, 3> first{}, count{};
        for (int k = 0; k < 3; k++) {
            const double reach = radius / height[k];
            first[k] = int(std::floor((f[k] - reach) * bins[k]));
            count[k] = std::min(bins[k], int(std::floor((f[k] + reach) * bins[k])) - first[k] + 1);
        }
        double least = radius * radius;
        int found = -1;
        for (int a = 0; a < count[0]; a++)
            for (int b = 0; b < count[1]; b++)
                for (int c = 0; c < count[2]; c++) {
                    const int n = number({wrap(0, first[0] + a), wrap(1, first[1] + b), wrap(2, first[2] + c)});
                    for (int at = begin[n]; at < begin[n + 1]; at++) consider(order[at], point, least, found);
                }
        if (found >= 0) return found;
        least = HUGE_VAL;
        for (const int i : order) consider(i, point, least, found);
        return found;
    }

private:
    int wrap(int k, int place) const { return (place % bins[k] + bins[k]) % bins[k]; }
    int bin(int k, double f) const { return wrap(k, int(std::floor(f * bins[k]))); }
    int number(const std::array<int, 3>& place) const { return (place[0] * bins[1] + place[1]) * bins[2] + place[2]; }

    void consider(int i, Vec point, double& least, int& found) const {
        const Vec d = points[i] - point;
        const Vec apart = times({d.x - std::nearbyint(d.x), d.y - std::nearbyint(d.y), d.z - std::nearbyint(d.z)}, cell);
        const double square = dot(apart, apart);
        if (square < least) least = square, found = i;
    }

    const Mat& cell;
    std::array<double, 3> height{};
    std::array<int, 3> bins{};
    double radius;
    std::vector<int> order, begin;
    const std::vector<Vec>& points;
};

// The cell nearest to a given one of which integer rotations keep the metric.
Mat symmetrized(const Mat& cell, const std::vector<Mat>& rotations) {
    const Mat given = cell * transposed(cell);
    Mat metric = Mat::zero();
    for (const Mat& w : rotations) {
        const Mat moved = transposed(w) * given * w;
        for (int k = 0; k < 3; k++) metric.r[k] = metric.r[k] + (1 / double(rotations.size())) * moved.r[k];
    }
    const Singular found(metric);
    Mat root = Mat::zero();
    for (int k = 0; k < 3; k++) {
        const double value = dot(found.a[k], found.v[k]);
        if (!(value > 0))
            throw std::invalid_argument("the cell is so skewed that round-off hides its symmetry: give shorter vectors");
        add_outer(root, std::sqrt(value) * found.v[k], found.v[k]);
    }
    return root * nearest_orthogonal(root * cell, determinant(cell) < 0 ? -1 : 1);
}

// Lists of atoms that pure translations carry to each other, and which of them each atom is in.
struct Translates {
    std::vector<std::vector<size_t>> members;
    std::vector<size_t> of;

    Translates(size_t size, const CrystalAtoms::Group& group) : of(size, size) {
        for (size_t i = 0; i < size; i++) {
            if (of[i] < size) continue;
            members.push_back({i});
            of[i] = members.size() - 1;
            for (size_t at = 0; at < members.back().size(); at++)
                for (size_t a = 0; a < group.counts.size(); a++) {
                    const size_t image = size_t(group.steps[a * size + members.back()[at]]);
                    if (of[image] < size) continue;
                    of[image] = of[i];
                    members.back().push_back(image);
                }
        }
    }
};

// Largest residual of all products of cosets and pure translations. An atom may land on any of the translates of its image.
double largest_miss(const CrystalAtoms::Group& group, const CrystalAtoms::Fit& fit) {
    const size_t size = fit.deviations.size(), count = group.rotations.size();
    double farthest = 0, border = 0, lattice = 0;
    for (const Vec& d : fit.deviations) farthest = std::max(farthest, norm(d));
    for (size_t g = 0; g < count; g++) {
        lattice = std::max(lattice, fit.strains[2 * g]);
        border = std::max(border, fit.strains[2 * g + 1]);
    }
    const double round_off = 2 * fit.stretch * farthest + border;
    if (round_off < 1e-9) return std::max(round_off, lattice);
    const Translates translates(size, group);
    std::vector<double> lengths(size), longest(translates.members.size(), 0);
    for (size_t i = 0; i < size; i++) {
        lengths[i] = norm(fit.deviations[i]);
        longest[translates.of[i]] = std::max(longest[translates.of[i]], lengths[i]);
    }
    std::vector<size_t> order(size);
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return lengths[i] > lengths[j]; });
    double worst = lattice;
    for (size_t g = 0; g < count; g++)
        for (const size_t i : order) {
            const size_t images = translates.of[size_t(group.permutations[g * size + i])];
            const double at_border = fit.strains[2 * g + 1];
            if (fit.stretch * (longest[images] + lengths[i]) + at_border <= worst) continue;
            const Vec turned = fit.rotations[g] * fit.deviations[i];
            for (const size_t j : translates.members[images])
                worst = std::max(worst, fit.stretch * norm(fit.deviations[j] - turned) + at_border);
        }
    return worst;
}

}  // namespace

std::vector<int64_t> CrystalAtoms::match(const int64_t* kinds, const std::vector<Mat>& rotations, const Vec* shifts) const {
    const size_t size = fractional.size();
    const Grid grid(fractional, cell);
    std::vector<int64_t> out(rotations.size() * size);
    std::vector<size_t> hit(size, rotations.size());
    for (size_t g = 0; g < rotations.size(); g++)
        for (size_t i = 0; i < size; i++) {
            const int image = grid.nearest(rotations[g] * fractional[i] + shifts[g]);
            if (image < 0 || hit[size_t(image)] == g || kinds[image] != kinds[i]) return {};
            hit[size_t(image)] = g;
            out[g * size + i] = image;
        }
    return out;
}

// Less whole multiples of the periodic vectors.
Vec CrystalAtoms::wrapped(Vec f) const {
    return {periodic > 0 ? f.x - std::nearbyint(f.x) : f.x, periodic > 1 ? f.y - std::nearbyint(f.y) : f.y,
            periodic > 2 ? f.z - std::nearbyint(f.z) : f.z};
}

// Coordinates averaged over a group, and the shifts of its operations that miss the least.
std::vector<Vec> CrystalAtoms::symmetric(const Group& group, std::vector<Vec>& shifts) const {
    const size_t size = fractional.size(), count = group.rotations.size();
    std::vector<Vec> out = fractional;
    for (size_t a = 0; a < group.counts.size(); a++) {
        std::vector<Vec> total(size, Vec{0, 0, 0});
        for (size_t i = 0; i < size; i++) {
            int64_t image = int64_t(i);
            for (int64_t power = 0; power < group.counts[a]; power++) {
                total[i] = total[i] + wrapped(out[size_t(image)] - out[i] - double(power) * group.moves[a]);
                image = group.steps[a * size + size_t(image)];
            }
        }
        for (size_t i = 0; i < size; i++) out[i] = out[i] + (1 / double(group.counts[a])) * total[i];
    }
    std::vector<Vec> total(size, Vec{0, 0, 0}), misses(size);
    for (size_t g = 0; g < count; g++) {
        Vec mean = {0, 0, 0};
        for (size_t i = 0; i < size; i++) {
            misses[i] = wrapped(out[size_t(group.permutations[g * size + i])] - group.rotations[g] * out[i] - group.shifts[g]);
            mean = mean + misses[i];
        }
        mean = (1 / double(size)) * mean;
        shifts.push_back(group.shifts[g] + mean);
        const Mat back = inverse(group.rotations[g]);
        for (size_t i = 0; i < size; i++) total[i] = total[i] + back * (misses[i] - mean);
    }
    for (size_t i = 0; i < size; i++) out[i] = out[i] + (1 / double(count)) * total[i];
    return out;
}

CrystalAtoms::Fit CrystalAtoms::fit(const Group& group) const {
    Fit found;
    found.cell = symmetrized(cell, group.rotations);
    const Mat back = inverse(found.cell);
    const std::vector<Vec> places = symmetric(group, found.shifts);
    for (size_t i = 0; i < places.size(); i++) found.deviations.push_back(times(fractional[i] - places[i], found.cell));
    for (const Mat& w : group.rotations) {
        found.rotations.push_back(transposed(found.cell) * w * transposed(back));
        const Mat turned = cell * transposed(found.rotations.back()), carried = transposed(w) * cell;
        std::array<Vec, 3> strain;
        double lattice = 0, border = 0;
        for (int k = 0; k < 3; k++) {
            strain[k] = turned.r[k] - carried.r[k];
            lattice = std::max(lattice, norm(strain[k]));
        }
        for (int corner = 0; corner < 1 << periodic; corner++) {
            Vec moved = {0, 0, 0};
            for (int k = 0; k < periodic; k++) moved = moved + (corner >> k & 1 ? 0.5 : -0.5) * strain[k];
            border = std::max(border, norm(moved));
        }
        found.strains.insert(found.strains.end(), {lattice, border});
    }
    found.stretch = std::max(1.0, norm(Singular(back * cell).a[0]));
    found.largest = largest_miss(group, found);
    return found;
}

double shortest_image(const Vec* positions, size_t size, Mat cell, int mask, double cutoff) {
    std::array<bool, 3> is_periodic{};
    for (int k = 0; k < 3; k++) is_periodic[k] = mask >> k & 1;
    for (int k = 0; k < 3; k++)  // what is across the periodic vectors completes them
        if (is_periodic[k] && !is_periodic[(k + 1) % 3] && !is_periodic[(k + 2) % 3]) {
            cell.r[(k + 1) % 3] = across(cell.r[k]);
            cell.r[(k + 2) % 3] = unit(cross(cell.r[k], cell.r[(k + 1) % 3]));
        } else if (!is_periodic[k] && is_periodic[(k + 1) % 3] && is_periodic[(k + 2) % 3]) {
            cell.r[k] = unit(cross(cell.r[(k + 1) % 3], cell.r[(k + 2) % 3]));
        }
    const Mat back = inverse(cell);
    const std::array<double, 3> height = heights(cell);
    double most = 1;
    for (int k = 0; k < 3; k++)
        if (is_periodic[k]) most *= 2 + 2 * cutoff / height[k];
    if (!(most <= double(images_per_atom))) return -1;
    struct Point {
        double along;
        Vec place;
        bool is_own;
    };
    std::vector<Point> points;
    for (size_t i = 0; i < size; i++) {
        const auto f = numbers(times(positions[i] - positions[0], back));
        std::array<int64_t, 3> first{}, last{}, home{};
        for (int k = 0; k < 3; k++) {
            if (!is_periodic[k]) continue;
            const double reach = cutoff / height[k] + 1e-9;
            home[k] = -int64_t(std::floor(f[k]));
            first[k] = int64_t(std::ceil(-reach - f[k])), last[k] = int64_t(std::floor(1 + reach - f[k]));
        }
        for (int64_t a = first[0]; a <= last[0]; a++)
            for (int64_t b = first[1]; b <= last[1]; b++)
                for (int64_t c = first[2]; c <= last[2]; c++) {
                    const Vec place = positions[i] - positions[0] + times({double(a), double(b), double(c)}, cell);
                    points.push_back({dot(generic, place), place, a == home[0] && b == home[1] && c == home[2]});
                }
    }
    std::sort(points.begin(), points.end(), [](const Point& p, const Point& q) { return p.along < q.along; });
    double shortest = cutoff;
    for (size_t k = 0; k < points.size(); k++)
        for (size_t l = k + 1; l < points.size() && points[l].along - points[k].along < shortest; l++)
            if (points[k].is_own || points[l].is_own) shortest = std::min(shortest, norm(points[k].place - points[l].place));
    return shortest;
}

std::vector<Mat> shortest_bases(const Mat& reduced, int count, double same) {
    struct Member {
        Vec coefficients, vector;
    };
    std::array<double, 3> lengths = {norm(reduced.r[0]), norm(reduced.r[1]), norm(reduced.r[2])};
    std::sort(lengths.begin(), lengths.begin() + count);
    std::array<std::vector<Member>, 3> shells;
    const int last = count == 3 ? 2 : 0;
    for (int a = -2; a <= 2; a++)
        for (int b = -2; b <= 2; b++)
            for (int c = -last; c <= last; c++) {
                const Vec coefficients = {double(a), double(b), double(c)}, vector = times(coefficients, reduced);
                for (int k = 0; k < count; k++)
                    if (std::fabs(norm(vector) - lengths[k]) < same * lengths[k]) shells[k].push_back({coefficients, vector});
            }
    if (count == 2) shells[2].push_back({{0, 0, 1}, reduced.r[2]});
    std::vector<Mat> bases;
    for (const Member& a : shells[0])
        for (const Member& b : shells[1])
            for (const Member& c : shells[2])
                if (std::fabs(determinant({{a.coefficients, b.coefficients, c.coefficients}})) == 1)
                    bases.push_back({{a.vector, b.vector, c.vector}});
    const double tolerance = same * lengths[count - 1] * lengths[count - 1];
    for (const auto& [i, j] : {std::pair{0, 1}, {0, 2}, {1, 2}}) {
        double least = HUGE_VAL;
        for (const Mat& m : bases) least = std::min(least, dot(m.r[i], m.r[j]));
        const auto is_more = [&, i = i, j = j](const Mat& m) { return dot(m.r[i], m.r[j]) > least + tolerance; };
        bases.erase(std::remove_if(bases.begin(), bases.end(), is_more), bases.end());
    }
    return bases;
}

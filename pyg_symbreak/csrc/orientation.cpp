#include "orientation.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace {

const double PI = std::acos(-1.0);
const Vec Z = {0, 0, 1};

struct Turn {
    Vec axis;  // zero if the angle is
    double angle;
    int sign;  // of the determinant
};

Mat rotation(Vec axis, double angle) {
    const Vec u = unit(axis);
    const Mat k = {{{{0, -u.z, u.y}, {u.z, 0, -u.x}, {-u.y, u.x, 0}}}}, kk = k * k;
    Mat out = Mat::identity();
    for (int i = 0; i < 3; i++) out.r[i] = out.r[i] + std::sin(angle) * k.r[i] + (1 - std::cos(angle)) * kk.r[i];
    return out;
}

// The rotation ±m; the axis of a half-turn has either sign.
Turn turn_of(const Mat& m) {
    const int sign = determinant(m) > 0 ? 1 : -1;
    const Mat r = double(sign) * m, t = transposed(r);
    const Vec skew = 0.5 * Vec{r.r[2].y - r.r[1].z, r.r[0].z - r.r[2].x, r.r[1].x - r.r[0].y};
    const double cosine = (trace(r) - 1) / 2, angle = std::atan2(norm(skew), cosine);
    if (angle < 1e-6) return {{0, 0, 0}, angle, sign};
    Mat symmetric;  // (1 - cosθ)·u·uᵀ has the axis in each row
    for (int i = 0; i < 3; i++)
        symmetric.r[i] = 0.5 * (r.r[i] + t.r[i]) - std::min(cosine, 1.0) * Mat::identity().r[i];
    const std::array<double, 3> diagonal = {std::fabs(symmetric.r[0].x), std::fabs(symmetric.r[1].y),
                                            std::fabs(symmetric.r[2].z)};
    const Vec axis = unit(symmetric.r[std::max_element(diagonal.begin(), diagonal.end()) - diagonal.begin()]);
    return {dot(axis, skew) < 0 ? -1.0 * axis : axis, angle, sign};
}

bool half(const Turn& t) { return std::fabs(t.angle - PI) < 0.02; }

// An axis that is z in the standard orientation, or in one that is as good; zero if there is none.
Vec main_axis(const std::string& name, const std::vector<Turn>& turns) {
    for (const char* other : {"Cs", "C2", "C2h", "C2v", "D2", "D2h", "T", "Td", "Th", "I", "Ih"})
        if (name == other) {
            for (const Turn& t : turns)
                if (half(t) && (t.sign > 0 || name == "Cs")) return t.axis;
            return {0, 0, 0};
        }
    if (name[0] == 'O') {
        for (const Turn& t : turns)
            if (t.sign > 0 && std::fabs(t.angle - PI / 2) < 0.02) return t.axis;
        return {0, 0, 0};
    }
    auto less = [](const Turn& a, const Turn& b) { return std::sin(a.angle) < std::sin(b.angle); };
    return std::max_element(turns.begin(), turns.end(), less)->axis;  // neither a half-turn nor a mirror
}

// The rotation by the smallest angle that brings z to a line.
Mat shortest_turn(Vec axis) {
    for (const double leading : {axis.z, axis.x, axis.y})
        if (std::rint(leading * 1e6) != 0) {
            axis = (leading < 0 ? -1.0 : 1.0) * axis;
            break;
        }
    const Vec turn = cross(Z, axis);
    return norm(turn) < 1e-9 ? Mat::identity() : rotation(turn, std::atan2(norm(turn), axis.z));
}

// The standard element that a matrix is nearest to.
class Finder {
public:
    Finder(const std::vector<Mat>& standard, int64_t steps) : standard(standard), steps(steps) {
        if (!steps) return;
        at.assign(size_t(4 * steps), -1);
        for (size_t k = 0; k < standard.size(); k++) at[place(standard[k])] = int64_t(k);
    }

    int64_t operator()(const Mat& m) const {
        if (steps) return at[place(m)];
        auto overlap = [&](const Mat& s) { return dot(s.r[0], m.r[0]) + dot(s.r[1], m.r[1]) + dot(s.r[2], m.r[2]); };
        auto less = [&](const Mat& a, const Mat& b) { return overlap(a) < overlap(b); };
        return std::max_element(standard.begin(), standard.end(), less) - standard.begin();
    }

private:
    const std::vector<Mat>& standard;
    int64_t steps;
    std::vector<int64_t> at;

    size_t place(const Mat& m) const {
        const int64_t k = std::llrint(std::atan2(m.r[1].x, m.r[0].x) * double(steps) / (2 * PI));
        return size_t(4 * ((k % steps + steps) % steps) + 2 * (m.r[2].z < 0) + (determinant(m) < 0));
    }
};

double miss(const Mat& m, const std::vector<Mat>& given) {
    double out = INFINITY;
    for (const Mat& g : given) out = std::min(out, largest_difference(m, g));
    return out;
}

// Whether a frame brings the rotations of a standard group nearer to given matrices than another does.
bool worse(const Mat& frame, const Mat& other, const std::vector<Mat>& standard, const std::vector<Mat>& given) {
    double here = 0, there = 0;
    for (const Mat& s : standard)
        if (determinant(s) > 0) {
            here = std::max(here, miss(frame * s * transposed(frame), given));
            there = std::max(there, miss(other * s * transposed(other), given));
        }
    return there < here;
}

// Rounded trace and entries: of frames as near to 1 as each other the one with the largest entries first is taken.
std::array<double, 10> closeness(const Mat& m) {
    std::array<double, 10> out = {trace(m)};
    for (size_t i = 0; i < 3; i++) out[3 * i + 1] = m.r[i].x, out[3 * i + 2] = m.r[i].y, out[3 * i + 3] = m.r[i].z;
    for (double& x : out) x = std::rint(x * 1e6);
    return out;
}

// A rotation F with given = F·standard·Fᵀ to the accuracy of single elements, of all those the nearest to 1.
bool orient(const std::string& name, const std::vector<Mat>& given, const std::vector<Mat>& standard,
            const std::vector<Mat>& turns, Mat& out) {
    out = Mat::identity();
    if (name == "C1" || name == "Ci") return true;
    std::vector<Turn> parts;
    for (const Mat& m : given) parts.push_back(turn_of(m));
    const Vec main = main_axis(name, parts);
    if (!(norm(main) > 0.5)) return false;
    const bool mirrors = name.back() == 'v';
    if (!mirrors && !std::count(std::begin("DTOI"), std::end("DTOI") - 1, name[0])) {
        out = shortest_turn(main);
        return true;
    }
    const auto second = std::find_if(parts.begin(), parts.end(), [&](const Turn& t) {
        return std::fabs(dot(t.axis, main)) < 0.1 && half(t) && t.sign == (mirrors ? -1 : 1);
    });
    if (second == parts.end()) return false;
    Vec x = mirrors ? cross(second->axis, main) : second->axis;
    x = unit(x - dot(x, main) * main);
    Mat first = Mat::columns(x, cross(main, x), main);
    if (name[0] == 'O' || name[0] == 'I') {  // the half-turns across an axis are of two kinds
        const Mat other = first * rotation(Z, name[0] == 'O' ? PI / 4 : PI / 2);
        if (worse(first, other, standard, given)) first = other;
    }
    out = first * turns[0];
    for (const Mat& turn : turns)
        if (closeness(first * turn) > closeness(out)) out = first * turn;
    return true;
}

}  // namespace

bool place(const std::string& name, const std::vector<Mat>& given, const std::vector<Mat>& standard,
           const std::vector<Mat>& turns, int64_t steps, double tolerance, Placement& out) {
    if (given.size() != standard.size() || !orient(name, given, standard, turns, out.frame)) return false;
    const Finder find(standard, steps);
    for (int round = 0; round < 3; round++) {
        std::vector<bool> taken(standard.size());
        Mat mean = Mat::zero();
        out.index.clear();
        for (const Mat& m : given) {
            const Mat upright = transposed(out.frame) * m * out.frame;
            const int64_t k = find(upright);
            if (k < 0 || taken[size_t(k)]) return false;
            const Mat& s = standard[size_t(k)];
            if (!(largest_difference(upright, s) < std::max(20 * tolerance, 1e-6))) return false;
            taken[size_t(k)] = true;
            out.index.push_back(k);
            const Mat image = m * out.frame * transposed(s);
            for (int i = 0; i < 3; i++) mean.r[i] = mean.r[i] + image.r[i];
        }
        out.frame = nearest_orthogonal(mean, 1);
    }
    return true;
}

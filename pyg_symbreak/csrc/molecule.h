// Symmetry of molecules: which orthogonal operations about the centre permute the atoms, within a tolerance.
//
// Algorithm. Two vectors not in line and a sign fix an orthogonal matrix. So all operations are found by laying one pair
// of atoms, chosen for few look-alikes and small errors elsewhere, on all pairs at the same distances from the centre and
// from each other. Each is carried on to all atoms (nearest neighbours among atoms sorted along one direction), fitted to
// them (Kabsch, Acta Cryst. A 32, 922 (1976)) and kept if no atom misses by more than the tolerance. By rising residuals
// a group then grows by one after the other, where every product was found as well; what it cannot grow by is left out. Its
// matrices are made to multiply exactly as the permutations do: by averaging (Grove, Karcher, Ruh, Math. Ann. 211, 7
// (1974)), or, with more than 120 elements and so about one axis, by fitting one angle to all turns.
//
// Cost. For N atoms, of which a and b look like the two of the pair, at most a b trials of N log N each; most end at
// the first atom without an image, and the products of two operations that were found take N. A group of g elements takes
// g N for its operations and each generator, and g² for the averaging, g being 120 at most there. Two atoms that are
// nearest to each other are found in N log N, up to N² if all lie in a plane across the direction that they are sorted along.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linalg.h"

// Operations: R[g] carries atom k to near atom map(g)[k], and no atom misses by more than residuals[g].
struct Operations {
    size_t size;  // number of atoms
    size_t i, j;  // two atoms whose images, with the determinant, tell the operations apart
    std::vector<Mat> rotations;
    std::vector<double> residuals;
    std::vector<int> signs;
    double tolerance = 0;  // from which on they are found as a group

    Operations(size_t size, size_t i, size_t j) : size(size), i(i), j(j) {}
    size_t count() const { return rotations.size(); }
    const int32_t* map(size_t g) const { return maps[g]; }
    void add(const Mat& rotation, const int32_t* map, double residual, int sign);
    Operations chosen(const std::vector<int>& members) const;
    double largest_residual() const;

private:
    std::vector<const int32_t*> maps;  // rows of blocks, which those that are chosen share
    std::vector<std::shared_ptr<std::vector<int32_t>>> blocks;
};

// Raises the residuals of operations by what is known of the atoms besides their places.
using Raise = std::function<void(Operations&)>;

struct Extent {
    double shortest;  // distance between two points; infinite if there is one only
    double reach;     // largest absolute coordinate; not a number if one is not finite
};

Extent extent(const double* positions, size_t size);

struct Molecule {
    std::vector<Vec> x;  // from their mean
    std::vector<int64_t> kinds;
    std::vector<double> radii;
    Vec center, axis;
    double off_axis;  // largest distance from the principal axis

    Molecule(const double* positions, const int64_t* kinds, size_t size);

    // Largest group found whose operations all miss by no more than symprec.
    Operations group(double symprec, const Raise& raise) const;

    // The groups for all tolerances up to a limit, the smallest first.
    std::vector<Operations> levels(double limit, const Raise& raise) const;

    // A molecule on its axis: the identity, and the inversion if it permutes the atoms within symprec.
    Operations linear(double symprec) const;

private:
    struct Pair {
        size_t i, j;
        double growth;
    };
    Pair reference_pair(double symprec) const;
    Operations search(double symprec, const Raise& raise) const;
    std::vector<Operations> groups(double limit, const std::function<bool(const Operations&)>& is_last, const Raise& raise) const;
    Operations exact(Operations group, const Raise& raise) const;
    std::vector<Mat> axial(const Operations& group) const;
    std::vector<Mat> averaged(const Operations& group) const;
    double residual(const Mat& rotation, const int32_t* map) const;
    Mat fitted(const int32_t* map, int sign) const;
};

// Schoenflies symbol of a finite group of orthogonal matrices, from the numbers of its rotations, half-turns, third-turns,
// mirrors and inversions, which tell all point groups apart; empty if they belong to none. One pass over the elements.
// Entries may deviate by the tolerance.
std::string point_group_name(const std::vector<Mat>& elements, double tolerance);

// Symmetry of crystals, slabs and rods in coordinates f along the vectors of a cell, of which the periodic ones come first: how
// operations f -> W f + w permute the atoms, and by what a group of them misses.
//
// Algorithm. The atom at a position is looked for in a grid with a bin for each atom; if none is near, among all. The group is
// fitted by averaging: coordinates over the pure translations, one generator after the other, then over one operation for each
// W, of which the shifts become those that miss the least; the cell becomes the nearest one of which all W keep the metric.
//
// Cost. N for each operation. The largest miss is that over all products of m operations and the k pure translations: at most
// m N k, most of it skipped, since atoms that are as far from their places as the largest are few.
#pragma once

#include <cstdint>
#include <vector>

#include "linalg.h"

struct CrystalAtoms {
    std::vector<Vec> fractional;
    Mat cell;  // rows
    int periodic;

    // Permutations [n, N] that operations are of the atoms; empty if one of them is none.
    std::vector<int64_t> match(const int64_t* kinds, const std::vector<Mat>& rotations, const Vec* shifts) const;

    struct Group {
        std::vector<Mat> rotations;  // W, of one operation for each of them
        const Vec* shifts;
        const int64_t* permutations;
        std::vector<int64_t> counts;  // of the powers of pure translations, whose products are all of these
        const Vec* moves;
        const int64_t* steps;  // their permutations
    };

    struct Fit {
        Mat cell;                     // the nearest symmetric one
        std::vector<Mat> rotations;   // orthogonal
        std::vector<Vec> shifts;      // those that miss the least
        std::vector<Vec> deviations;  // how far each atom is from where the group has it, in the symmetric cell
        std::vector<double> strains;  // [m, 2]: what lattice vectors miss by, and what is moved at the border of the cell
        double stretch;               // largest ratio of a length in the cell to that in the symmetric one, at least 1
        double largest;               // by what an operation misses at most
    };

    Fit fit(const Group& group) const;

private:
    Vec wrapped(Vec f) const;
    std::vector<Vec> symmetric(const Group& group, std::vector<Vec>& shifts) const;
};

// Shortest distance, up to a cutoff, between two atoms or an atom and its image in periodic directions (bits of a mask);
// -1 if that takes too many images.
double shortest_image(const Vec* positions, size_t size, Mat cell, int mask, double cutoff);

// All bases, as rows, of the lattice of the first three or two of some vectors that are as short as can be, with the least
// scalar products of the first and the second, the first and the third, the second and the third. Lengths are equal to within a
// relative difference. The third of two vectors is across them.
std::vector<Mat> shortest_bases(const Mat& reduced, int count, double same);

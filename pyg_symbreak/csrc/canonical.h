// The canonical frame of a molecule, which turns with it. Frames go through an atom of those furthest from the centre and
// towards one of those furthest from that axis, of the rarest classes that invariants tell apart; in each a generic function
// of the coordinates is summed over the atoms, and the frame of the least sum is taken. Those of equal sums are its images
// under the symmetry. A ring of n atoms at a distance r from an axis shows how it is turned in the order r^n only, which
// may be less than round-off: where more frames tie than the symmetry has operations, each class of atoms is stretched to
// a size of 1, and the function is summed again.
//
// Cost. N² for the invariants and N for each frame, of which there are at least as many as the symmetry has operations.
#pragma once

#include <cstdint>
#include <vector>

#include "linalg.h"

// The generic function of a point x, a product of three Poisson kernels of the phases mixing·x - phases, and tolerances:
// relative differences up to which two lengths (`same`) and two sums (`tie`) are equal. Nodes of a kind are ranked along
// `direction`.
struct Generic {
    Mat mixing;
    Vec phases, direction;
    double decay, same, tie;

    double operator()(Vec x) const;
};

struct CanonicalFrame {
    Mat rotation;                // the axes are the columns
    std::vector<Vec> positions;  // from the centre, in the frame
    std::vector<int64_t> ranks;  // place of each atom in the canonical order
    int64_t ties;                // the number of frames of the least sum
};

// Of the positions averaged over operations with rotations about the centre and permutations [n, N].
CanonicalFrame canonical_frame(const std::vector<Vec>& positions, const int64_t* kinds, const std::vector<Mat>& rotations,
                               const int64_t* permutations, const Generic& generic);

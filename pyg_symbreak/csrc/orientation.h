// How a finite point group stands: the rotation that brings the group in its standard orientation to given matrices.
//
// Two axes of the group give one such rotation, the rotations that normalize the standard group all others; the one
// nearest to 1 is taken. It is then fitted to all elements: at the best orientation F is the rotation nearest to the mean
// of R·F·sᵀ over pairs of a given element R and the standard element s that it is (Kabsch, Acta Cryst. A 32, 922 (1976)).
//
// Cost. The square of the order for polyhedral groups; the order if all rotations are about one axis or across it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linalg.h"

struct Placement {
    Mat frame;                   // given = frame · standard · frameᵀ
    std::vector<int64_t> index;  // which standard element each of the given is
};

// False if the matrices are not, each once, the elements of the group in some orientation. `turns`: the rotations
// that normalize the standard group. `steps`: a number such that the standard elements turn by multiples of
// 2π/steps about z; 0 for polyhedral groups.
bool place(const std::string& name, const std::vector<Mat>& given, const std::vector<Mat>& standard,
           const std::vector<Mat>& turns, int64_t steps, double tolerance, Placement& out);

// Disjoint sets of numbers, joined two by two: union-find with path halving (Tarjan, van Leeuwen, J. ACM 31, 245 (1984)).
//
// Cost. At most log N each on average over many: the root of a set is its least member, whatever the sizes.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

class Sets {
public:
    explicit Sets(size_t size) : parent(size) { std::iota(parent.begin(), parent.end(), 0); }

    // The least member of the set of v.
    int find(int v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    }

    void join(int v, int w) {
        const int a = find(v), b = find(w);
        parent[std::max(a, b)] = std::min(a, b);
    }

private:
    std::vector<int> parent;
};

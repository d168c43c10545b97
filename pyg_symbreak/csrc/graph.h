// Symmetry of graphs: exact order, generators, orbits and random elements of the automorphism group, and canonical
// labels.
//
// Algorithm. Parts that need no search are merged first, and each merging is a factor of the group:
//   1. leaves are taken off from the outside in; leaves of a node that carry the same rooted tree are exchanged freely
//      (Aho, Hopcroft, Ullman, The Design and Analysis of Computer Algorithms, 1974, section 3.2);
//   2. twins, nodes of one colour with the same neighbours, become one node (as in Traces; both are repeated);
//   3. colours are refined until equitable; relations that are complete between two cells say no more than the cells
//      and are dropped; the connected components of what is left are solved one by one, and isomorphic ones are
//      exchanged freely (components as in Anders, Schweitzer, Wetzels, arXiv 2302.06351).
// What is connected after that is searched, see graph_search.h.
//
// Cost. E log E for E arcs where no search is left, as for trees, forests and random sparse graphs; each node is
// in at most log2 N of the blocks that are exchanged, as a block at least doubles when it is merged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// Pairs of coloured nodes that are related, each in both directions. The kind of a pair stands for the labels of the
// parallel arcs in one direction and in the other, the colour of a node also for its loops.
struct Graph {
    struct Arc {
        int kind, head;
        bool operator==(const Arc& other) const { return kind == other.kind && head == other.head; }
        bool operator<(const Arc& other) const { return kind != other.kind ? kind < other.kind : head < other.head; }
    };

    std::vector<int> colors;
    std::vector<Arc> arcs;         // sorted, for one node after the other
    std::vector<size_t> begin{0};  // where the arcs of each node start
    std::vector<int> reverse;      // kind of the pair (v, u) where (u, v) is of a kind

    Graph() = default;
    Graph(const int64_t* colors, size_t size, const int64_t* edges, const int64_t* labels, size_t edge_count);
    size_t size() const { return colors.size(); }
};

// A permutation group as a product of factors, each element exactly once. A number d from 0 to radix - 1 for each of
// the radices chooses an element; all 0 is the identity. The factors stand one after the other in `program`:
//   0, m, L, nodes [m, L]: any permutation of m rows, as m - 1 exchanges of row i and row i - d, from the last row on;
//   1, k, k times (s, moved [s], images [s]), r, via [r], parent [r]: one of r products of the k permutations;
//      number d is permutation via[d] after number parent[d], and number 0 is the identity.
struct Group {
    std::vector<int64_t> program;
    std::vector<int64_t> radices;
    std::vector<int64_t> base;  // nodes that only the identity leaves where they are
    int64_t generators = 0;

    void add_symmetric(const std::vector<std::vector<int>>& rows);
};

// Elements of a group, [count, N] from digits [count, radices].
std::vector<int64_t> elements(const int64_t* program, size_t length, size_t nodes, const int64_t* digits, size_t count);

// Its generators [k, N].
std::vector<int64_t> generators(const int64_t* program, size_t length, size_t nodes);

struct Automorphisms {
    Group group;
    std::vector<int64_t> orbits;  // number of the orbit of each node, from 0 in the order of their first nodes
    std::vector<int64_t> labels;  // number of each node, the same for isomorphic graphs if it was asked for
};

// A search that takes more than so many steps is given up with std::runtime_error.
Automorphisms automorphisms(const Graph& graph, bool canonical, size_t steps);

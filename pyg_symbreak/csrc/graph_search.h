// Automorphisms and canonical order of a graph by individualization and refinement.
//
// Algorithm (McKay, Congr. Numer. 30, 45 (1981); McKay, Piperno, J. Symb. Comput. 60, 94 (2014)). A partition of the
// nodes into ordered cells is refined until nodes of a cell have the same numbers of neighbours in every cell; where
// cells remain, a node is singled out and the partition refined again. The nodes b_1, b_2, ... singled out on the
// first way down to single nodes are a base of the group. From the last to the first, each node that might take the
// place of b_k is tried: if a way down with it meets the first one, the two differ by an automorphism. Those found at
// level k and below generate the stabilizer of b_1 ... b_{k-1}, so no separate Schreier-Sims step is needed.
// Partitions are changed and changed back, never copied, and compared where they were changed (Darga, Sakallah,
// Markov, DAC 2008), so that a way down costs what it visits. The canonical order is that of the leaf with the least
// traces and then the least arcs; nodes that known automorphisms exchange are followed once, and two leaves that
// are equal give another one and lead back to where their ways part.
//
// Cost. One refinement is E log N. A rigid graph whose nodes look alike takes N refinements that end at their first
// difference. Graphs made to defeat refinement (multipedes, projective planes) take exponentially many: a budget of steps ends
// the search with std::runtime_error.
#pragma once

#include <cstddef>
#include <vector>

#include "graph.h"

// Steps, arcs and nodes visited, that all searches of a graph may take together.
class Budget {
public:
    explicit Budget(size_t most) : most(most) {}
    void spend(size_t steps) {
        spent += steps;
        if (spent > most) refuse();
    }
    void leaf(size_t length) {
        leaves++;
        if (length > depth) depth = length;
    }
    size_t left = 0;  // nodes of the graph that is searched

private:
    [[noreturn]] void refuse() const;
    size_t most;
    size_t spent = 0, leaves = 0, depth = 0;
};

// The cell of each node, named by its place among all, in the coarsest equitable partition that is finer than the
// colours.
std::vector<int> equitable_cells(const Graph& graph, Budget& budget);

// Nodes that move, in order, and where they go.
struct Permutation {
    std::vector<int> from, to;
    int operator()(int v) const;
};

// Products of permutations that carry a node of the base to each node of its orbit under what fixes those before it:
// number d is permutation via[d] after number parent[d]; number 0 is the identity.
struct Transversal {
    int base;
    std::vector<Permutation> permutations;
    std::vector<int> via, parent;
};

struct Searched {
    std::vector<Transversal> transversals;  // the group is their product
    std::vector<int> order;                 // the nodes, in canonical order if it was asked for
};

// Of a graph whose colours are the cells of an equitable partition.
Searched search(const Graph& graph, bool canonical, Budget& budget);

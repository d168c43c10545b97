// Automorphisms of graphs: generators, orbits, canonical labelling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// Arcs between colored nodes. Parallel arcs are one, of a kind that stands for all their labels; arcs of a kind
// that do not all have their reverse are also listed backwards, as another kind.
struct Graph {
    struct Arc {
        int kind, head;
        bool operator==(const Arc& other) const { return kind == other.kind && head == other.head; }
        bool operator<(const Arc& other) const { return kind != other.kind ? kind < other.kind : head < other.head; }
    };

    size_t size;
    std::vector<int64_t> colors;
    std::vector<Arc> arcs;      // sorted, for one node after the other
    std::vector<size_t> begin;  // where the arcs of each node start
    int kinds = 0;

    Graph(const int64_t* colors, size_t size, const int64_t* edges, const int64_t* labels, size_t edge_count);
};

struct Automorphisms {
    std::vector<int64_t> generators;     // [k, N], strong with respect to the base
    std::vector<int64_t> levels;         // of each generator: it leaves so many of the base where they are
    std::vector<int64_t> base;
    std::vector<int64_t> orbit_lengths;  // of each node of the base, under what leaves those before it
    std::vector<int64_t> orbits;         // number of the orbit of each node
};

Automorphisms automorphisms(const Graph& graph);

// Number of each node in a numbering that depends on the graph up to isomorphism only.
std::vector<int64_t> canonical_labels(const Graph& graph);

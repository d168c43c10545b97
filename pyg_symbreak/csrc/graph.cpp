#include "graph.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "graph_search.h"
#include "sets.h"

namespace {

using Key = std::vector<int>;

constexpr int most_rounds = 100;  // of taking off leaves and merging twins in turn: what is left then is searched

// Numbers of keys in their order, the same for equal ones.
template <class T>
std::vector<int> ranks(const std::vector<T>& keys) {
    std::vector<int> order(keys.size()), out(keys.size());
    std::iota(order.begin(), order.end(), 0);
    if (!std::is_sorted(keys.begin(), keys.end()))
        std::sort(order.begin(), order.end(), [&](int a, int b) { return keys[a] < keys[b]; });
    for (size_t k = 1; k < order.size(); k++)
        out[order[k]] = out[order[k - 1]] + (keys[order[k]] != keys[order[k - 1]]);
    return out;
}

std::vector<size_t> counted(size_t size) {
    std::vector<size_t> out(size);
    std::iota(out.begin(), out.end(), size_t(0));
    return out;
}

// Things in the order of their numbers, those of one number as they were.
std::vector<size_t> by_number(const int64_t* number, size_t most, std::vector<size_t> things) {
    const auto is_less = [&](size_t a, size_t b) { return number[a] < number[b]; };
    if (std::is_sorted(things.begin(), things.end(), is_less)) return things;
    std::vector<size_t> next(most + 1, 0), out(things.size());
    for (const size_t thing : things) next[size_t(number[thing]) + 1]++;
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (const size_t thing : things) out[next[size_t(number[thing])]++] = thing;
    return out;
}

uint64_t mixed(uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

uint64_t mixed(int kind, int head) { return mixed(mixed(uint64_t(kind)) + uint64_t(head)); }

// Finds the group of a graph, factor by factor from the inside out. Nodes of a smaller graph stand for blocks of nodes
// of the original one; blocks of equal nodes, listed in their order, are isomorphic.
class Solver {
public:
    Solver(size_t size, size_t steps) : budget(steps), held(size), local(size, -1) {}

    // The nodes of the original graph that these ones stand for, in canonical order if that is asked for.
    std::vector<int> solve(Graph graph, std::vector<int> names, bool ordered) {
        reduce(graph, names);
        if (graph.size() == 1) return block(names[0]);
        graph.colors = equitable_cells(graph, budget);
        const size_t arcs = graph.arcs.size();
        drop_complete(graph);
        std::vector<Part> parts = components(graph);
        if (parts.size() == 1 && graph.arcs.size() == arcs) return searched(graph, names, ordered);

        std::vector<int> out;
        for (auto first = parts.begin(), last = first; first != parts.end(); first = last) {
            while (last != parts.end() && last->key == first->key) ++last;
            solve_alike(graph, names, first, last, ordered);
            for (auto part = first; part != last; ++part) out.insert(out.end(), part->all.begin(), part->all.end());
        }
        return out;
    }

    Group group;

private:
    struct Part {
        std::vector<int> nodes;  // of the graph that it is part of
        Key key;                 // what is known of its isomorphism type
        std::vector<int> all;    // nodes of the original graph in their order
    };

    // ------------------------------------------------------------------ leaves and twins

    void reduce(Graph& graph, std::vector<int>& names) {
        for (int round = 0; round < most_rounds; round++) {
            const size_t before = names.size();
            take_off_leaves(graph, names);
            if (round > 0 && names.size() == before) return;
            const size_t between = names.size();
            merge_twins(graph, names);
            if (names.size() == between) return;
        }
    }

    struct Child {
        int kind, type, node;  // of the pair (parent, child), of the tree that the child carries
        bool is_like(const Child& other) const { return kind == other.kind && type == other.type; }
    };

    // Leaves go in rounds, all that there are at once; the type of one is the number of its colour and its children.
    void take_off_leaves(Graph& graph, std::vector<int>& names) {
        const int size = int(graph.size());
        std::vector<int> degree(graph.size()), leaves;
        for (int v = 0; v < size; v++) degree[v] = int(graph.begin[v + 1] - graph.begin[v]);
        for (int v = 0; v < size; v++)
            if (degree[v] == 1) leaves.push_back(v);
        if (leaves.empty()) return;
        std::vector<bool> is_left(graph.size(), true);
        std::vector<std::vector<Child>> children(graph.size());
        int types = 0;
        while (true) {
            std::vector<Graph::Arc> to_parent(leaves.size());
            for (size_t k = 0; k < leaves.size(); k++)
                for (size_t a = graph.begin[leaves[k]]; a < graph.begin[leaves[k] + 1]; a++)
                    if (is_left[graph.arcs[a].head]) to_parent[k] = graph.arcs[a];
            size_t count = 0;
            for (size_t k = 0; k < leaves.size(); k++)  // of two nodes left on their own none is the parent
                if (degree[to_parent[k].head] > 1) leaves[count] = leaves[k], to_parent[count++] = to_parent[k];
            leaves.resize(count);
            if (count == 0) break;
            std::vector<Key> keys;
            for (const int v : leaves) keys.push_back(absorb(graph, names, v, children[v]));
            const std::vector<int> type = ranks(keys);
            std::vector<int> next;
            for (size_t k = 0; k < count; k++) {
                const auto [kind, parent] = to_parent[k];
                is_left[leaves[k]] = false;
                children[parent].push_back({graph.reverse[kind], types + type[k], leaves[k]});
                if (--degree[parent] == 1) next.push_back(parent);
            }
            types += int(count);
            leaves.clear();
            for (const int v : next)
                if (degree[v] == 1) leaves.push_back(v);
        }
        std::vector<int> left;
        std::vector<Key> keys;
        for (int v = 0; v < size; v++) {
            if (!is_left[v]) continue;
            left.push_back(v);
            keys.push_back(absorb(graph, names, v, children[v]));
        }
        restrict_to(graph, names, left, keys);
    }

    // Put children into the block of their parent, the same ones exchanged freely; the key of the parent is returned.
    Key absorb(const Graph& graph, const std::vector<int>& names, int parent, std::vector<Child>& children) {
        Key key{graph.colors[parent]};
        std::stable_sort(children.begin(), children.end(), [](const Child& a, const Child& b) {
            return std::tie(a.kind, a.type) < std::tie(b.kind, b.type);
        });
        for (auto first = children.begin(), last = first; first != children.end(); first = last) {
            while (last != children.end() && last->is_like(*first)) ++last;
            std::vector<std::vector<int>> rows;
            for (auto child = first; child != last && last - first > 1; ++child) rows.push_back(block(names[child->node]));
            group.add_symmetric(rows);
            key.insert(key.end(), {first->kind, first->type, int(last - first)});
        }
        for (const Child& child : children) held[names[parent]].push_back(names[child.node]);
        return key;
    }

    // Nodes of one colour that have the same neighbours, or the same ones besides each other: one of them stays.
    void merge_twins(Graph& graph, std::vector<int>& names) {
        struct Candidate {
            int color, between;  // kind of the relation between twins, -1 if there is none
            uint64_t hash;
            int node;
        };
        std::vector<Candidate> candidates;
        candidates.reserve(2 * graph.size());
        for (int v = 0; v < int(graph.size()); v++) {
            uint64_t hash = 0;
            for (size_t a = graph.begin[v]; a < graph.begin[v + 1]; a++) hash += mixed(graph.arcs[a].kind, graph.arcs[a].head);
            candidates.push_back({graph.colors[v], -1, hash, v});
            for (size_t a = graph.begin[v]; a < graph.begin[v + 1]; a++) {
                const int kind = graph.arcs[a].kind;
                if (graph.reverse[kind] == kind && kind != candidates.back().between)
                    candidates.push_back({graph.colors[v], kind, hash + mixed(kind, v), v});
            }
        }
        auto type = [](const Candidate& c) { return std::tie(c.color, c.between, c.hash); };
        std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
            return type(a) != type(b) ? type(a) < type(b) : a.node < b.node;
        });
        std::vector<Key> keys;
        std::vector<bool> is_left(graph.size(), true);
        for (auto first = candidates.begin(), last = first; first != candidates.end(); first = last) {
            std::vector<std::vector<int>> rows;
            for (; last != candidates.end() && type(*last) == type(*first); ++last) {
                if (last == first || !are_twins(graph, first->node, last->node, first->between)) continue;
                if (rows.empty()) rows.push_back(block(names[first->node]));
                rows.push_back(block(names[last->node]));
                is_left[last->node] = false;
                held[names[first->node]].push_back(names[last->node]);
            }
            if (rows.empty()) continue;
            group.add_symmetric(rows);
            if (keys.empty())
                for (const int color : graph.colors) keys.push_back({color});
            keys[first->node].insert(keys[first->node].end(), {first->between, int(rows.size())});
        }
        if (keys.empty()) return;
        std::vector<int> left;
        std::vector<Key> left_keys;
        for (int v = 0; v < int(graph.size()); v++)
            if (is_left[v]) left.push_back(v), left_keys.push_back(std::move(keys[v]));
        restrict_to(graph, names, left, left_keys);
    }

    // Whether two nodes are related as said and otherwise to the same ones.
    static bool are_twins(const Graph& graph, int u, int v, int between) {
        size_t a = graph.begin[u], b = graph.begin[v];
        bool are_related = false;
        while (true) {
            while (a < graph.begin[u + 1] && graph.arcs[a].head == v) are_related = graph.arcs[a++].kind == between;
            while (b < graph.begin[v + 1] && graph.arcs[b].head == u) b++;
            if (a == graph.begin[u + 1] || b == graph.begin[v + 1]) break;
            if (!(graph.arcs[a++] == graph.arcs[b++])) return false;
        }
        return a == graph.begin[u + 1] && b == graph.begin[v + 1] && are_related == (between >= 0);
    }

    // The block of a node: itself, and then those of the nodes it holds.
    std::vector<int> block(int name) const {
        std::vector<int> out;
        put_block(name, out);
        return out;
    }

    template <class T>
    void put_block(int name, std::vector<T>& out) const {
        out.push_back(name);
        if (held[name].empty()) return;
        std::vector<int> stack(held[name].rbegin(), held[name].rend());
        while (!stack.empty()) {
            const int v = stack.back();
            stack.pop_back();
            out.push_back(v);
            stack.insert(stack.end(), held[v].rbegin(), held[v].rend());
        }
    }

    void restrict_to(Graph& graph, std::vector<int>& names, const std::vector<int>& nodes, const std::vector<Key>& keys) {
        const std::vector<int> colors = ranks(keys);
        if (nodes.size() < graph.size()) graph = subgraph(graph, nodes), names = chosen(names, nodes);
        graph.colors = colors;
    }

    static std::vector<int> chosen(const std::vector<int>& from, const std::vector<int>& places) {
        std::vector<int> out;
        for (const int k : places) out.push_back(from[k]);
        return out;
    }

    // The graph on some nodes, in increasing order.
    Graph subgraph(const Graph& graph, const std::vector<int>& nodes) {
        Graph out;
        for (size_t k = 0; k < nodes.size(); k++) local[nodes[k]] = int(k);
        for (const int v : nodes) {
            out.colors.push_back(graph.colors[v]);
            for (size_t a = graph.begin[v]; a < graph.begin[v + 1]; a++)
                if (local[graph.arcs[a].head] >= 0) out.arcs.push_back({graph.arcs[a].kind, local[graph.arcs[a].head]});
            out.begin.push_back(out.arcs.size());
        }
        for (const int v : nodes) local[v] = -1;
        out.reverse = graph.reverse;
        return out;
    }

    // ------------------------------------------------------------------ components

    // Leave out relations that all nodes of one cell have to all of another one.
    static void drop_complete(Graph& graph) {
        std::vector<int> length(graph.size(), 0), count(graph.size(), 0);
        for (const int cell : graph.colors) length[cell]++;
        std::vector<Graph::Arc> kept;
        size_t from = 0;
        for (size_t u = 0; u < graph.size(); u++) {
            const size_t to = graph.begin[u + 1];
            for (size_t first = from, last = from; first < to; first = last) {
                while (last < to && graph.arcs[last].kind == graph.arcs[first].kind) count[graph.colors[graph.arcs[last++].head]]++;
                for (size_t a = first; a < last; a++) {
                    const int cell = graph.colors[graph.arcs[a].head];
                    if (count[cell] < length[cell] - (cell == graph.colors[u])) kept.push_back(graph.arcs[a]);
                }
                for (size_t a = first; a < last; a++) count[graph.colors[graph.arcs[a].head]] = 0;
            }
            from = to;
            graph.begin[u + 1] = kept.size();
        }
        graph.arcs = std::move(kept);
    }

    // Connected components, in the order of the cells that their nodes are in.
    static std::vector<Part> components(const Graph& graph) {
        Sets sets(graph.size());
        for (size_t u = 0; u < graph.size(); u++)
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++) sets.join(int(u), graph.arcs[a].head);
        std::vector<int> number(graph.size());
        std::vector<Part> out;
        for (int v = 0; v < int(graph.size()); v++) {
            const int first = sets.find(v);
            if (first == v) number[v] = int(out.size()), out.emplace_back();
            out[number[first]].nodes.push_back(v);
        }
        for (Part& part : out) {
            part.key = chosen(graph.colors, part.nodes);
            std::sort(part.key.begin(), part.key.end());
        }
        std::stable_sort(out.begin(), out.end(), by_key);
        return out;
    }

    static bool by_key(const Part& a, const Part& b) { return a.key < b.key; }

    // Solve components that may be isomorphic, put them in order, and let those that are be exchanged.
    void solve_alike(const Graph& graph, const std::vector<int>& names, std::vector<Part>::iterator first,
                     std::vector<Part>::iterator last, bool ordered) {
        const bool is_alone = last - first == 1, are_nodes = first->nodes.size() == 1;
        for (auto part = first; part != last; ++part) {
            if (are_nodes) {
                part->all = block(names[part->nodes[0]]);
                continue;
            }
            part->all = solve(subgraph(graph, part->nodes), chosen(names, part->nodes), ordered || !is_alone);
            if (!is_alone) part->key = renumbered(graph, names, *part);
        }
        std::stable_sort(first, last, by_key);
        for (auto same = first, end = first; same != last; same = end) {
            std::vector<std::vector<int>> rows;
            for (; end != last && end->key == same->key; ++end) rows.push_back(end->all);
            group.add_symmetric(rows);
        }
    }

    // Colours and arcs of a component, its nodes numbered in their order.
    Key renumbered(const Graph& graph, const std::vector<int>& names, const Part& part) {
        std::map<int, int> node_of;
        for (const int v : part.nodes) node_of[names[v]] = v;
        std::vector<int> order;
        for (const int name : part.all)
            if (const auto found = node_of.find(name); found != node_of.end()) {
                local[found->second] = int(order.size());
                order.push_back(found->second);
            }
        Key out;
        for (const int v : order) {
            std::vector<Graph::Arc> row(graph.arcs.begin() + graph.begin[v], graph.arcs.begin() + graph.begin[v + 1]);
            for (auto& [kind, head] : row) head = local[head];
            std::sort(row.begin(), row.end());
            out.insert(out.end(), {graph.colors[v], int(row.size())});
            for (const auto& [kind, head] : row) out.push_back(kind), out.push_back(head);
        }
        for (const int v : order) local[v] = -1;
        return out;
    }

    // ------------------------------------------------------------------ search

    std::vector<int> searched(const Graph& graph, const std::vector<int>& names, bool ordered) {
        const Searched found = search(graph, ordered, budget);
        auto& program = group.program;
        size_t length = program.size();
        for (const Transversal& t : found.transversals) {
            length += 3 + 2 * t.via.size();
            for (const Permutation& p : t.permutations) length += 1 + 2 * p.from.size();
        }
        program.reserve(length);
        for (const Transversal& t : found.transversals) {
            group.base.push_back(names[t.base]);
            group.radices.push_back(int64_t(t.via.size()));
            group.generators += int64_t(t.permutations.size());
            program.insert(program.end(), {1, int64_t(t.permutations.size())});
            for (const Permutation& p : t.permutations) {
                const size_t count = program.size();
                program.push_back(0);
                for (const int v : p.from) put_block(names[v], program);
                program[count] = int64_t(program.size() - count - 1);
                for (const int v : p.to) put_block(names[v], program);
            }
            program.push_back(int64_t(t.via.size()));
            program.insert(program.end(), t.via.begin(), t.via.end());
            program.insert(program.end(), t.parent.begin(), t.parent.end());
        }
        std::vector<int> out;
        for (const int v : found.order) put_block(names[v], out);
        return out;
    }

    Budget budget;
    std::vector<std::vector<int>> held;  // nodes in the block of a node, next to itself
    std::vector<int> local;              // numbers of nodes, -1 elsewhere: lent to one function at a time
};

// Reads the factors of a group one after the other.
struct Factor {
    bool is_symmetric;
    int64_t rows = 0, width = 0;
    const int64_t* nodes = nullptr;  // [rows, width]
    struct Moves {
        int64_t count;
        const int64_t *moved, *images;
    };
    std::vector<Moves> permutations;
    int64_t radix = 0;
    const int64_t *via = nullptr, *parent = nullptr;

    explicit Factor(const int64_t*& at) : is_symmetric(*at++ == 0) {
        if (is_symmetric) {
            rows = *at++, width = *at++, nodes = at;
            at += rows * width;
            return;
        }
        for (int64_t k = *at++; k > 0; k--) {
            const int64_t count = *at++;
            permutations.push_back({count, at, at + count});
            at += 2 * count;
        }
        radix = *at++, via = at, parent = at + radix;
        at += 2 * radix;
    }

    // Put the element with these digits before a permutation.
    void apply(int64_t* permutation, const int64_t*& digits, std::vector<int64_t>& scratch) const {
        if (is_symmetric) {
            for (int64_t i = rows - 1; i > 0; i--)
                if (const int64_t j = i - *digits++; j != i)
                    for (int64_t k = 0; k < width; k++)
                        std::swap(permutation[nodes[i * width + k]], permutation[nodes[j * width + k]]);
            return;
        }
        for (int64_t d = *digits++; d > 0; d = parent[d]) {
            const auto [count, moved, images] = permutations[size_t(via[d])];
            scratch.resize(size_t(count));
            for (int64_t k = 0; k < count; k++) scratch[size_t(k)] = permutation[images[k]];
            for (int64_t k = 0; k < count; k++) permutation[moved[k]] = scratch[size_t(k)];
        }
    }
};

std::vector<Factor> factors(const int64_t* program, size_t length) {
    std::vector<Factor> out;
    for (const int64_t *at = program, *end = program + length; at != end;) out.emplace_back(at);
    return out;
}

// Orbits of a group, numbered in the order of their first nodes.
std::vector<int64_t> orbits_of(const Group& group, size_t size) {
    Sets sets(size);
    for (const Factor& factor : factors(group.program.data(), group.program.size())) {
        for (int64_t k = factor.width; k < factor.rows * factor.width; k++)
            sets.join(int(factor.nodes[k]), int(factor.nodes[k - factor.width]));
        for (const auto& [count, moved, images] : factor.permutations)
            for (int64_t k = 0; k < count; k++) sets.join(int(moved[k]), int(images[k]));
    }
    std::vector<int64_t> out(size);
    int64_t count = 0;
    for (int v = 0; v < int(size); v++) out[v] = sets.find(v) == v ? count++ : out[sets.find(v)];
    return out;
}

}  // namespace

Graph::Graph(const int64_t* colors, size_t size, const int64_t* edges, const int64_t* labels, size_t edge_count) {
    const int64_t *sources = edges, *targets = edges + edge_count;
    const std::vector<size_t> order = by_number(sources, size, by_number(targets, size, counted(edge_count)));
    struct End {
        int source, target;
        bool operator==(const End& other) const { return source == other.source && target == other.target; }
    };
    std::vector<End> ends;                      // of parallel arcs, by source and target
    std::vector<std::vector<int64_t>> bundles;  // their labels, where not all arcs are alike and single
    ends.reserve(edge_count);
    for (const size_t e : order)
        if (const End end{int(sources[e]), int(targets[e])}; ends.empty() || !(ends.back() == end)) ends.push_back(end);
    const auto is_plain = [&](int64_t label) { return label == labels[0]; };
    if (ends.size() < edge_count || !std::all_of(labels, labels + edge_count, is_plain)) {
        bundles.resize(ends.size());
        size_t k = 0;
        for (const size_t e : order) {
            if (!(ends[k] == End{int(sources[e]), int(targets[e])})) k++;
            bundles[k].push_back(labels[e]);
        }
        for (auto& bundle : bundles) std::sort(bundle.begin(), bundle.end());
    }
    const std::vector<int> numbers = bundles.empty() ? std::vector<int>(ends.size()) : ranks(bundles);

    // Sources grow, and so do the targets of each row in which an arc back is looked for.
    std::vector<size_t> at(size + 1, 0);
    for (const End& end : ends) at[size_t(end.source) + 1]++;
    std::partial_sum(at.begin(), at.end(), at.begin());
    const std::vector<size_t> stop(at.begin() + 1, at.end());
    struct Pair {
        int there, back, source, target;  // labels there and back, -1 if there is no arc, and the nodes
        std::pair<int, int> type() const { return {there, back}; }
        bool operator<(const Pair& other) const {
            return std::tie(there, back, source, target) < std::tie(other.there, other.back, other.source, other.target);
        }
    };
    std::vector<Pair> pairs;
    pairs.reserve(ends.size());
    std::vector<std::pair<int64_t, int>> nodes;  // colour and kind of the loop, -1 if there is none
    nodes.reserve(size);
    for (size_t v = 0; v < size; v++) nodes.emplace_back(colors[v], -1);
    for (size_t k = 0; k < ends.size(); k++) {
        const auto [u, v] = ends[k];
        if (u == v) {
            nodes[size_t(u)].second = numbers[k];
            continue;
        }
        size_t& back = at[size_t(v)];
        while (back < stop[size_t(v)] && ends[back].target < u) back++;
        const bool is_there = back < stop[size_t(v)] && ends[back].target == u;
        pairs.push_back({numbers[k], is_there ? numbers[back] : -1, u, v});
        if (!is_there) pairs.push_back({-1, numbers[k], v, u});
    }
    if (!std::is_sorted(pairs.begin(), pairs.end())) std::sort(pairs.begin(), pairs.end());

    begin.assign(size + 1, 0);
    for (const Pair& pair : pairs) begin[size_t(pair.source) + 1]++;
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    std::vector<size_t> next(begin.begin(), begin.end() - 1);
    std::vector<std::pair<int, int>> kinds;
    arcs.resize(pairs.size());
    for (const Pair& pair : pairs) {
        if (kinds.empty() || kinds.back() != pair.type()) kinds.push_back(pair.type());
        arcs[next[size_t(pair.source)]++] = {int(kinds.size()) - 1, pair.target};
    }
    for (const auto& [there, back] : kinds)
        reverse.push_back(int(std::lower_bound(kinds.begin(), kinds.end(), std::pair{back, there}) - kinds.begin()));
    this->colors = ranks(nodes);
}

void Group::add_symmetric(const std::vector<std::vector<int>>& rows) {
    if (rows.size() < 2) return;
    program.insert(program.end(), {0, int64_t(rows.size()), int64_t(rows[0].size())});
    for (const auto& row : rows) program.insert(program.end(), row.begin(), row.end());
    for (size_t k = rows.size(); k > 1; k--) radices.push_back(int64_t(k));
    for (size_t k = 1; k < rows.size(); k++) base.push_back(rows[k][0]);
    generators += rows.size() > 2 ? 2 : 1;
}

std::vector<int64_t> elements(const int64_t* program, size_t length, size_t nodes, const int64_t* digits, size_t count) {
    const std::vector<Factor> all = factors(program, length);
    std::vector<int64_t> out(count * nodes), scratch;
    for (size_t k = 0; k < count; k++) {
        int64_t* element = out.data() + k * nodes;
        std::iota(element, element + nodes, 0);
        for (const Factor& factor : all) factor.apply(element, digits, scratch);
    }
    return out;
}

std::vector<int64_t> generators(const int64_t* program, size_t length, size_t nodes) {
    std::vector<int64_t> out;
    auto add = [&] {
        out.resize(out.size() + nodes);
        std::iota(out.end() - int64_t(nodes), out.end(), 0);
        return out.data() + out.size() - nodes;
    };
    for (const Factor& factor : factors(program, length)) {
        for (int64_t last = 1; last < factor.rows; last += std::max<int64_t>(1, factor.rows - 2)) {  // (0 1), (0 1 ... m-1)
            int64_t* element = add();
            for (int64_t i = 0; i <= last; i++)
                for (int64_t k = 0; k < factor.width; k++)
                    element[factor.nodes[i * factor.width + k]] = factor.nodes[(i < last ? i + 1 : 0) * factor.width + k];
        }
        for (const auto& [count, moved, images] : factor.permutations) {
            int64_t* element = add();
            for (int64_t k = 0; k < count; k++) element[moved[k]] = images[k];
        }
    }
    return out;
}

Automorphisms automorphisms(const Graph& graph, bool canonical, size_t steps) {
    std::vector<int> names(graph.size());
    std::iota(names.begin(), names.end(), 0);
    Solver solver(graph.size(), steps);
    const std::vector<int> order = solver.solve(graph, names, canonical);
    Automorphisms out{std::move(solver.group), {}, std::vector<int64_t>(graph.size())};
    out.orbits = orbits_of(out.group, graph.size());
    for (size_t k = 0; k < order.size(); k++) out.labels[size_t(order[k])] = int64_t(k);
    return out;
}

// Automorphisms of graphs by individualization and refinement (McKay, Congr. Numer. 30, 45 (1981)).
//
// A partition of the nodes into ordered cells is refined until nodes of a cell have the same numbers of neighbours
// in every cell; where cells remain, a node is singled out and the partition refined again. The nodes b_1, b_2, ...
// singled out on the first way down to single nodes are a base of the group. From the last to the first, each node
// that might take the place of b_k is tried: if a way down with it meets the first one, the two differ by an
// automorphism. Those found at level k and below generate the stabilizer of b_1 ... b_{k-1}, so the order of the
// group is the product of the orbit lengths of the b_k under them, and no separate Schreier-Sims step is needed.

#include "graph.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>

namespace {

constexpr size_t most_cells = 20'000'000;     // number of nodes times length of the base: what is kept at once
constexpr size_t most_work = 300'000'000;    // arcs and nodes visited by one search before it is given up

using Trace = std::vector<int>;  // what a refinement did; equal for equivalent partitions
enum class Wanted { any, equal, at_most };

// Ordered partition: the cell of v starts at cell[v] and is nodes[start] ... nodes[end[start] - 1].
struct Partition {
    std::vector<int> nodes, place, cell, end;
    size_t cells = 0;

    explicit Partition(const std::vector<int64_t>& colors)
        : nodes(colors.size()), place(colors.size()), cell(colors.size()), end(colors.size()) {
        const int size = int(colors.size());
        std::iota(nodes.begin(), nodes.end(), 0);
        std::stable_sort(nodes.begin(), nodes.end(), [&](int a, int b) { return colors[a] < colors[b]; });
        for (int start = 0, stop = 0; start < size; start = stop) {
            while (stop < size && colors[nodes[stop]] == colors[nodes[start]]) stop++;
            for (int k = start; k < stop; k++) place[nodes[k]] = k, cell[nodes[k]] = start;
            end[start] = stop;
            cells++;
        }
    }

    int size() const { return int(nodes.size()); }

    std::vector<int> starts() const {
        std::vector<int> out;
        for (int start = 0; start < size(); start = end[start]) out.push_back(start);
        return out;
    }

    // Start of the first of the largest cells, from which a node is singled out next; -1 if all nodes are single.
    int target() const {
        int best = -1, most = 1;
        for (int start = 0; start < size(); start = end[start])
            if (end[start] - start > most) best = start, most = end[start] - start;
        return best;
    }

    std::vector<int> members(int start) const { return {nodes.begin() + start, nodes.begin() + end[start]}; }

    // Exchange v with the node at an index.
    void put(int v, int index) {
        const int other = nodes[index], old = place[v];
        nodes[index] = v, nodes[old] = other;
        place[v] = index, place[other] = old;
    }

    // Put v in a cell of its own, before the rest of its cell; its start is returned.
    int individualize(int v) {
        const int start = cell[v], stop = end[start];
        put(v, start);
        end[start] = start + 1, end[start + 1] = stop;
        for (int k = start + 1; k < stop; k++) cell[nodes[k]] = start + 1;
        cells++;
        return start;
    }
};

// Refines partitions of one graph.
class Refiner {
public:
    explicit Refiner(const Graph& graph)
        : graph(graph), counts(graph.size, 0), is_waiting(graph.size, false), heads(size_t(graph.kinds)) {}

    // Refine until equitable or all single, starting with some cells. False, and given up, where the trace is not
    // equal to, or at most, another one if that is wanted.
    bool refine(Partition& partition, const std::vector<int>& splitters, Trace& trace, Wanted wanted = Wanted::any,
                const Trace& other = {}) {
        trace.clear();
        expected = &other;
        this->wanted = wanted;
        queue = splitters;
        for (const int start : queue) is_waiting[start] = true;
        bool as_expected = true;
        size_t next = 0;
        while (next < queue.size() && partition.cells < graph.size && as_expected) {
            const int splitter = queue[next++];
            is_waiting[splitter] = false;
            as_expected = split_by(partition, splitter, trace);
        }
        for (; next < queue.size(); next++) is_waiting[queue[next]] = false;
        return as_expected && (this->wanted != Wanted::equal || trace.size() == other.size());
    }

    void spend(size_t more) {
        work += more;
        if (work > most_work)
            throw std::runtime_error("no end of the search after " + std::to_string(most_work) +
                                     " steps: the graph is too regular");
    }

private:
    bool split_by(Partition& partition, int splitter, Trace& trace) {
        used.clear();
        for (int k = splitter; k < partition.end[splitter]; k++) {
            const int u = partition.nodes[k];
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++) {
                const auto [kind, head] = graph.arcs[a];
                if (heads[kind].empty()) used.push_back(kind);
                heads[kind].push_back(head);
            }
        }
        std::sort(used.begin(), used.end());
        bool as_expected = true;
        for (const int kind : used) {
            if (as_expected) as_expected = split_by_kind(partition, splitter, kind, trace);
            heads[kind].clear();
        }
        return as_expected;
    }

    bool split_by_kind(Partition& partition, int splitter, int kind, Trace& trace) {
        spend(heads[kind].size());
        touched.clear();
        for (const int v : heads[kind])
            if (counts[v]++ == 0) touched.emplace_back(partition.cell[v], 0, v);
        for (auto& [start, count, v] : touched) count = counts[v], counts[v] = 0;
        std::sort(touched.begin(), touched.end());
        for (size_t first = 0, last = 0; first < touched.size(); first = last) {
            while (last < touched.size() && std::get<0>(touched[last]) == std::get<0>(touched[first])) last++;
            const size_t known = trace.size();
            trace.insert(trace.end(), {splitter, kind, std::get<0>(touched[first])});
            split(partition, first, last, trace);
            if (wanted != Wanted::any && !as_wanted(trace, known)) return false;
        }
        return true;
    }

    bool as_wanted(const Trace& trace, size_t known) {
        for (size_t k = known; k < trace.size(); k++) {
            if (k < expected->size() && trace[k] == (*expected)[k]) continue;
            if (wanted == Wanted::equal || k >= expected->size() || trace[k] > (*expected)[k]) return false;
            wanted = Wanted::any;  // it is less, whatever follows
            return true;
        }
        return true;
    }

    // Order a cell by the counts of its touched nodes (0 for the others) and cut it.
    void split(Partition& partition, size_t first, size_t last, Trace& trace) {
        const int start = std::get<0>(touched[first]), end = partition.end[start];
        int stop = end;
        pieces.clear();
        for (size_t high = last, low = last; high > first; high = low) {
            const int count = std::get<1>(touched[high - 1]);
            while (low > first && std::get<1>(touched[low - 1]) == count) low--;
            trace.push_back(count), trace.push_back(int(high - low));
            if (high == last && low == first && int(last - first) == end - start) return;  // all alike
            for (size_t k = low; k < high; k++) partition.put(std::get<2>(touched[k]), --stop);
            pieces.push_back(stop);
        }
        if (stop > start) pieces.push_back(start);
        std::reverse(pieces.begin(), pieces.end());
        partition.cells += pieces.size() - 1;
        size_t largest = 0;
        auto length = [&](size_t p) { return partition.end[pieces[p]] - pieces[p]; };
        for (size_t p = 0; p < pieces.size(); p++) {
            const int begin = pieces[p], finish = p + 1 < pieces.size() ? pieces[p + 1] : end;
            partition.end[begin] = finish;
            if (begin != start)
                for (int k = begin; k < finish; k++) partition.cell[partition.nodes[k]] = begin;
            if (length(p) > length(largest)) largest = p;
        }
        const size_t kept = is_waiting[start] ? 0 : largest;  // no need to count from all of the pieces
        for (size_t p = 0; p < pieces.size(); p++)
            if (p != kept) queue.push_back(pieces[p]), is_waiting[pieces[p]] = true;
    }

    const Graph& graph;
    size_t work = 0;
    const Trace* expected = nullptr;
    Wanted wanted = Wanted::any;
    std::vector<int> counts, queue, used, pieces;
    std::vector<bool> is_waiting;
    std::vector<std::vector<int>> heads;               // of the arcs of each kind from the splitter
    std::vector<std::tuple<int, int, int>> touched;  // cell, count, node
};

// Disjoint sets of nodes.
class Sets {
public:
    explicit Sets(size_t size) : parent(size) { std::iota(parent.begin(), parent.end(), 0); }

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

// The first way down, and the search for others that meet it.
class Search {
public:
    explicit Search(const Graph& graph) : graph(graph), refiner(graph), image(graph.size) {
        const size_t size = graph.size;
        Partition partition(graph.colors);
        Trace trace;
        refiner.refine(partition, partition.starts(), trace);
        partitions.push_back(partition);
        for (int start; (start = partition.target()) >= 0;) {
            if (partitions.size() * size > most_cells)
                throw std::runtime_error("the graph has " + std::to_string(size) +
                                         " nodes and too many automorphisms (a base of more than " +
                                         std::to_string(base.size()) +
                                         ") for this search: merge its identical parts, or tell nodes apart by features");
            targets.push_back(start);
            base.push_back(partition.nodes[start]);
            refiner.refine(partition, {partition.individualize(partition.nodes[start])}, trace);
            traces.push_back(trace);
            partitions.push_back(partition);
        }
        std::iota(image.begin(), image.end(), 0);
    }

    Automorphisms run() {
        Automorphisms found;
        found.base.assign(base.begin(), base.end());
        found.orbit_lengths.resize(base.size());
        Sets orbits(graph.size);
        for (size_t level = base.size(); level-- > 0;) {
            const std::vector<int> cell = partitions[level].members(targets[level]);
            std::vector<int> failed;
            for (const int v : cell) {
                const int root = orbits.find(v);
                if (root == orbits.find(base[level])) continue;
                if (std::any_of(failed.begin(), failed.end(), [&](int u) { return orbits.find(u) == root; })) continue;
                if (!meets(partitions[level], level, v)) {
                    failed.push_back(v);
                    continue;
                }
                found.generators.insert(found.generators.end(), image.begin(), image.end());
                found.levels.push_back(int64_t(level));
                for (const int u : moved) orbits.join(u, image[u]);
                restore();
            }
            const int root = orbits.find(base[level]);
            found.orbit_lengths[level] = std::count_if(cell.begin(), cell.end(), [&](int v) { return orbits.find(v) == root; });
        }
        int64_t count = 0;
        for (int v = 0; v < int(graph.size); v++) {
            const int first = orbits.find(v);
            found.orbits.push_back(first == v ? count++ : found.orbits[first]);
        }
        return found;
    }

private:
    // Whether an automorphism carries the base at this level to v and is like the first way down below: it is then
    // in `image`, and the nodes that it moves in `moved`.
    bool meets(const Partition& above, size_t level, int v) {
        refiner.spend(graph.size);
        Partition partition = above;
        Trace trace;
        const int start = partition.individualize(v);
        if (!refiner.refine(partition, {start}, trace, Wanted::equal, traces[level])) return false;
        if (differ_by_automorphism(partitions[level + 1], partition)) return true;
        level++;
        if (level == base.size()) return false;
        for (const int w : partition.members(targets[level]))
            if (meets(partition, level, w)) return true;
        return false;
    }

    // Whether a map of one partition on another is one that moves only nodes which lie in different cells.
    bool differ_by_automorphism(const Partition& first, const Partition& other) {
        from.clear(), to.clear();
        for (int v = 0; v < int(graph.size); v++)
            if (first.cell[v] != other.cell[v]) from.emplace_back(first.cell[v], v), to.emplace_back(other.cell[v], v);
        std::sort(from.begin(), from.end());
        std::sort(to.begin(), to.end());
        bool possible = true;
        for (size_t k = 0; possible && k < from.size(); k++) {
            possible = from[k].first == to[k].first;
            image[from[k].second] = to[k].second;
            moved.push_back(from[k].second);
        }
        if (possible && is_automorphism()) return true;
        restore();
        return false;
    }

    bool is_automorphism() {
        for (const int u : moved) {
            const int w = image[u];
            const size_t degree = graph.begin[u + 1] - graph.begin[u];
            if (graph.begin[w + 1] - graph.begin[w] != degree) return false;
            refiner.spend(degree);
            carried.clear();
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++)
                carried.push_back({graph.arcs[a].kind, image[graph.arcs[a].head]});
            std::sort(carried.begin(), carried.end());
            if (!std::equal(carried.begin(), carried.end(), graph.arcs.begin() + graph.begin[w])) return false;
        }
        return true;
    }

    void restore() {
        for (const int v : moved) image[v] = v;
        moved.clear();
    }

    const Graph& graph;
    Refiner refiner;
    std::vector<Partition> partitions;
    std::vector<int> targets, base, image, moved;
    std::vector<Trace> traces;
    std::vector<Graph::Arc> carried;
    std::vector<std::pair<int, int>> from, to;  // cell, node
};

// The leaf of the search tree with the least traces, and among those with the least list of arcs. Nodes that
// automorphisms exchange, with those above them fixed, need not all be followed.
class Canonical {
public:
    using Key = std::vector<std::vector<int>>;

    Canonical(const Graph& graph, const Automorphisms& found)
        : graph(graph), found(found), refiner(graph), rank(graph.size, int(found.base.size())), moved(found.levels.size()) {
        for (size_t k = 0; k < found.base.size(); k++) rank[found.base[k]] = int(k);
        for (size_t g = 0; g < moved.size(); g++)
            for (int v = 0; v < int(graph.size); v++)
                if (generator(g)[v] != v) moved[g].push_back(v);
    }

    std::vector<int64_t> labels() {
        Partition partition(graph.colors);
        Trace trace;
        refiner.refine(partition, partition.starts(), trace);
        std::vector<size_t> all(found.levels.size());
        std::iota(all.begin(), all.end(), 0);
        const std::vector<int> places = best(partition, all).second;
        return {places.begin(), places.end()};
    }

private:
    const int64_t* generator(size_t g) const { return found.generators.data() + g * graph.size; }

    std::pair<Key, std::vector<int>> best(const Partition& partition, const std::vector<size_t>& generators) {
        const int start = partition.target();
        if (start < 0) return {{renumbered(partition.place)}, partition.place};
        Trace least, trace;
        std::vector<int> children;  // those of the least trace
        for (const int v : representatives(partition.members(start), generators)) {
            Partition child = partition;
            if (!descend(child, v, trace, children.empty() ? Wanted::any : Wanted::at_most, least)) continue;
            if (trace != least) children.clear();
            children.push_back(v);
            least = trace;
        }
        std::pair<Key, std::vector<int>> out;
        for (const int v : children) {
            Partition child = partition;
            descend(child, v, trace, Wanted::any, least);
            std::vector<size_t> fixing;
            for (const size_t g : generators)
                if (generator(g)[v] == v) fixing.push_back(g);
            auto below = best(child, fixing);
            below.first.push_back(least);
            if (out.first.empty() || before(below.first, out.first)) out = std::move(below);
        }
        return out;
    }

    // Keys list the arcs first and the traces from the leaf up; those near the root count most.
    static bool before(const Key& a, const Key& b) {
        return std::lexicographical_compare(a.rbegin(), a.rend(), b.rbegin(), b.rend());
    }

    bool descend(Partition& partition, int v, Trace& trace, Wanted wanted, const Trace& other) {
        refiner.spend(graph.size);
        return refiner.refine(partition, {partition.individualize(v)}, trace, wanted, other);
    }

    std::vector<int> renumbered(const std::vector<int>& place) const {
        std::vector<std::array<int, 3>> out;
        for (int u = 0; u < int(graph.size); u++)
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++)
                out.push_back({place[u], graph.arcs[a].kind, place[graph.arcs[a].head]});
        std::sort(out.begin(), out.end());
        std::vector<int> flat;
        for (const auto& arc : out) flat.insert(flat.end(), arc.begin(), arc.end());
        return flat;
    }

    // One node of each orbit, the first of the base where there is one: its stabilizer is known in full.
    std::vector<int> representatives(const std::vector<int>& cell, const std::vector<size_t>& generators) {
        Sets orbits(graph.size);
        for (const size_t g : generators)
            for (const int u : moved[g]) orbits.join(u, int(generator(g)[u]));
        std::map<int, int> chosen;
        for (const int v : cell) {
            const auto [entry, is_new] = chosen.try_emplace(orbits.find(v), v);
            if (!is_new && rank[v] < rank[entry->second]) entry->second = v;
        }
        std::vector<int> out;
        for (const auto& [root, v] : chosen) out.push_back(v);
        return out;
    }

    const Graph& graph;
    const Automorphisms& found;
    Refiner refiner;
    std::vector<int> rank;                // of the nodes of the base: their place in it
    std::vector<std::vector<int>> moved;  // nodes that each generator moves
};

}  // namespace

Graph::Graph(const int64_t* colors, size_t size, const int64_t* edges, const int64_t* labels, size_t edge_count)
    : size(size), colors(colors, colors + size), begin(size + 1, 0) {
    const int64_t *source = edges, *target = edges + edge_count;
    std::vector<size_t> order(edge_count);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::tie(source[a], target[a], labels[a]) < std::tie(source[b], target[b], labels[b]);
    });
    struct Bundle {
        int u, v, kind;
        std::vector<size_t>::const_iterator first, last;
    };
    std::vector<Bundle> bundles;  // parallel arcs
    for (auto first = order.cbegin(), last = first; first != order.cend(); first = last) {
        while (last != order.cend() && source[*last] == source[*first] && target[*last] == target[*first]) ++last;
        bundles.push_back({int(source[*first]), int(target[*first]), 0, first, last});
    }
    std::vector<Bundle*> by_labels;
    for (Bundle& bundle : bundles) by_labels.push_back(&bundle);
    auto less = [&](const Bundle* a, const Bundle* b) {
        return std::lexicographical_compare(a->first, a->last, b->first, b->last,
                                            [&](size_t e, size_t f) { return labels[e] < labels[f]; });
    };
    std::stable_sort(by_labels.begin(), by_labels.end(), less);
    for (size_t k = 0; k < by_labels.size(); k++)
        by_labels[k]->kind = k > 0 && less(by_labels[k - 1], by_labels[k]) ? ++kinds : kinds;
    kinds++;

    std::vector<std::tuple<int, int, int>> forward;  // kind, u, v
    for (const Bundle& bundle : bundles) forward.emplace_back(bundle.kind, bundle.u, bundle.v);
    std::sort(forward.begin(), forward.end());
    const int forward_kinds = kinds;
    std::vector<std::vector<Arc>> lists(size);
    for (size_t first = 0, last = 0; first < forward.size(); first = last) {
        const int kind = std::get<0>(forward[first]);
        bool both_ways = true;
        for (last = first; last < forward.size() && std::get<0>(forward[last]) == kind; last++) {
            const auto [k, u, v] = forward[last];
            lists[u].push_back({k, v});
            both_ways = both_ways && std::binary_search(forward.begin(), forward.end(), std::make_tuple(k, v, u));
        }
        for (size_t k = first; k < last && !both_ways; k++)
            lists[std::get<2>(forward[k])].push_back({forward_kinds + kind, std::get<1>(forward[k])});
    }
    kinds = 2 * forward_kinds;
    for (size_t u = 0; u < size; u++) {
        std::sort(lists[u].begin(), lists[u].end());
        begin[u] = arcs.size();
        arcs.insert(arcs.end(), lists[u].begin(), lists[u].end());
    }
    begin[size] = arcs.size();
}

Automorphisms automorphisms(const Graph& graph) { return Search(graph).run(); }

std::vector<int64_t> canonical_labels(const Graph& graph) {
    return Canonical(graph, automorphisms(graph)).labels();
}

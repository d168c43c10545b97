#include "graph_search.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>

#include "sets.h"

namespace {

constexpr size_t longest_base = 10'000;  // a search is as many calls deep

using Trace = std::vector<int>;  // what a refinement did; equal for equivalent partitions
enum class Wanted { any, equal, at_most };

// Ordered partition: the cell of v starts at cell[v] and is nodes[start] ... nodes[end[start] - 1].
struct Partition {
    std::vector<int> nodes, place, cell, end;
    std::vector<std::pair<int, int>> cuts;  // a cell and where its end was cut off, in the order of cutting

    explicit Partition(const std::vector<int>& colors)
        : nodes(colors.size()), place(colors.size()), cell(colors.size()), end(colors.size()) {
        cuts.reserve(colors.size());
        std::iota(nodes.begin(), nodes.end(), 0);
        if (!std::is_sorted(colors.begin(), colors.end()))
            std::stable_sort(nodes.begin(), nodes.end(), [&](int a, int b) { return colors[a] < colors[b]; });
        for (int start = 0, stop = 0; start < size(); start = stop) {
            while (stop < size() && colors[nodes[stop]] == colors[nodes[start]]) stop++;
            for (int k = start; k < stop; k++) place[nodes[k]] = k, cell[nodes[k]] = start;
            end[start] = stop;
            cells++;
        }
    }

    int size() const { return int(nodes.size()); }
    bool is_discrete() const { return cells == nodes.size(); }
    int length(int start) const { return end[start] - start; }
    std::vector<int> members(int start) const { return {nodes.begin() + start, nodes.begin() + end[start]}; }

    // Exchange v with the node at an index.
    void put(int v, int index) {
        const int other = nodes[index], old = place[v];
        nodes[index] = v, nodes[old] = other;
        place[v] = index, place[other] = old;
    }

    void cut(int start, int at) {
        end[at] = end[start], end[start] = at;
        for (int k = at; k < end[at]; k++) cell[nodes[k]] = at;
        cuts.emplace_back(start, at);
        cells++;
    }

    // Put v in a cell of its own, after the rest of its cell; its start is returned.
    int individualize(int v) {
        const int start = cell[v], last = end[start] - 1;
        put(v, last);
        cut(start, last);
        return last;
    }

    // Undo all cuts but the first so many.
    void restore(size_t count) {
        for (; cuts.size() > count; cuts.pop_back()) {
            const auto [start, at] = cuts.back();
            for (int k = at; k < end[at]; k++) cell[nodes[k]] = start;
            end[start] = end[at];
            cells--;
        }
    }

private:
    size_t cells = 0;
};

// Where a node is singled out next: a cell, inside of that of an earlier choice if that has one left.
struct Choice {
    int start, stop;
    int inside;  // number of the earlier choice, -1 if there is none
};

// The smallest cell, the first of them, in the innermost choice that is not yet single nodes.
Choice next_choice(const Partition& partition, const std::vector<Choice>& choices) {
    for (int k = int(choices.size()) - 1;; k = choices[k].inside) {
        const int from = k < 0 ? 0 : choices[k].start, to = k < 0 ? partition.size() : choices[k].stop;
        int best = -1, least = 0;
        for (int start = from; start < to; start = partition.end[start])
            if (partition.length(start) > 1 && (best < 0 || partition.length(start) < least))
                best = start, least = partition.length(start);
        if (best >= 0) return {best, best + least, k};
    }
}

// Refines partitions of one graph.
class Refiner {
public:
    Refiner(const Graph& graph, Budget& budget)
        : graph(graph), budget(budget), counts(graph.size(), 0), hits(graph.size(), 0), is_waiting(graph.size(), false),
          heads(graph.reverse.size()) {}

    // Refine until equitable or all single, starting with the cells of the queue. False, and given up, where the trace is not
    // equal to another one if that is wanted. If at most that is wanted, a lesser trace takes its place. No trace is the
    // beginning of another one, since the nodes of a cell of the graph have as many arcs to each other cell.
    bool refine(Partition& partition, Trace& trace, Wanted wanted) {
        this->wanted = wanted, this->trace = &trace, known = 0;
        if (wanted == Wanted::any) trace.clear();
        bool as_wanted = true;
        size_t next = 0;
        while (next < queue.size() && !partition.is_discrete() && as_wanted) {
            const int splitter = queue[next++];
            is_waiting[splitter] = false;
            as_wanted = split_by(partition, splitter);
        }
        for (; next < queue.size(); next++) is_waiting[queue[next]] = false;
        queue.clear();
        return as_wanted;
    }

    // Whether the last trace was a new one.
    bool is_new() const { return wanted == Wanted::any; }

    bool descend(Partition& partition, int v, Trace& trace, Wanted wanted) {
        enqueue(partition.individualize(v));
        return refine(partition, trace, wanted);
    }

    // The coarsest equitable partition that is finer.
    void refine_all(Partition& partition) {
        Trace trace;
        for (int start = 0; start < partition.size(); start = partition.end[start]) enqueue(start);
        refine(partition, trace, Wanted::any);
    }

private:
    bool record(int value) {
        if (wanted == Wanted::any) {
            trace->push_back(value);
            return true;
        }
        if (known < trace->size() && (*trace)[known] == value) {
            known++;
            return true;
        }
        if (wanted == Wanted::equal || known == trace->size() || value > (*trace)[known]) return false;
        trace->resize(known);
        trace->push_back(value);
        wanted = Wanted::any;
        return true;
    }

    bool split_by(Partition& partition, int splitter) {
        used.clear();
        size_t visited = 0;
        for (int k = splitter; k < partition.end[splitter]; k++) {
            const int u = partition.nodes[k];
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++) {
                const auto [kind, head] = graph.arcs[a];
                if (heads[kind].empty()) used.push_back(kind);
                heads[kind].push_back(head);
            }
            visited += 1 + graph.begin[u + 1] - graph.begin[u];
        }
        budget.spend(visited);
        std::sort(used.begin(), used.end());
        bool as_wanted = record(splitter);
        for (const int kind : used) {
            if (as_wanted) as_wanted = record(kind) && split_by_kind(partition, heads[kind]);
            heads[kind].clear();
        }
        return as_wanted;
    }

    // Cut the cells by the number of times that their nodes are among these.
    bool split_by_kind(Partition& partition, const std::vector<int>& among) {
        touched.clear();
        for (const int v : among) {
            if (counts[v]++ > 0) continue;
            const int start = partition.cell[v];
            if (hits[start]++ == 0) touched.push_back(start);
            partition.put(v, partition.end[start] - hits[start]);
        }
        std::sort(touched.begin(), touched.end());
        bool as_wanted = true;
        for (const int start : touched) {
            if (as_wanted) as_wanted = split(partition, start);
            hits[start] = 0;
        }
        for (const int v : among) counts[v] = 0;
        return as_wanted;
    }

    // Order the touched nodes of a cell, its last ones, by their counts and cut it.
    bool split(Partition& partition, int start) {
        const int stop = partition.end[start], first = stop - hits[start];
        auto& nodes = partition.nodes;
        auto fewer = [&](int a, int b) { return counts[a] < counts[b]; };
        const auto [least, most] = std::minmax_element(nodes.begin() + first, nodes.begin() + stop, fewer);
        if (counts[*least] < counts[*most]) {
            std::sort(nodes.begin() + first, nodes.begin() + stop, fewer);
            for (int k = first; k < stop; k++) partition.place[nodes[k]] = k;
        }
        pieces.clear();
        if (!record(start)) return false;
        for (int low = first, high = first; low < stop; low = high) {
            while (high < stop && counts[nodes[high]] == counts[nodes[low]]) high++;
            if (!record(counts[nodes[low]]) || !record(high - low)) return false;
            if (low > start) pieces.push_back(low);
        }
        for (size_t p = pieces.size(); p-- > 0;) partition.cut(start, pieces[p]);
        int kept = start;  // no need to count from all of the pieces
        if (!is_waiting[start])
            for (const int piece : pieces)
                if (partition.length(piece) > partition.length(kept)) kept = piece;
        if (kept != start) enqueue(start);
        for (const int piece : pieces)
            if (piece != kept) enqueue(piece);
        return true;
    }

    void enqueue(int start) {
        if (is_waiting[start]) return;
        queue.push_back(start);
        is_waiting[start] = true;
    }

    const Graph& graph;
    Budget& budget;
    Wanted wanted = Wanted::any;
    Trace* trace = nullptr;
    size_t known = 0;  // so many of the trace were met
    std::vector<int> counts, hits, queue, used, touched, pieces;
    std::vector<bool> is_waiting;
    std::vector<std::vector<int>> heads;  // of the arcs of each kind from the splitter
};

// Put listed nodes in order: many of them are read off the list of all.
void put_in_order(std::vector<int>& nodes, const std::vector<bool>& is_listed) {
    if (nodes.size() * 8 < is_listed.size()) {
        std::sort(nodes.begin(), nodes.end());
        return;
    }
    nodes.clear();
    for (size_t v = 0; v < is_listed.size(); v++)
        if (is_listed[v]) nodes.push_back(int(v));
}

// Products of permutations of some nodes.
class Product {
public:
    explicit Product(size_t size) : image(size), step(size), is_listed(size, false) {
        std::iota(image.begin(), image.end(), 0);
        std::iota(step.begin(), step.end(), 0);
    }

    size_t size() const { return image.size(); }

    // Put a permutation after those so far.
    void after(const Permutation& p) {
        for (size_t k = 0; k < p.from.size(); k++) {
            step[p.from[k]] = p.to[k];
            if (is_listed[p.from[k]]) continue;
            is_listed[p.from[k]] = true;
            moved.push_back(p.from[k]);
        }
        for (const int v : moved) image[v] = step[image[v]];
        for (const int v : p.from) step[v] = v;
    }

    Permutation take() {
        Permutation out;
        put_in_order(moved, is_listed);
        out.from.reserve(moved.size()), out.to.reserve(moved.size());
        for (const int v : moved) {
            is_listed[v] = false;
            if (image[v] != v) out.from.push_back(v), out.to.push_back(image[v]);
            image[v] = v;
        }
        moved.clear();
        return out;
    }

private:
    std::vector<int> image, step, moved;
    std::vector<bool> is_listed;
};

// Products of few of the generators that reach all of an orbit of known length: each one that reaches a new node is
// put before all those so far, and so about doubles what is reached (Babai's cubes, as in Seress, Permutation Group
// Algorithms, 2003, section 4.4).
Transversal transversal(int base, size_t orbit_length, const std::vector<const Permutation*>& generators, Product& product) {
    Transversal out{base, {}, {}, {}};
    std::vector<int> points;
    for (auto* of_points : {&points, &out.via, &out.parent}) of_points->reserve(orbit_length);
    points.push_back(base), out.via.push_back(0), out.parent.push_back(0);
    std::vector<bool> is_reached(product.size(), false);
    is_reached[base] = true;
    for (size_t at = 0; points.size() < orbit_length; at++) {
        for (const Permutation* s : generators) {
            if (is_reached[(*s)(points[at])]) continue;
            std::vector<int> factors;
            for (int d = int(at); d > 0; d = out.parent[d]) factors.push_back(out.via[d]);
            for (size_t k = factors.size(); k-- > 0;) product.after(out.permutations[factors[k]]);
            product.after(*s);
            out.permutations.push_back(product.take());
            for (size_t d = 0, count = points.size(); d < count; d++) {
                const int image = out.permutations.back()(points[d]);
                if (is_reached[image]) continue;
                is_reached[image] = true;
                points.push_back(image);
                out.via.push_back(int(out.permutations.size()) - 1);
                out.parent.push_back(int(d));
            }
        }
    }
    return out;
}

// The first way down, and the search for others that meet it.
class AutomorphismSearch {
public:
    AutomorphismSearch(const Graph& graph, Budget& budget)
        : graph(graph), budget(budget), refiner(graph, budget), first(graph.colors), other(graph.colors),
          image(graph.size()), is_listed(graph.size(), false), at_place(graph.size(), -1), listed(graph.size(), 0),
          kind_to(graph.size(), -1) {
        std::iota(image.begin(), image.end(), 0);
        while (!first.is_discrete()) {
            if (base.size() == longest_base)
                throw std::runtime_error("more than " + std::to_string(longest_base) + " nodes had to be singled out: "
                                         "the search of the graph was given up; tell nodes apart by features");
            choices.push_back(next_choice(first, choices));
            base.push_back(first.nodes[choices.back().start]);
            marks.push_back(first.cuts.size());
            refiner.descend(first, base.back(), scratch, Wanted::any);
            traces.push_back(scratch);
        }
        budget.leaf(base.size());
        leaf = first.nodes;
        other = first;
    }

    std::vector<Transversal> run() {
        std::vector<Transversal> found;
        Sets orbits(graph.size());
        Product product(graph.size());
        std::vector<const Permutation*> generators;
        for (size_t level = base.size(); level-- > 0;) {
            other.restore(marks[level]);
            if (level + 1 < base.size()) first.restore(marks[level + 1]);
            const std::vector<int> cell = other.members(choices[level].start);
            std::vector<Permutation> here;
            std::vector<int> failed;
            std::vector<bool> is_hopeless(graph.size(), false);
            for (const int v : cell) {
                const int root = orbits.find(v);
                if (root == orbits.find(base[level]) || is_hopeless[root]) continue;
                from_first = marks[level], from_other = other.cuts.size();
                if (!meets(level, v)) {
                    failed.push_back(v);
                    is_hopeless[root] = true;
                    continue;
                }
                for (size_t k = 0; k < automorphism.from.size(); k++)
                    orbits.join(automorphism.from[k], automorphism.to[k]);
                for (const int u : failed) is_hopeless[orbits.find(u)] = true;
                here.push_back(std::move(automorphism));
            }
            const int root = orbits.find(base[level]);
            const size_t length = std::count_if(cell.begin(), cell.end(), [&](int v) { return orbits.find(v) == root; });
            if (length == 1) continue;
            generators.clear();
            for (const Permutation& p : here) generators.push_back(&p);
            for (size_t k = found.size(); k-- > 0;)
                for (const Permutation& p : found[k].permutations) generators.push_back(&p);
            found.push_back(transversal(base[level], length, generators, product));
        }
        std::reverse(found.begin(), found.end());
        return found;
    }

    std::vector<int> base;
    std::vector<int> leaf;

private:
    // Whether an automorphism carries the base at this level to v and is like the first way down above and below: it
    // is then in `automorphism`. The first partition has one level more than the other, and both are left as they are.
    bool meets(size_t level, int v) {
        const size_t mark = other.cuts.size();
        const bool met = refiner.descend(other, v, traces[level], Wanted::equal) &&
                         (differ_by_automorphism() || meets_below(level + 1));
        other.restore(mark);
        return met;
    }

    bool meets_below(size_t level) {
        if (level == base.size()) {
            budget.leaf(level);
            return false;
        }
        refiner.descend(first, base[level], scratch, Wanted::any);
        const std::vector<int> cell = other.members(choices[level].start);
        const bool met = std::any_of(cell.begin(), cell.end(), [&](int w) { return meets(level, w); });
        first.restore(marks[level]);
        return met;
    }

    // Whether a map of one partition on the other is one that moves only nodes which lie in different cells.
    bool differ_by_automorphism() {
        moved.clear();
        list_moved(first, from_first);
        list_moved(other, from_other);
        put_in_order(moved, is_listed);
        // The k-th of them in a cell of the first partition goes to the k-th in that cell of the other one.
        for (const int v : moved) is_listed[v] = false, at_place[first.cell[v] + listed[first.cell[v]]++] = v;
        for (const int v : moved) listed[first.cell[v]] = 0;
        bool possible = true;
        for (const int v : moved) {
            const int cell = other.cell[v], u = at_place[cell + listed[cell]++];
            possible = possible && u >= 0 && first.cell[u] == cell;
            if (possible) image[u] = v;
        }
        for (const int v : moved) listed[other.cell[v]] = 0;
        for (const int v : moved) at_place[first.cell[v] + listed[first.cell[v]]++] = -1;
        for (const int v : moved) listed[first.cell[v]] = 0;
        possible = possible && is_automorphism();
        if (possible) {
            automorphism = {moved, {}};
            automorphism.to.reserve(moved.size());
            for (const int v : moved) automorphism.to.push_back(image[v]);
        }
        for (const int v : moved) image[v] = v;
        return possible;
    }

    // Nodes in what was cut off since a mark that lie elsewhere in the other partition.
    void list_moved(const Partition& partition, size_t mark) {
        for (size_t c = mark; c < partition.cuts.size(); c++) {
            const int at = partition.cuts[c].second;
            budget.spend(size_t(partition.length(at)));
            for (int k = at; k < partition.end[at]; k++) {
                const int v = partition.nodes[k];
                if (first.cell[v] == other.cell[v] || is_listed[v]) continue;
                is_listed[v] = true;
                moved.push_back(v);
            }
        }
    }

    bool is_automorphism() {
        for (const int u : moved) {
            const int w = image[u];
            const size_t degree = graph.begin[u + 1] - graph.begin[u];
            if (graph.begin[w + 1] - graph.begin[w] != degree) return false;
            budget.spend(degree);
            for (size_t a = graph.begin[w]; a < graph.begin[w + 1]; a++) kind_to[graph.arcs[a].head] = graph.arcs[a].kind;
            bool are_equal = true;
            for (size_t a = graph.begin[u]; a < graph.begin[u + 1]; a++)
                are_equal = are_equal && kind_to[image[graph.arcs[a].head]] == graph.arcs[a].kind;
            for (size_t a = graph.begin[w]; a < graph.begin[w + 1]; a++) kind_to[graph.arcs[a].head] = -1;
            if (!are_equal) return false;
        }
        return true;
    }

    const Graph& graph;
    Budget& budget;
    Refiner refiner;
    Partition first, other;
    std::vector<Choice> choices;
    std::vector<size_t> marks;  // number of cuts of the first way before each of its choices
    std::vector<Trace> traces;
    Trace scratch;
    size_t from_first = 0, from_other = 0;  // number of cuts of both ways where they part
    Permutation automorphism;
    std::vector<int> image, moved;
    std::vector<bool> is_listed;
    std::vector<int> at_place, listed;  // nodes that move, by their cell in the first partition; how many of a cell
    std::vector<int> kind_to;           // kind of the arc to each node from one of them, -1 if there is none
};

// The leaf with the least traces, and among those with the least list of arcs.
class CanonicalSearch {
public:
    CanonicalSearch(const Graph& graph, Budget& budget, const std::vector<int>& base)
        : graph(graph), budget(budget), refiner(graph, budget), partition(graph.colors), rank(graph.size(), int(base.size())) {
        for (size_t k = 0; k < base.size(); k++) rank[base[k]] = int(k);
    }

    std::vector<int> run(const std::vector<const Permutation*>& generators) {
        explore(0, generators);
        return best_order;
    }

private:
    static constexpr size_t nowhere = size_t(-1);

    // Follow all ways down from here that may be the best, with generators of automorphisms that fix the nodes singled
    // out so far. If another one is found, the level where it moves a node is returned: nothing below that is new.
    size_t explore(size_t level, std::vector<const Permutation*> generators) {
        if (partition.is_discrete()) return compare_leaf();
        choices.push_back(next_choice(partition, choices));
        const std::vector<int> children = least_children(level, generators);
        std::deque<Permutation> found;
        std::vector<int> followed;
        size_t back = nowhere;
        for (const int v : children) {
            if (!found.empty() && is_in_orbit_of(followed, v, generators)) continue;
            followed.push_back(v);
            std::vector<const Permutation*> fixing;
            for (const Permutation* g : generators)
                if ((*g)(v) == v) fixing.push_back(g);
            const size_t mark = partition.cuts.size();
            refiner.descend(partition, v, traces[level], Wanted::equal);
            path.push_back(v);
            back = explore(level + 1, fixing);
            path.pop_back();
            partition.restore(mark);
            if (back < level) break;
            if (back == level) {
                found.push_back(std::move(automorphism));
                generators.push_back(&found.back());
                back = nowhere;
            }
        }
        choices.pop_back();
        return back;
    }

    // One node of each orbit of the cell whose turn it is, those of the least trace.
    std::vector<int> least_children(size_t level, const std::vector<const Permutation*>& generators) {
        std::vector<int> out;
        const size_t mark = partition.cuts.size();
        for (const int v : representatives(partition.members(choices.back().start), generators)) {
            const bool is_first = traces.size() == level;
            if (is_first) traces.emplace_back();
            if (refiner.descend(partition, v, traces[level], is_first ? Wanted::any : Wanted::at_most)) {
                if (refiner.is_new()) {  // all that was followed so far is worse
                    traces.resize(level + 1);
                    best_order.clear();
                    out.clear();
                }
                out.push_back(v);
            }
            partition.restore(mark);
        }
        return out;
    }

    size_t compare_leaf() {
        budget.leaf(path.size());
        std::vector<int> arcs = renumbered();
        if (best_order.empty() || arcs < best_arcs) {
            best_order = partition.nodes, best_path = path, best_arcs = std::move(arcs);
            return nowhere;
        }
        if (arcs != best_arcs) return nowhere;
        automorphism = {};
        std::vector<std::pair<int, int>> images;
        for (size_t k = 0; k < best_order.size(); k++)
            if (best_order[k] != partition.nodes[k]) images.emplace_back(best_order[k], partition.nodes[k]);
        std::sort(images.begin(), images.end());
        for (const auto& [v, w] : images) automorphism.from.push_back(v), automorphism.to.push_back(w);
        return size_t(std::mismatch(path.begin(), path.end(), best_path.begin()).first - path.begin());
    }

    // The arcs between places, node by node.
    std::vector<int> renumbered() {
        std::vector<int> out;
        std::vector<Graph::Arc> row;
        for (const int u : partition.nodes) {
            row.assign(graph.arcs.begin() + graph.begin[u], graph.arcs.begin() + graph.begin[u + 1]);
            for (auto& [kind, head] : row) head = partition.place[head];
            std::sort(row.begin(), row.end());
            for (const auto& [kind, head] : row) out.push_back(kind), out.push_back(head);
        }
        budget.spend(out.size());
        return out;
    }

    Sets orbits_of(const std::vector<const Permutation*>& generators) {
        Sets orbits(graph.size());
        for (const Permutation* g : generators) {
            budget.spend(g->from.size());
            for (size_t k = 0; k < g->from.size(); k++) orbits.join(g->from[k], g->to[k]);
        }
        return orbits;
    }

    bool is_in_orbit_of(const std::vector<int>& nodes, int v, const std::vector<const Permutation*>& generators) {
        Sets orbits = orbits_of(generators);
        return std::any_of(nodes.begin(), nodes.end(), [&](int u) { return orbits.find(u) == orbits.find(v); });
    }

    // One node of each orbit, the first of the base where there is one: its stabilizer is known in full.
    std::vector<int> representatives(const std::vector<int>& cell, const std::vector<const Permutation*>& generators) {
        if (generators.empty()) return cell;
        Sets orbits = orbits_of(generators);
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
    Budget& budget;
    Refiner refiner;
    Partition partition;
    std::vector<int> rank;  // of the nodes of the base: their place in it
    std::vector<Choice> choices;
    std::vector<int> path;
    std::vector<Trace> traces;  // of the best way so far; the present one has the same ones
    std::vector<int> best_order, best_path, best_arcs;
    Permutation automorphism;
};

}  // namespace

void Budget::refuse() const {
    throw std::runtime_error(
        "the search for the automorphisms was given up after " + std::to_string(most) + " steps: leaves, twins and " +
        "components were merged, " + std::to_string(left) + " nodes are left that refinement does not tell apart, and " +
        std::to_string(leaves) + " ways of singling out up to " + std::to_string(depth) +
        " of them were followed to the end; tell nodes apart by features");
}

int Permutation::operator()(int v) const {
    if (size_t(v) < from.size() && from[size_t(v)] == v) return to[size_t(v)];  // all before it move as well
    const auto found = std::lower_bound(from.begin(), from.end(), v);
    return found != from.end() && *found == v ? to[size_t(found - from.begin())] : v;
}

std::vector<int> equitable_cells(const Graph& graph, Budget& budget) {
    Partition partition(graph.colors);
    Refiner(graph, budget).refine_all(partition);
    return partition.cell;
}

Searched search(const Graph& graph, bool canonical, Budget& budget) {
    budget.left = graph.size();
    AutomorphismSearch automorphisms(graph, budget);
    Searched out{automorphisms.run(), std::move(automorphisms.leaf)};
    if (!canonical) return out;
    std::vector<const Permutation*> generators;
    for (const Transversal& t : out.transversals)
        for (const Permutation& p : t.permutations) generators.push_back(&p);
    out.order = CanonicalSearch(graph, budget, automorphisms.base).run(generators);
    return out;
}

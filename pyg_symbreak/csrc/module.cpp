// The Python module pyg_symbreak._native. Arrays come in by the buffer protocol (C-contiguous, float64 or int64)
// and go out as bytearrays of the same types: one copy each, so that neither numpy's nor torch's headers are needed.
// What the functions compute, how and at what cost stands in the headers; _native.pyi has their signatures.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <new>
#include <string>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "canonical.h"
#include "crystal.h"
#include "graph.h"
#include "molecule.h"
#include "orientation.h"
#include "tensor_product.h"

namespace {

struct PythonError {};  // an exception is set

struct Object {  // owned reference
    PyObject* ptr;
    explicit Object(PyObject* ptr) : ptr(ptr) {
        if (!ptr) throw PythonError{};
    }
    Object(Object&& other) noexcept : ptr(other.release()) {}
    Object(const Object&) = delete;
    ~Object() { Py_XDECREF(ptr); }
    PyObject* release() { return std::exchange(ptr, nullptr); }
};

// A buffer as an array of numbers.
template <class T>
struct Array {
    Py_buffer view;
    explicit Array(PyObject* object) {
        if (PyObject_GetBuffer(object, &view, PyBUF_C_CONTIGUOUS)) throw PythonError{};
        if (view.len % sizeof(T)) {
            PyBuffer_Release(&view);
            throw std::invalid_argument("the length of a buffer is not a whole number of items");
        }
    }
    Array(const Array&) = delete;
    ~Array() { PyBuffer_Release(&view); }
    const T* data() const { return static_cast<const T*>(view.buf); }
    size_t size() const { return size_t(view.len) / sizeof(T); }
    void require(size_t expected) const {
        if (size() != expected) throw std::invalid_argument("a buffer has the wrong length");
    }
};

template <class T>
Object bytes(const T* data, size_t count) {
    return Object(PyByteArray_FromStringAndSize(reinterpret_cast<const char*>(data), Py_ssize_t(count * sizeof(T))));
}

template <class T>
Object bytes(const std::vector<T>& data) {
    return bytes(data.data(), data.size());
}

Object permutations(const Operations& found) {
    const size_t count = found.count() * found.size;
    Object out(PyByteArray_FromStringAndSize(nullptr, Py_ssize_t(count * sizeof(int64_t))));
    auto* to = reinterpret_cast<int64_t*>(PyByteArray_AS_STRING(out.ptr));
    for (size_t g = 0; g < found.count(); g++) to = std::copy(found.map(g), found.map(g) + found.size, to);
    return out;
}

// Rotations, translations, permutations, residuals, and the frame of the axis (None unless linear).
PyObject* pack(const Molecule& molecule, const Operations& found, bool linear) {
    std::vector<Vec> translations;
    for (const Mat& rotation : found.rotations) translations.push_back(molecule.center - rotation * molecule.center);
    const Vec z = molecule.axis, x = across(z);
    const Mat columns = Mat::columns(x, cross(z, x), z);
    const Object frame = linear ? bytes(&columns, 1) : Object(Py_BuildValue(""));
    const Object tolerance(PyFloat_FromDouble(found.tolerance));
    return PyTuple_Pack(6, bytes(found.rotations).ptr, bytes(translations).ptr, permutations(found).ptr,
                        bytes(found.residuals).ptr, frame.ptr, tolerance.ptr);
}

// What a Python function of rotations and permutations says that operations miss by, at least.
Raise raised_by(PyObject* function) {
    if (function == Py_None) return nullptr;
    return [function](Operations& found) {
        const Object result(PyObject_CallFunctionObjArgs(function, bytes(found.rotations).ptr,
                                                         permutations(found).ptr, nullptr));
        const Array<double> misses(result.ptr);
        misses.require(found.count());
        for (size_t g = 0; g < found.count(); g++)
            found.residuals[g] = std::max(found.residuals[g], misses.data()[g]);
    };
}

struct MoleculeArguments {
    Molecule molecule;
    double tolerance;
    Raise raise;

    static MoleculeArguments parse(PyObject* args) {
        PyObject *positions, *kinds, *raise;
        double tolerance;
        if (!PyArg_ParseTuple(args, "OOdO", &positions, &kinds, &tolerance, &raise)) throw PythonError{};
        const Array<double> x(positions);
        const Array<int64_t> k(kinds);
        x.require(3 * k.size());
        if (k.size() == 0) throw std::invalid_argument("a molecule has atoms");
        return {Molecule(x.data(), k.data(), k.size()), tolerance, raised_by(raise)};
    }
};

PyObject* molecule(PyObject* args) {
    const auto [molecule, symprec, raise] = MoleculeArguments::parse(args);
    const bool linear = 2 * molecule.off_axis <= symprec;
    return pack(molecule, linear ? molecule.linear(symprec) : molecule.group(symprec, raise), linear);
}

PyObject* molecule_levels(PyObject* args) {
    const auto [molecule, limit, raise] = MoleculeArguments::parse(args);
    Object out(PyList_New(0));
    auto append = [&, &m = molecule](const Operations& found, bool linear) {
        if (PyList_Append(out.ptr, Object(pack(m, found, linear)).ptr)) throw PythonError{};
    };
    if (2 * molecule.off_axis > 1e-3 * limit)
        for (const Operations& level : molecule.levels(limit, raise)) append(level, false);
    if (const double off = 2 * molecule.off_axis; off <= limit) {
        const Operations least = molecule.linear(off), most = molecule.linear(limit);
        if (least.count() < most.count()) append(least, true);
        append(most, true);
    }
    return out.release();
}

PyObject* measure(PyObject* args) {
    PyObject* positions;
    if (!PyArg_ParseTuple(args, "O", &positions)) throw PythonError{};
    const Array<double> x(positions);
    const Extent found = extent(x.data(), x.size() / 3);
    return Py_BuildValue("dd", found.shortest, found.reach);
}

// Number of the orbit of each node: the least of its images tells it. One pass over the elements [order, N].
PyObject* orbits(PyObject* args) {
    PyObject* permutations;
    Py_ssize_t nodes;
    if (!PyArg_ParseTuple(args, "On", &permutations, &nodes)) throw PythonError{};
    const Array<int64_t> images(permutations);
    if (nodes < 1 || images.size() % size_t(nodes)) throw std::invalid_argument("permutations must be [order, N]");
    std::vector<int64_t> first(images.data(), images.data() + nodes);
    for (size_t k = size_t(nodes); k < images.size(); k++)
        first[k % size_t(nodes)] = std::min(first[k % size_t(nodes)], images.data()[k]);
    int64_t count = 0;
    for (int64_t k = 0; k < nodes; k++) first[k] = first[k] == k ? count++ : first[first[k]];
    return bytes(first).release();
}

std::vector<Mat> matrices(PyObject* object) {
    const Array<Mat> elements(object);
    return {elements.data(), elements.data() + elements.size()};
}

PyObject* name(PyObject* args) {
    PyObject* elements;
    double tolerance;
    if (!PyArg_ParseTuple(args, "Od", &elements, &tolerance)) throw PythonError{};
    return PyUnicode_FromString(point_group_name(matrices(elements), tolerance).c_str());
}

PyObject* placement(PyObject* args) {
    const char* name;
    PyObject *given, *standard, *turns;
    Py_ssize_t steps;
    double tolerance;
    if (!PyArg_ParseTuple(args, "sOOOnd", &name, &given, &standard, &turns, &steps, &tolerance)) throw PythonError{};
    Placement found;
    if (!place(name, matrices(given), matrices(standard), matrices(turns), steps, tolerance, found)) Py_RETURN_NONE;
    return PyTuple_Pack(2, bytes(&found.frame, 1).ptr, bytes(found.index).ptr);
}

template <class T>
std::vector<T> vector_of(PyObject* object) {
    const Array<T> items(object);
    return {items.data(), items.data() + items.size()};
}

Mat cell_of(PyObject* object) {
    const Array<Mat> cell(object);
    cell.require(1);
    return *cell.data();
}

void require_atoms(const Array<int64_t>& images, size_t size) {
    if (!std::all_of(images.data(), images.data() + images.size(), [&](int64_t i) { return 0 <= i && size_t(i) < size; }))
        throw std::invalid_argument("permutations must be [order, N] with atoms from 0 to N - 1");
}

PyObject* shortest(PyObject* args) {
    PyObject *positions, *cell;
    int mask;
    double cutoff;
    if (!PyArg_ParseTuple(args, "OOid", &positions, &cell, &mask, &cutoff)) throw PythonError{};
    const Array<Vec> x(positions);
    return PyFloat_FromDouble(shortest_image(x.data(), x.size(), cell_of(cell), mask, cutoff));
}

PyObject* bases(PyObject* args) {
    PyObject* reduced;
    int count;
    double same;
    if (!PyArg_ParseTuple(args, "Oid", &reduced, &count, &same)) throw PythonError{};
    if (count != 2 && count != 3) throw std::invalid_argument("a basis has two or three vectors");
    return bytes(shortest_bases(cell_of(reduced), count, same)).release();
}

PyObject* match(PyObject* args) {
    PyObject *fractional, *kinds, *cell, *rotations, *shifts;
    if (!PyArg_ParseTuple(args, "OOOOO", &fractional, &kinds, &cell, &rotations, &shifts)) throw PythonError{};
    const CrystalAtoms atoms = {vector_of<Vec>(fractional), cell_of(cell), 3};
    const Array<int64_t> k(kinds);
    const Array<Vec> w(shifts);
    const std::vector<Mat> turns = matrices(rotations);
    k.require(atoms.fractional.size()), w.require(turns.size());
    const std::vector<int64_t> found = atoms.match(k.data(), turns, w.data());
    if (found.empty()) Py_RETURN_NONE;
    return bytes(found).release();
}

// Cell, rotations, shifts, deviations, strains, stretch and largest miss.
PyObject* fit(PyObject* args) {
    PyObject *fractional, *cell, *rotations, *shifts, *permutations, *steps, *moves, *counts;
    int periodic;
    if (!PyArg_ParseTuple(args, "OOiOOOOOO", &fractional, &cell, &periodic, &rotations, &shifts, &permutations, &steps,
                          &moves, &counts))
        throw PythonError{};
    const CrystalAtoms atoms = {vector_of<Vec>(fractional), cell_of(cell), periodic};
    const size_t size = atoms.fractional.size();
    const Array<Vec> w(shifts), v(moves);
    const Array<int64_t> images(permutations), translates(steps);
    const CrystalAtoms::Group group = {matrices(rotations), w.data(), images.data(), vector_of<int64_t>(counts),
                                       v.data(), translates.data()};
    w.require(group.rotations.size()), images.require(group.rotations.size() * size);
    v.require(group.counts.size()), translates.require(group.counts.size() * size);
    require_atoms(images, size), require_atoms(translates, size);
    const CrystalAtoms::Fit found = atoms.fit(group);
    return Py_BuildValue("NNNNNdd", bytes(&found.cell, 1).release(), bytes(found.rotations).release(),
                         bytes(found.shifts).release(), bytes(found.deviations).release(),
                         bytes(found.strains).release(), found.stretch, found.largest);
}

// Rotation, positions, ranks and the number of ties.
PyObject* canonical(PyObject* args) {
    PyObject *positions, *kinds, *rotations, *permutations, *constants;
    if (!PyArg_ParseTuple(args, "OOOOO", &positions, &kinds, &rotations, &permutations, &constants)) throw PythonError{};
    const Array<Vec> x(positions);
    const Array<int64_t> k(kinds), images(permutations);
    const Array<Generic> generic(constants);
    const std::vector<Mat> operations = matrices(rotations);
    const size_t n = x.size();
    k.require(n), generic.require(1), images.require(operations.size() * n);
    if (n == 0) throw std::invalid_argument("a molecule has atoms");
    require_atoms(images, n);
    const CanonicalFrame found = canonical_frame({x.data(), x.data() + n}, k.data(), operations, images.data(), *generic.data());
    const Object ties(PyLong_FromLongLong(found.ties));
    return PyTuple_Pack(4, bytes(&found.rotation, 1).ptr, bytes(found.positions).ptr, bytes(found.ranks).ptr, ties.ptr);
}

PyObject* orthogonal(PyObject* args) {
    PyObject* matrix;
    if (!PyArg_ParseTuple(args, "O", &matrix)) throw PythonError{};
    const Array<double> m(matrix);
    m.require(9);
    const Mat& given = *reinterpret_cast<const Mat*>(m.data());
    const int sign = determinant(given) < 0 ? -1 : 1;
    const Mat found = nearest_orthogonal(given, sign);
    return Py_BuildValue("Nid", bytes(&found, 1).release(), sign, largest_difference(given, found));
}

std::tuple<Graph, bool, size_t> parse_graph(PyObject* args) {
    PyObject *node_colors, *edge_index, *edge_labels;
    int canonical;
    Py_ssize_t steps;
    if (!PyArg_ParseTuple(args, "OOOpn", &node_colors, &edge_index, &edge_labels, &canonical, &steps)) throw PythonError{};
    const Array<int64_t> colors(node_colors), edges(edge_index), labels(edge_labels);
    edges.require(2 * labels.size());
    const auto [least, most] = std::minmax_element(edges.data(), edges.data() + edges.size());
    if (edges.size() && (*least < 0 || size_t(*most) >= colors.size()))
        throw std::invalid_argument("data.edge_index holds " + std::to_string(*least) + " to " + std::to_string(*most) +
                                    "; the graph has nodes from 0 to " + std::to_string(int64_t(colors.size()) - 1));
    return {Graph(colors.data(), colors.size(), edges.data(), labels.data(), labels.size()), canonical != 0, size_t(steps)};
}

struct Released {  // lets other Python threads run
    PyThreadState* state = PyEval_SaveThread();
    ~Released() { PyEval_RestoreThread(state); }
};

// Program, radices and base of the group, number of its generators, orbits, and labels.
PyObject* graph_automorphisms(PyObject* args) {
    const auto [graph, canonical, steps] = parse_graph(args);
    const Automorphisms found = [&graph = graph, canonical = canonical, steps = steps] {
        const Released released;
        return automorphisms(graph, canonical, steps);
    }();
    const Object count(PyLong_FromLongLong(found.group.generators));
    return PyTuple_Pack(6, bytes(found.group.program).ptr, bytes(found.group.radices).ptr, bytes(found.group.base).ptr,
                        count.ptr, bytes(found.orbits).ptr, bytes(found.labels).ptr);
}

PyObject* group_elements(PyObject* args) {
    PyObject *program, *digits;
    Py_ssize_t nodes, count;
    if (!PyArg_ParseTuple(args, "OnOn", &program, &nodes, &digits, &count)) throw PythonError{};
    const Array<int64_t> p(program), d(digits);
    return bytes(elements(p.data(), p.size(), size_t(nodes), d.data(), size_t(count))).release();
}

PyObject* group_generators(PyObject* args) {
    PyObject* program;
    Py_ssize_t nodes;
    if (!PyArg_ParseTuple(args, "On", &program, &nodes)) throw PythonError{};
    const Array<int64_t> p(program);
    return bytes(generators(p.data(), p.size(), size_t(nodes))).release();
}

// Numbers of an array that may be None, which is null.
template <class T>
struct Numbers {
    Py_buffer view{};
    Numbers(PyObject* object, size_t expected, bool writable) {
        if (object == Py_None) return;
        if (PyObject_GetBuffer(object, &view, writable ? PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_C_CONTIGUOUS)) throw PythonError{};
        if (size_t(view.len) != expected * sizeof(T)) {
            PyBuffer_Release(&view);
            throw std::invalid_argument("a buffer has the wrong length");
        }
    }
    Numbers(const Numbers&) = delete;
    ~Numbers() { PyBuffer_Release(&view); }
    operator T*() const { return static_cast<T*>(view.buf); }
};

template <class T>
void run_tensor_product(PyObject* coupling, PyObject* const* f, TensorProduct<T>& t, size_t threads) {
    const size_t sizes[] = {t.nodes * t.dim_in, t.edges * t.harmonics, t.edges * t.radial, t.weights * t.radial, t.nodes * t.dim_out};
    const Numbers<T> c(coupling, t.harmonics * t.couplings, false), x(f[0], sizes[0], false), y(f[1], sizes[1], false), h(f[2], sizes[2], false), w(f[3], sizes[3], false),
        g(f[4], sizes[4], false), dx(f[5], sizes[0], true), dy(f[6], sizes[1], true), dh(f[7], sizes[2], true),
        dw(f[8], sizes[3], true), out(f[9], sizes[4], true);
    t.coupling = c, t.x = x, t.y = y, t.h = h, t.w = w, t.g = g, t.dx = dx, t.dy = dy, t.dh = dh, t.dw = dw, t.out = out;
    const Released released;
    t.run(threads);
}

template <class T>
PyObject* tensor_product(PyObject* args) {
    TensorProduct<T> t{};
    PyObject *source, *target, *paths, *coupled, *coupling, *factors[10];
    Py_ssize_t threads, sizes[6];
    if (!PyArg_ParseTuple(args, "(OOOOO)(nnnnnn)(OOOOO)(OOOOO)n", &source, &target, &paths, &coupled, &coupling, &sizes[0],
                          &sizes[1], &sizes[2], &sizes[3], &sizes[4], &sizes[5], &factors[0], &factors[1], &factors[2],
                          &factors[3], &factors[4], &factors[5], &factors[6], &factors[7], &factors[8], &factors[9], &threads))
        throw PythonError{};
    const Array<int64_t> from(source), to(target);
    const Array<Path> path(paths);
    const Array<Coupled> entries(coupled);
    t.nodes = size_t(sizes[0]), t.edges = from.size(), t.dim_in = size_t(sizes[1]), t.dim_out = size_t(sizes[2]);
    t.harmonics = size_t(sizes[3]), t.radial = size_t(sizes[4]), t.couplings = size_t(sizes[5]);
    to.require(t.edges);
    auto is_node = [&](int64_t i) { return 0 <= i && size_t(i) < t.nodes; };
    if (!std::all_of(from.data(), from.data() + t.edges, is_node) || !std::all_of(to.data(), to.data() + t.edges, is_node))
        throw std::invalid_argument("edge_index must be [2, E] with nodes from 0 to " + std::to_string(sizes[0] - 1));
    t.source = from.data(), t.target = to.data(), t.paths.assign(path.data(), path.data() + path.size());
    for (const Path& p : t.paths) t.weights += size_t(p.channels);
    t.coupled.assign(entries.data(), entries.data() + entries.size());
    run_tensor_product(coupling, factors, t, std::max<size_t>(1, size_t(threads)));
    Py_RETURN_NONE;
}

// Turns C++ exceptions into Python's.
template <PyObject* (*function)(PyObject*)>
PyObject* guarded(PyObject*, PyObject* args) {
    try {
        return function(args);
    } catch (const PythonError&) {
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
    }
    return nullptr;
}

PyMethodDef methods[] = {
    {"automorphisms", guarded<graph_automorphisms>, METH_VARARGS, nullptr},
    {"canonical_frame", guarded<canonical>, METH_VARARGS, nullptr},
    {"crystal_fit", guarded<fit>, METH_VARARGS, nullptr},
    {"crystal_match", guarded<match>, METH_VARARGS, nullptr},
    {"group_elements", guarded<group_elements>, METH_VARARGS, nullptr},
    {"group_generators", guarded<group_generators>, METH_VARARGS, nullptr},
    {"measure", guarded<measure>, METH_VARARGS, nullptr},
    {"molecule", guarded<molecule>, METH_VARARGS, nullptr},
    {"molecule_levels", guarded<molecule_levels>, METH_VARARGS, nullptr},
    {"orbits", guarded<orbits>, METH_VARARGS, nullptr},
    {"orthogonal", guarded<orthogonal>, METH_VARARGS, nullptr},
    {"place", guarded<placement>, METH_VARARGS, nullptr},
    {"point_group_name", guarded<name>, METH_VARARGS, nullptr},
    {"shortest_bases", guarded<bases>, METH_VARARGS, nullptr},
    {"shortest_image", guarded<shortest>, METH_VARARGS, nullptr},
    {"tensor_product_float32", guarded<tensor_product<float>>, METH_VARARGS, nullptr},
    {"tensor_product_float64", guarded<tensor_product<double>>, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "pyg_symbreak._native", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__native() { return PyModule_Create(&definition); }

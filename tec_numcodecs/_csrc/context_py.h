/* The context models for Python: functions for module.c's table. */
#ifndef TEC_CONTEXT_PY_H
#define TEC_CONTEXT_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_context_places(PyObject *module, PyObject *args);
PyObject *tec_py_context_plane(PyObject *module, PyObject *args);
PyObject *tec_py_context_own(PyObject *module, PyObject *args);
PyObject *tec_py_context_network(PyObject *module, PyObject *args);
PyObject *tec_py_context_shapes(PyObject *module, PyObject *args);
PyObject *tec_py_context_choose(PyObject *module, PyObject *args);
PyObject *tec_py_context_rescale(PyObject *module, PyObject *args);
PyObject *tec_py_pass_rows(PyObject *module, PyObject *args);
PyObject *tec_py_pass_refine(PyObject *module, PyObject *args);
PyObject *tec_py_pass_rescale(PyObject *module, PyObject *args);
PyObject *tec_py_price_symbols(PyObject *module, PyObject *args);
PyObject *tec_py_price_decide(PyObject *module, PyObject *args);

#define TEC_CONTEXT_METHODS                                                                       \
    {"context_places", tec_py_context_places, METH_VARARGS,                                       \
     "context_places(flags, n, h, w, flat, own, parent, block) -> ends"},                         \
    {"context_plane", tec_py_context_plane, METH_VARARGS,                                         \
     "context_plane(out, count, stride, places, tables, here, width, above, above_width, old, "   \
     "pass, flags, flag_width, scale, shift): fills out"},                                        \
    {"context_own", tec_py_context_own, METH_VARARGS,                                             \
     "context_own(out, stride, own, integers, q, magnitude, width): fills the end of out"},      \
    {"context_network", tec_py_context_network, METH_VARARGS,                                     \
     "context_network(out, features, count, widths, first, second, last): fills out"},           \
    {"context_shapes", tec_py_context_shapes, METH_VARARGS,                                       \
     "context_shapes(mean, scale, shape, out, features, stride, own, old): fills the first three"}, \
    {"context_choose", tec_py_context_choose, METH_VARARGS,                                       \
     "context_choose(mean, scale, shape, packed, least, row, base, raw): fills the last three"}, \
    {"context_rescale", tec_py_context_rescale, METH_VARARGS,                                     \
     "context_rescale(out, q, row, base, raw, offsets, half, step): fills out, returns the peak"}, \
    {"pass_rows", tec_py_pass_rows, METH_VARARGS,                                                 \
     "pass_rows(row, before, mean, scale, shape, packed, least, zeros, digits): fills row"},      \
    {"pass_refine", tec_py_pass_refine, METH_VARARGS,                                             \
     "pass_refine(q, before, symbol): fills q, returns whether all symbols are digits"},          \
    {"pass_rescale", tec_py_pass_rescale, METH_VARARGS,                                           \
     "pass_rescale(out, q, row, of_zeros, of_digits, zeros, digits, step): fills out, returns "   \
     "the peak"},                                                                                 \
    {"price_symbols", tec_py_price_symbols, METH_VARARGS,                                         \
     "price_symbols(out, symbol, row, (starts, minimum, bits)): fills out"},                      \
    {"price_decide", tec_py_price_decide, METH_VARARGS,                                           \
     "price_decide(q, value, unit, lagrangian, row, base, raw, offsets, prices): fills q"}

#endif

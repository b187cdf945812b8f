/* Rows of exact networks for Python: functions for module.c's table. */
#ifndef TEC_EXACT_PY_H
#define TEC_EXACT_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_exact_quantise(PyObject *module, PyObject *args);
PyObject *tec_py_exact_split_words(PyObject *module, PyObject *args);
PyObject *tec_py_exact_multiply(PyObject *module, PyObject *args);
PyObject *tec_py_exact_split(PyObject *module, PyObject *args);
PyObject *tec_py_exact_join(PyObject *module, PyObject *args);
PyObject *tec_py_exact_gelu(PyObject *module, PyObject *args);
PyObject *tec_py_exact_norm(PyObject *module, PyObject *args);
PyObject *tec_py_exact_attend(PyObject *module, PyObject *args);

#define TEC_EXACT_METHODS                                                                         \
    {"exact_quantise", tec_py_exact_quantise, METH_VARARGS,                                       \
     "exact_quantise(x, out, scale, rows, n, limit): fills out and scale"},                       \
    {"exact_split_words", tec_py_exact_split_words, METH_VARARGS,                                 \
     "exact_split_words(image, words, scale, height, width, pitch, step, segments, length, "      \
     "padded): fills words and scale"},                                                           \
    {"exact_multiply", tec_py_exact_multiply, METH_VARARGS,                                       \
     "exact_multiply(words, scale, panels, column, bias, out, rows, n, padded, first, last): "    \
     "fills the columns of these panels"},                                                        \
    {"exact_split", tec_py_exact_split, METH_VARARGS,                                             \
     "exact_split(image, total, high, low, scale, check, height, width, pitch, step, segments, "  \
     "length): fills the four"},                                                                  \
    {"exact_join", tec_py_exact_join, METH_VARARGS,                                               \
     "exact_join(high, low, scale, check, column, bias, out, rows, n) -> were the sums right?"},  \
    {"exact_gelu", tec_py_exact_gelu, METH_VARARGS,                                               \
     "exact_gelu(x, value, slope, count): changes x"},                                            \
    {"exact_norm", tec_py_exact_norm, METH_VARARGS,                                               \
     "exact_norm(x, weight, bias, out, rows, n, epsilon): fills out"},                            \
    {"exact_attend", tec_py_exact_attend, METH_VARARGS,                                           \
     "exact_attend(scores, query, key, value, hidden, power, slope, groups, rows, n, factor): "   \
     "changes scores and query"}

#endif

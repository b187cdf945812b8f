/* The spectral transform for tests in Python: functions for module.c's table. */
#ifndef TEC_SPECTRUM_PY_H
#define TEC_SPECTRUM_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_spectrum_eigen(PyObject *module, PyObject *args);
PyObject *tec_py_spectrum_turn(PyObject *module, PyObject *args);
PyObject *tec_py_spectrum_make(PyObject *module, PyObject *args);
PyObject *tec_py_spectrum_forward(PyObject *module, PyObject *args);
PyObject *tec_py_spectrum_inverse(PyObject *module, PyObject *args);
PyObject *tec_py_spectrum_choose(PyObject *module, PyObject *args);
PyObject *tec_py_rotations_write(PyObject *module, PyObject *args);
PyObject *tec_py_rotations_read(PyObject *module, PyObject *args);

#define TEC_SPECTRUM_METHODS                                                                      \
    {"spectrum_eigen", tec_py_spectrum_eigen, METH_VARARGS,                                       \
     "spectrum_eigen(covariance, rows, n): fills rows"},                                          \
    {"spectrum_turn", tec_py_spectrum_turn, METH_VARARGS,                                         \
     "spectrum_turn(rows, n, list): changes rows; list has q, p, j, sign as int32"},              \
    {"spectrum_make", tec_py_spectrum_make, METH_VARARGS,                                         \
     "spectrum_make(rows, wavelengths) -> tec_spectrum, as the core's bytes"},                    \
    {"spectrum_forward", tec_py_spectrum_forward, METH_VARARGS,                                   \
     "spectrum_forward(spectrum, bands, components, aligned): fills components"},                 \
    {"spectrum_inverse", tec_py_spectrum_inverse, METH_VARARGS,                                   \
     "spectrum_inverse(spectrum, components, bands, aligned): fills bands"},                      \
    {"spectrum_choose", tec_py_spectrum_choose, METH_VARARGS,                                     \
     "spectrum_choose(book, x, n, each, noise, rotate, bases) -> entry, list as int32 bytes"},    \
    {"rotations_write", tec_py_rotations_write, METH_VARARGS,                                     \
     "rotations_write(n, list) -> status, bytes"},                                                \
    {"rotations_read", tec_py_rotations_read, METH_VARARGS,                                       \
     "rotations_read(data, n) -> status, list as int32 bytes"}

#endif

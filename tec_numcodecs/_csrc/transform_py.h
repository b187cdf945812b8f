/* The transforms for Python: functions for module.c's table. */
#ifndef TEC_TRANSFORM_PY_H
#define TEC_TRANSFORM_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_dwt97_forward(PyObject *module, PyObject *args);
PyObject *tec_py_dwt97_inverse(PyObject *module, PyObject *args);
PyObject *tec_py_klt_forward(PyObject *module, PyObject *args);
PyObject *tec_py_klt_inverse(PyObject *module, PyObject *args);

#define TEC_TRANSFORM_METHODS                                                                     \
    {"dwt97_forward", tec_py_dwt97_forward, METH_VARARGS,                                         \
     "dwt97_forward(planes, low, detail, n, h, w): fills low and detail"},                        \
    {"dwt97_inverse", tec_py_dwt97_inverse, METH_VARARGS,                                         \
     "dwt97_inverse(low, detail, planes, n, h, w): fills planes"},                                \
    {"klt_forward", tec_py_klt_forward, METH_VARARGS,                                             \
     "klt_forward(rows, lifts, n, pixels): changes rows"},                                        \
    {"klt_inverse", tec_py_klt_inverse, METH_VARARGS,                                             \
     "klt_inverse(rows, lifts, n, pixels): changes rows"}

#endif

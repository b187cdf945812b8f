/* The core for Python: functions for module.c's table. */
#ifndef TEC_CORE_PY_H
#define TEC_CORE_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_core_model(PyObject *module, PyObject *args);
PyObject *tec_py_core_coder(PyObject *module, PyObject *args);
PyObject *tec_py_core_decode(PyObject *module, PyObject *args);
PyObject *tec_py_core_encode(PyObject *module, PyObject *args);
PyObject *tec_py_core_replication(PyObject *module, PyObject *args);

#define TEC_CORE_METHODS                                                                          \
    {"core_model", tec_py_core_model, METH_VARARGS,                                               \
     "core_model(kind, [(name, array, type, last), ...]) -> model"},                              \
    {"core_coder", tec_py_core_coder, METH_VARARGS,                                               \
     "core_coder(model, codebook, sensor_bands, index, mean, wavelength) -> coder"},              \
    {"core_decode", tec_py_core_decode, METH_VARARGS,                                             \
     "core_decode(coder, (t, h, w), rate, tokens, data, symbols, wanted, level, stop, out) -> "   \
     "dates with data, or an error (status, what, allowed, found, date, level)"},                 \
    {"core_encode", tec_py_core_encode, METH_VARARGS,                                             \
     "core_encode(coder, (t, h, w), rate, tokens, samples, has_data, replication, flags, "        \
     "decoded) -> (data, symbols), or an error"},                                                 \
    {"core_replication", tec_py_core_replication, METH_VARARGS,                                   \
     "core_replication(samples, invalid, (c, h, w)) -> bytes (bands + 8)"}

#endif

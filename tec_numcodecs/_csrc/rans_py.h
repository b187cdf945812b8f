/* The rANS core for Python: functions for module.c's table. */
#ifndef TEC_RANS_PY_H
#define TEC_RANS_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *tec_py_rans_tables(PyObject *module, PyObject *args);
PyObject *tec_py_rans_encoder(PyObject *module, PyObject *args);
PyObject *tec_py_rans_push(PyObject *module, PyObject *args);
PyObject *tec_py_rans_finish(PyObject *module, PyObject *args);
PyObject *tec_py_rans_decoder(PyObject *module, PyObject *args);
PyObject *tec_py_rans_pull(PyObject *module, PyObject *args);
PyObject *tec_py_rans_position(PyObject *module, PyObject *args);
PyObject *tec_py_rans_close(PyObject *module, PyObject *args);

#define TEC_RANS_METHODS                                                                          \
    {"rans_tables", tec_py_rans_tables, METH_VARARGS,                                             \
     "rans_tables(cdf, starts, minimum) -> tables, or None if they are invalid"},                 \
    {"rans_encoder", tec_py_rans_encoder, METH_NOARGS, "rans_encoder() -> encoder"},              \
    {"rans_push", tec_py_rans_push, METH_VARARGS,                                                 \
     "rans_push(encoder, tables, symbols, rows) -> (status, index)"},                             \
    {"rans_finish", tec_py_rans_finish, METH_VARARGS, "rans_finish(encoder) -> bytes"},           \
    {"rans_decoder", tec_py_rans_decoder, METH_VARARGS,                                           \
     "rans_decoder(data) -> decoder, or None if data begins like no stream"},                     \
    {"rans_pull", tec_py_rans_pull, METH_VARARGS,                                                 \
     "rans_pull(decoder, tables, rows, out) -> (status, index)"},                                 \
    {"rans_position", tec_py_rans_position, METH_VARARGS,                                         \
     "rans_position(decoder) -> bytes read"},                                                     \
    {"rans_close", tec_py_rans_close, METH_VARARGS,                                               \
     "rans_close(decoder) -> is everything read, with the state at its initial value?"}

#endif

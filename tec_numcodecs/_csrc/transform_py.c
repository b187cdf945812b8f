#include "transform_py.h"

#include "transform.h"

static int holds(const Py_buffer *buffer, size_t numbers)
{
    return (size_t)buffer->len == numbers * sizeof(int32_t);
}

static void release(Py_buffer *buffers, int count)
{
    for (int i = 0; i < count; i++) PyBuffer_Release(&buffers[i]);
}

static PyObject *outcome(int fits, int status)
{
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffer sizes do not match the geometry");
        return NULL;
    }
    if (status) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyObject *tec_py_dwt97_forward(PyObject *module, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t n, h, w;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*w*w*nnn", &b[0], &b[1], &b[2], &n, &h, &w)) return NULL;
    const size_t half = (size_t)n * (size_t)((h + 1) / 2) * (size_t)((w + 1) / 2);
    const int fits = holds(&b[0], (size_t)n * (size_t)h * (size_t)w) && holds(&b[1], half) &&
                     holds(&b[2], 3 * half);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_dwt97_forward(b[0].buf, b[1].buf, b[2].buf, (size_t)n, (size_t)h, (size_t)w);
        Py_END_ALLOW_THREADS
    }
    release(b, 3);
    return outcome(fits, 0);
}

PyObject *tec_py_dwt97_inverse(PyObject *module, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t n, h, w;
    int status = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*nnn", &b[0], &b[1], &b[2], &n, &h, &w)) return NULL;
    const size_t half = (size_t)n * (size_t)((h + 1) / 2) * (size_t)((w + 1) / 2);
    const int fits = holds(&b[0], half) && holds(&b[1], 3 * half) &&
                     holds(&b[2], (size_t)n * (size_t)h * (size_t)w);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        status = tec_dwt97_inverse(b[0].buf, b[1].buf, b[2].buf, (size_t)n, (size_t)h, (size_t)w);
        Py_END_ALLOW_THREADS
    }
    release(b, 3);
    return outcome(fits, status);
}

static PyObject *klt(PyObject *args, int (*run)(int32_t *, const int32_t *, size_t, size_t))
{
    Py_buffer b[2];
    Py_ssize_t n, pixels;
    int status = 0;
    if (!PyArg_ParseTuple(args, "w*y*nn", &b[0], &b[1], &n, &pixels)) return NULL;
    const int fits = n > 0 && holds(&b[0], (size_t)n * (size_t)pixels) &&
                     holds(&b[1], 3 * (size_t)n * (size_t)n);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        status = run(b[0].buf, b[1].buf, (size_t)n, (size_t)pixels);
        Py_END_ALLOW_THREADS
    }
    release(b, 2);
    return outcome(fits, status);
}

PyObject *tec_py_klt_forward(PyObject *module, PyObject *args)
{
    (void)module;
    return klt(args, tec_klt_forward);
}

PyObject *tec_py_klt_inverse(PyObject *module, PyObject *args)
{
    (void)module;
    return klt(args, tec_klt_inverse);
}

#include "exact_py.h"

#include "exact.h"

enum { TABLE_GELU = 8 * 512 + 1, TABLE_POWER = 31 * 256 + 1 };

static int holds(const Py_buffer *buffer, size_t numbers, size_t size)
{
    return (size_t)buffer->len == numbers * size;
}

static int doubles(const Py_buffer *buffer, size_t numbers)
{
    return holds(buffer, numbers, sizeof(double));
}

/* Releases the buffers; None, or an error if their sizes did not fit. */
static PyObject *outcome(Py_buffer *buffers, int count, int fits)
{
    for (int i = 0; i < count; i++) PyBuffer_Release(&buffers[i]);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffer sizes do not match");
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *tec_py_exact_quantise(PyObject *module, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t rows, n;
    int limit;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*w*w*nni", &b[0], &b[1], &b[2], &rows, &n, &limit)) return NULL;
    const size_t r = (size_t)rows, size = r * (size_t)n;
    const int fits = limit > 0 && doubles(&b[0], size) && doubles(&b[1], size) && doubles(&b[2], r);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_quantise(b[0].buf, b[1].buf, b[2].buf, r, (size_t)n, limit);
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 3, fits);
}

/* Do the patches fit the shape, and end within an image of `bytes`? */
static int within(tec_patches p, Py_ssize_t bytes)
{
    const size_t most = (size_t)1 << 31; /* so that no product below overflows */
    if (!p.height || !p.width || !p.segments || !p.length) return 0;
    if (p.height > most || p.width > most || p.segments > most || p.length > most ||
        p.pitch > most || p.step > most)
        return 0;
    const size_t end =
        (p.height + p.segments - 2) * p.pitch + (p.width - 1) * p.step + p.length;
    return (size_t)bytes / sizeof(double) >= end;
}

PyObject *tec_py_exact_split_words(PyObject *module, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t height, width, pitch, step, segments, length, padded;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*w*w*nnnnnnn", &b[0], &b[1], &b[2], &height, &width, &pitch,
                          &step, &segments, &length, &padded))
        return NULL;
    const tec_patches patches = {b[0].buf,      (size_t)height,   (size_t)width, (size_t)pitch,
                                 (size_t)step, (size_t)segments, (size_t)length};
    const int fits = within(patches, b[0].len) && padded % TEC_WORD_STEP == 0 &&
                     padded >= segments * length &&
                     holds(&b[1], (size_t)(height * width) * (size_t)padded, sizeof(int16_t)) &&
                     doubles(&b[2], (size_t)(height * width));
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_split_words(patches, b[1].buf, b[2].buf, (size_t)padded);
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 3, fits);
}

/* Does a buffer hold the panels of a right operand? */
static int panels_fit(const Py_buffer *panels, Py_ssize_t n, Py_ssize_t padded)
{
    if (n <= 0 || padded <= 0 || padded % TEC_WORD_STEP || padded > TEC_WORD_MOST) return 0;
    const size_t count = ((size_t)n + TEC_WORD_COLUMNS - 1) / TEC_WORD_COLUMNS;
    return holds(panels, count * TEC_WORD_COLUMNS * (size_t)padded, sizeof(int16_t));
}

PyObject *tec_py_exact_multiply(PyObject *module, PyObject *args)
{
    Py_buffer b[6];
    Py_ssize_t rows, n, padded, first, last;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*w*nnnnn", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                          &rows, &n, &padded, &first, &last))
        return NULL;
    const size_t r = (size_t)rows, c = (size_t)n, p = (size_t)padded;
    const int fits = rows > 0 && panels_fit(&b[2], n, padded) &&
                     holds(&b[0], r * p, sizeof(int16_t)) && doubles(&b[1], r) &&
                     doubles(&b[3], c) && doubles(&b[4], c) && doubles(&b[5], r * c) &&
                     first >= 0 && first <= last &&
                     (size_t)last <= (c + TEC_WORD_COLUMNS - 1) / TEC_WORD_COLUMNS;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_multiply((tec_words){b[0].buf, b[1].buf, r, p}, b[2].buf, b[3].buf, b[4].buf,
                           b[5].buf, c, (size_t)first, (size_t)last);
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 6, fits);
}

PyObject *tec_py_exact_split(PyObject *module, PyObject *args)
{
    Py_buffer b[6];
    Py_ssize_t height, width, pitch, step, segments, length;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*w*w*w*w*nnnnnn", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                          &height, &width, &pitch, &step, &segments, &length))
        return NULL;
    const size_t count = (size_t)height * (size_t)width, n = (size_t)segments * (size_t)length;
    const tec_patches patches = {b[0].buf,      (size_t)height,   (size_t)width, (size_t)pitch,
                                 (size_t)step, (size_t)segments, (size_t)length};
    const int fits = within(patches, b[0].len) && doubles(&b[1], n) &&
                     holds(&b[2], count * n, 1) && holds(&b[3], count * n, 1) &&
                     doubles(&b[4], count) && doubles(&b[5], count);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_split(patches, b[1].buf, b[2].buf, b[3].buf, b[4].buf, b[5].buf);
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 6, fits);
}

PyObject *tec_py_exact_join(PyObject *module, PyObject *args)
{
    Py_buffer b[7];
    Py_ssize_t rows, n;
    int status = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*w*nn", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                          &b[6], &rows, &n))
        return NULL;
    const size_t r = (size_t)rows, c = (size_t)n, size = r * c;
    const int fits = holds(&b[0], 2 * size, 4) && holds(&b[1], 2 * size, 4) && doubles(&b[2], r) &&
                     doubles(&b[3], r) && doubles(&b[4], c) && doubles(&b[5], c) &&
                     doubles(&b[6], size);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        status = tec_exact_join(b[0].buf, b[1].buf, b[2].buf, b[3].buf, b[4].buf, b[5].buf,
                                b[6].buf, r, c);
        Py_END_ALLOW_THREADS
    }
    PyObject *none = outcome(b, 7, fits);
    if (!none) return NULL;
    Py_DECREF(none);
    return PyBool_FromLong(status == 0);
}

PyObject *tec_py_exact_gelu(PyObject *module, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t count;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*y*y*n", &b[0], &b[1], &b[2], &count)) return NULL;
    const int fits = doubles(&b[0], (size_t)count) && b[1].len == b[2].len &&
                     b[1].len >= TABLE_GELU * (Py_ssize_t)sizeof(double);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_gelu(b[0].buf, (size_t)count, (tec_table){b[1].buf, b[2].buf});
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 3, fits);
}

PyObject *tec_py_exact_norm(PyObject *module, PyObject *args)
{
    Py_buffer b[4];
    Py_ssize_t rows, n;
    double epsilon;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*w*nnd", &b[0], &b[1], &b[2], &b[3], &rows, &n, &epsilon))
        return NULL;
    const size_t c = (size_t)n, size = (size_t)rows * c;
    const int fits =
        doubles(&b[0], size) && doubles(&b[1], c) && doubles(&b[2], c) && doubles(&b[3], size);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_norm(b[0].buf, b[1].buf, b[2].buf, b[3].buf, (size_t)rows, c, epsilon);
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 4, fits);
}

PyObject *tec_py_exact_attend(PyObject *module, PyObject *args)
{
    Py_buffer b[7]; /* hidden is empty where every key may be seen */
    Py_ssize_t groups, rows, n;
    double factor;
    (void)module;
    if (!PyArg_ParseTuple(args, "w*w*y*y*y*y*y*nnnd", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                          &b[6], &groups, &rows, &n, &factor))
        return NULL;
    const size_t g = (size_t)groups, r = (size_t)rows, c = (size_t)n;
    const int fits = doubles(&b[0], g * r * c) && doubles(&b[1], g * r) && doubles(&b[2], g * c) &&
                     doubles(&b[3], g * c) && (b[4].len == 0 || holds(&b[4], r * c, 1)) &&
                     b[5].len == b[6].len && b[5].len >= TABLE_POWER * (Py_ssize_t)sizeof(double);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        tec_exact_attend(b[0].buf, b[1].buf, b[2].buf, b[3].buf, b[4].len ? b[4].buf : NULL, g, r,
                         c, factor, (tec_table){b[5].buf, b[6].buf});
        Py_END_ALLOW_THREADS
    }
    return outcome(b, 7, fits);
}

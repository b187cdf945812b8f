#include "spectrum_py.h"

#include <string.h>

#include "../buffers.h"
#include "spectrum.h"

static size_t rows_of(buffers *all, Py_ssize_t n)
{
    all->fits &= n >= 1 && n <= TEC_BANDS;
    return all->fits ? (size_t)n : 0;
}

static PyObject *finished(buffers *all)
{
    if (!done(all, 1)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_spectrum_eigen(PyObject *module, PyObject *args)
{
    PyObject *matrix, *out;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOn", &matrix, &out, &size)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const size_t n = rows_of(&all, size);
    const double *a = given(&all, matrix, sizeof *a, 0, n * n);
    double *rows = given(&all, out, sizeof *rows, 1, n * n);
    if (ready(&all)) tec_spectrum_eigen(a, n, rows);
    return finished(&all);
}

/* A list of rotations, four numbers each, which must fit in their fields. */
static void get_list(buffers *all, PyObject *object, tec_rotations *list)
{
    size_t count;
    const int32_t *at = numbers(all, object, sizeof *at, 0, &count);
    list->count = 0;
    all->fits &= count % 4 == 0 && count <= 4 * TEC_ROTATIONS;
    if (!ready(all)) return;
    for (; list->count < count / 4; list->count++, at += 4) {
        all->fits &= at[0] >= 0 && at[0] < 256 && at[1] >= 0 && at[1] < 256 && at[2] >= 0 &&
                     at[2] < 256 && at[3] >= -128 && at[3] < 128;
        list->list[list->count] = (tec_rotation){(uint8_t)at[0], (uint8_t)at[1], (uint8_t)at[2],
                                                 (int8_t)at[3]};
    }
}

PyObject *tec_py_spectrum_turn(PyObject *module, PyObject *args)
{
    PyObject *matrix, *object;
    Py_ssize_t size;
    tec_rotations list;
    (void)module;
    if (!PyArg_ParseTuple(args, "OnO", &matrix, &size, &object)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const size_t n = rows_of(&all, size);
    double *rows = given(&all, matrix, sizeof *rows, 1, n * n);
    get_list(&all, object, &list);
    for (size_t i = 0; i < list.count; i++) all.fits &= list.list[i].q < n && list.list[i].p < n;
    if (ready(&all)) tec_spectrum_turn(rows, n, &list);
    return finished(&all);
}

PyObject *tec_py_spectrum_make(PyObject *module, PyObject *args)
{
    PyObject *matrix, *object;
    size_t n;
    tec_spectrum made;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &matrix, &object)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const int32_t *wavelengths = numbers(&all, object, sizeof *wavelengths, 0, &n);
    n = rows_of(&all, (Py_ssize_t)n);
    const double *rows = given(&all, matrix, sizeof *rows, 0, n * n);
    memset(&made, 0, sizeof made);
    if (ready(&all)) tec_spectrum_make(rows, n, wavelengths, &made);
    if (!done(&all, 1)) return NULL;
    return PyBytes_FromStringAndSize((const char *)&made, sizeof made);
}

typedef void (*step)(const tec_spectrum *, const int32_t *const *, int32_t *const *, size_t, int);

static PyObject *apply(PyObject *args, step run)
{
    PyObject *object, *from, *to;
    const int32_t *source[TEC_BANDS];
    int32_t *target[TEC_BANDS];
    int aligned;
    size_t count;
    if (!PyArg_ParseTuple(args, "OOOp", &object, &from, &to, &aligned)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const tec_spectrum *s = given(&all, object, sizeof *s, 0, 1);
    const int32_t *in = numbers(&all, from, sizeof *in, 0, &count);
    int32_t *out = given(&all, to, sizeof *out, 1, count);
    if (ready(&all)) all.fits = s->n >= 1 && s->n <= TEC_BANDS && count % s->n == 0;
    if (ready(&all)) {
        const size_t places = count / s->n;
        for (size_t i = 0; i < s->n; i++) {
            source[i] = in + i * places;
            target[i] = out + i * places;
        }
        Py_BEGIN_ALLOW_THREADS
        run(s, source, target, places, aligned);
        Py_END_ALLOW_THREADS
    }
    return finished(&all);
}

PyObject *tec_py_spectrum_forward(PyObject *module, PyObject *args)
{
    (void)module;
    return apply(args, tec_spectrum_forward);
}

PyObject *tec_py_spectrum_inverse(PyObject *module, PyObject *args)
{
    (void)module;
    return apply(args, tec_spectrum_inverse);
}

PyObject *tec_py_rotations_write(PyObject *module, PyObject *args)
{
    PyObject *object;
    Py_ssize_t size;
    tec_rotations list;
    tec_rans_encoder encoder = {0};
    tec_rans_tables *tables = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "nO", &size, &object)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const size_t n = rows_of(&all, size);
    get_list(&all, object, &list);
    if (!done(&all, 1)) return NULL;
    tec_rans_status status = tec_rotations_tables(&tables);
    if (!status) status = tec_rotations_write(&encoder, tables, n, &list);
    char bytes[4096];
    size_t length = 0;
    if (!status) {
        tec_rans_stream stream;
        tec_rans_finish(&encoder, &stream);
        length = stream.header_size + stream.words_size; /* at most 253 symbols */
        memcpy(bytes, stream.header, stream.header_size);
        if (stream.words_size) memcpy(bytes + stream.header_size, stream.words, stream.words_size);
    }
    tec_rans_encoder_clear(&encoder);
    tec_rans_tables_free(tables);
    return Py_BuildValue("iy#", (int)status, bytes, (Py_ssize_t)length);
}

/* A number, and a list as int32 bytes. */
static PyObject *list_bytes(Py_ssize_t number, const tec_rotations *list)
{
    int32_t found[4 * TEC_ROTATIONS];
    for (size_t i = 0; i < list->count; i++) {
        const tec_rotation r = list->list[i];
        const int32_t own[4] = {r.q, r.p, r.j, r.sign};
        memcpy(found + 4 * i, own, sizeof own);
    }
    return Py_BuildValue("ny#", number, (const char *)found,
                         (Py_ssize_t)(4 * list->count * sizeof *found));
}

PyObject *tec_py_rotations_read(PyObject *module, PyObject *args)
{
    PyObject *object;
    Py_ssize_t size;
    tec_rotations list = {0};
    tec_rans_decoder decoder;
    tec_rans_tables *tables = NULL;
    size_t length;
    (void)module;
    if (!PyArg_ParseTuple(args, "On", &object, &size)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    const size_t n = rows_of(&all, size);
    const uint8_t *data = numbers(&all, object, 1, 0, &length);
    tec_rans_status status = TEC_RANS_OK;
    if (ready(&all)) {
        status = tec_rotations_tables(&tables);
        if (!status) status = tec_rans_open(&decoder, data, length);
        if (!status) status = tec_rotations_read(&decoder, tables, n, &list);
        if (!status) status = tec_rans_close(&decoder);
        tec_rans_tables_free(tables);
    }
    if (!done(&all, 1)) return NULL;
    return list_bytes(status, &list);
}

PyObject *tec_py_spectrum_choose(PyObject *module, PyObject *args)
{
    PyObject *object[2];
    Py_ssize_t size, bases;
    double each, noise;
    int rotate;
    size_t in_book, in_x, entry = 0;
    tec_rotations list = {0};
    tec_rans_status status = TEC_RANS_OK;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOnddpn", &object[0], &object[1], &size, &each, &noise, &rotate,
                          &bases))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    const size_t n = rows_of(&all, size);
    const double *book = numbers(&all, object[0], sizeof *book, 0, &in_book);
    const double *x = numbers(&all, object[1], sizeof *x, 0, &in_x);
    if (ready(&all)) all.fits = in_book && in_book % (n * n) == 0 && in_x % n == 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        status = tec_spectrum_choose(book, in_book / (n * n), n, x, in_x / n, each, noise, rotate,
                                     (size_t)bases, &entry, &list);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    if (status) return PyErr_NoMemory();
    return list_bytes((Py_ssize_t)entry, &list);
}

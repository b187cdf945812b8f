#include "rans_py.h"

#include <string.h>

#include "rans.h"

/* Below this many symbols a call is over sooner than the GIL could change hands. */
#define WORTH_A_RELEASE 2048

static const char TABLES[] = "tec_rans_tables";
static const char ENCODER[] = "tec_rans_encoder";
static const char DECODER[] = "tec_rans_decoder";

typedef struct {
    tec_rans_encoder core;
    int busy; /* read and written with the GIL held */
} encoder_box;

typedef struct {
    tec_rans_decoder core;
    PyObject *data; /* the bytes that core reads from */
    const char *begin;
    int busy;
} decoder_box;

static PyObject *outcome(tec_rans_status status, size_t where)
{
    if (status == TEC_RANS_NO_MEMORY) return PyErr_NoMemory();
    return Py_BuildValue("in", (int)status, (Py_ssize_t)where);
}

/* ---- tables ------------------------------------------------------------------------------- */

static void drop_tables(PyObject *capsule)
{
    tec_rans_tables_free(PyCapsule_GetPointer(capsule, TABLES));
}

static PyObject *make_tables(const Py_buffer *cdf, const Py_buffer *starts,
                             const Py_buffer *minimum)
{
    tec_rans_tables *tables = NULL;
    const size_t rows = (size_t)minimum->len / sizeof(int32_t);
    if ((size_t)starts->len != (rows + 1) * sizeof(int64_t)) Py_RETURN_NONE;
    tec_rans_status status =
        tec_rans_tables_new(cdf->buf, starts->buf, minimum->buf,
                            (size_t)cdf->len / sizeof(uint16_t), rows, &tables);
    if (status == TEC_RANS_NO_MEMORY) return PyErr_NoMemory();
    if (status) Py_RETURN_NONE;
    PyObject *capsule = PyCapsule_New(tables, TABLES, drop_tables);
    if (!capsule) tec_rans_tables_free(tables);
    return capsule;
}

PyObject *tec_py_rans_tables(PyObject *module, PyObject *args)
{
    Py_buffer cdf, starts, minimum;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*", &cdf, &starts, &minimum)) return NULL;
    PyObject *result = make_tables(&cdf, &starts, &minimum);
    PyBuffer_Release(&cdf);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&minimum);
    return result;
}

/* ---- encoder ------------------------------------------------------------------------------ */

static void drop_encoder(PyObject *capsule)
{
    encoder_box *box = PyCapsule_GetPointer(capsule, ENCODER);
    tec_rans_encoder_clear(&box->core);
    PyMem_Free(box);
}

PyObject *tec_py_rans_encoder(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    encoder_box *box = PyMem_Calloc(1, sizeof *box);
    if (!box) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(box, ENCODER, drop_encoder);
    if (!capsule) PyMem_Free(box);
    return capsule;
}

static PyObject *push(encoder_box *box, const tec_rans_tables *tables, const Py_buffer *symbols,
                      const Py_buffer *rows)
{
    const size_t n = (size_t)symbols->len / sizeof(int32_t);
    size_t where = 0;
    tec_rans_status status;
    if (symbols->len != rows->len) {
        PyErr_SetString(PyExc_ValueError, "symbols and rows differ in length");
        return NULL;
    }
    if (box->busy) return outcome(TEC_RANS_BUSY, 0);
    if (n < WORTH_A_RELEASE) {
        status = tec_rans_push(&box->core, tables, symbols->buf, rows->buf, n, &where);
    } else {
        box->busy = 1;
        Py_BEGIN_ALLOW_THREADS
        status = tec_rans_push(&box->core, tables, symbols->buf, rows->buf, n, &where);
        Py_END_ALLOW_THREADS
        box->busy = 0;
    }
    return outcome(status, where);
}

PyObject *tec_py_rans_push(PyObject *module, PyObject *args)
{
    PyObject *encoder, *tables, *result = NULL;
    Py_buffer symbols, rows;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOy*y*", &encoder, &tables, &symbols, &rows)) return NULL;
    encoder_box *box = PyCapsule_GetPointer(encoder, ENCODER);
    const tec_rans_tables *t = box ? PyCapsule_GetPointer(tables, TABLES) : NULL;
    if (box && t) result = push(box, t, &symbols, &rows);
    PyBuffer_Release(&symbols);
    PyBuffer_Release(&rows);
    return result;
}

PyObject *tec_py_rans_finish(PyObject *module, PyObject *args)
{
    PyObject *encoder;
    tec_rans_stream stream;
    (void)module;
    if (!PyArg_ParseTuple(args, "O", &encoder)) return NULL;
    encoder_box *box = PyCapsule_GetPointer(encoder, ENCODER);
    if (!box) return NULL;
    if (box->busy) return outcome(TEC_RANS_BUSY, 0);
    box->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    tec_rans_finish(&box->core, &stream);
    Py_END_ALLOW_THREADS
    box->busy = 0;
    const size_t size = stream.header_size + stream.words_size;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *to = bytes ? PyBytes_AsString(bytes) : NULL;
    if (to) {
        memcpy(to, stream.header, stream.header_size);
        if (stream.words_size) memcpy(to + stream.header_size, stream.words, stream.words_size);
    }
    tec_rans_encoder_clear(&box->core);
    return bytes;
}

/* ---- decoder ------------------------------------------------------------------------------ */

static void drop_decoder(PyObject *capsule)
{
    decoder_box *box = PyCapsule_GetPointer(capsule, DECODER);
    Py_DECREF(box->data);
    PyMem_Free(box);
}

PyObject *tec_py_rans_decoder(PyObject *module, PyObject *args)
{
    PyObject *data;
    char *begin;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "O", &data)) return NULL;
    if (PyBytes_AsStringAndSize(data, &begin, &size)) return NULL;
    decoder_box *box = PyMem_Calloc(1, sizeof *box);
    if (!box) return PyErr_NoMemory();
    if (tec_rans_open(&box->core, (const uint8_t *)begin, (size_t)size)) {
        PyMem_Free(box);
        Py_RETURN_NONE;
    }
    box->begin = begin;
    box->data = data;
    Py_INCREF(data);
    PyObject *capsule = PyCapsule_New(box, DECODER, drop_decoder);
    if (!capsule) {
        Py_DECREF(data);
        PyMem_Free(box);
    }
    return capsule;
}

static PyObject *pull(decoder_box *box, const tec_rans_tables *tables, const Py_buffer *rows,
                      const Py_buffer *out)
{
    const size_t n = (size_t)rows->len / sizeof(int32_t);
    size_t where = 0;
    tec_rans_status status;
    if (rows->len != out->len) {
        PyErr_SetString(PyExc_ValueError, "rows and out differ in length");
        return NULL;
    }
    if (box->busy) return outcome(TEC_RANS_BUSY, 0);
    if (n < WORTH_A_RELEASE) {
        status = tec_rans_pull(&box->core, tables, rows->buf, out->buf, n, &where);
    } else {
        box->busy = 1;
        Py_BEGIN_ALLOW_THREADS
        status = tec_rans_pull(&box->core, tables, rows->buf, out->buf, n, &where);
        Py_END_ALLOW_THREADS
        box->busy = 0;
    }
    return outcome(status, where);
}

PyObject *tec_py_rans_pull(PyObject *module, PyObject *args)
{
    PyObject *decoder, *tables, *result = NULL;
    Py_buffer rows, out;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOy*w*", &decoder, &tables, &rows, &out)) return NULL;
    decoder_box *box = PyCapsule_GetPointer(decoder, DECODER);
    const tec_rans_tables *t = box ? PyCapsule_GetPointer(tables, TABLES) : NULL;
    if (box && t) result = pull(box, t, &rows, &out);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&out);
    return result;
}

static decoder_box *unpack_decoder(PyObject *args)
{
    PyObject *decoder;
    if (!PyArg_ParseTuple(args, "O", &decoder)) return NULL;
    return PyCapsule_GetPointer(decoder, DECODER);
}

PyObject *tec_py_rans_position(PyObject *module, PyObject *args)
{
    decoder_box *box = unpack_decoder(args);
    (void)module;
    if (!box) return NULL;
    if (!box->core.next) return PyLong_FromLong(0); /* an empty stream */
    return PyLong_FromSsize_t((const char *)box->core.next - box->begin);
}

PyObject *tec_py_rans_close(PyObject *module, PyObject *args)
{
    decoder_box *box = unpack_decoder(args);
    (void)module;
    if (!box) return NULL;
    return PyBool_FromLong(tec_rans_close(&box->core) == TEC_RANS_OK);
}

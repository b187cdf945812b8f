#include "core_py.h"

#include <stdlib.h>
#include <string.h>

#include "../buffers.h"
#include "tec.h"

/* A model for Python: keeps the tensors' buffers open. */
typedef struct {
    tec_model *model;
    tec_tensor *tensors;
    Py_buffer *open;
    size_t count;
} held_model;

typedef struct {
    tec_coder *coder;
    PyObject *model; /* capsule, kept alive */
} held_coder;

static const char MODEL[] = "tec.model", CODER[] = "tec.coder";

static PyObject *error_of(const tec_error *e)
{
    if (e->status == TEC_NO_MEMORY) return PyErr_NoMemory();
    return Py_BuildValue("(issLii)", (int)e->status, e->what, e->allowed, (long long)e->found,
                         (int)e->date, (int)e->level);
}

static void drop_model(held_model *held)
{
    tec_model_free(held->model);
    for (size_t i = 0; i < held->count; i++) PyBuffer_Release(&held->open[i]);
    free(held->tensors);
    free(held->open);
    free(held);
}

static void free_model(PyObject *capsule) { drop_model(PyCapsule_GetPointer(capsule, MODEL)); }

static int add_tensor(held_model *held, PyObject *item)
{
    static const size_t SIZE[] = {1, 2, 2, 4, 8, 4};
    const char *name;
    PyObject *array;
    int type;
    Py_ssize_t last;
    if (!PyArg_ParseTuple(item, "sOin", &name, &array, &type, &last)) return 0;
    if (type < 0 || type > TEC_FLOAT32) {
        PyErr_SetString(PyExc_ValueError, "no such type");
        return 0;
    }
    Py_buffer *view = &held->open[held->count];
    if (PyObject_GetBuffer(array, view, PyBUF_SIMPLE)) return 0;
    const size_t count = (size_t)view->len / SIZE[type], width = last > 0 ? (size_t)last : 1;
    held->tensors[held->count] = (tec_tensor){name, view->buf, (tec_type)type, count, width,
                                              count / width};
    held->count++;
    return 1;
}

PyObject *tec_py_core_model(PyObject *module, PyObject *args)
{
    int kind;
    PyObject *list;
    tec_error error;
    (void)module;
    if (!PyArg_ParseTuple(args, "iO", &kind, &list)) return NULL;
    const Py_ssize_t count = PySequence_Size(list);
    if (count < 0) return NULL;
    held_model *held = calloc(1, sizeof *held);
    if (!held) return PyErr_NoMemory();
    held->tensors = calloc((size_t)count + 1, sizeof *held->tensors);
    held->open = calloc((size_t)count + 1, sizeof *held->open);
    int fine = held->tensors && held->open;
    for (Py_ssize_t i = 0; fine && i < count; i++) {
        PyObject *item = PySequence_GetItem(list, i);
        fine = item && add_tensor(held, item);
        Py_XDECREF(item); /* names are those of the list's tuples, which the caller keeps */
    }
    PyObject *found = NULL;
    if (fine) {
        tec_status status;
        Py_BEGIN_ALLOW_THREADS
        status = tec_model_new((tec_kind)kind, held->tensors, held->count, &held->model, &error);
        Py_END_ALLOW_THREADS
        if (!status) return PyCapsule_New(held, MODEL, free_model);
        found = error_of(&error);
    } else if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    drop_model(held);
    return found;
}

static void free_coder(PyObject *capsule)
{
    held_coder *held = PyCapsule_GetPointer(capsule, CODER);
    tec_coder_free(held->coder);
    Py_DECREF(held->model);
    free(held);
}

PyObject *tec_py_core_coder(PyObject *module, PyObject *args)
{
    PyObject *capsule, *index, *mean, *wavelength;
    tec_bands bands = {0};
    Py_ssize_t sensor_bands;
    tec_error error;
    size_t count;
    (void)module;
    if (!PyArg_ParseTuple(args, "OsnOOO", &capsule, &bands.codebook, &sensor_bands, &index, &mean,
                          &wavelength))
        return NULL;
    held_model *model = PyCapsule_GetPointer(capsule, MODEL);
    if (!model) return NULL;
    buffers all = {.count = 0, .fits = sensor_bands > 0 && sensor_bands <= TEC_MOST_BANDS};
    const uint8_t *places = numbers(&all, index, 1, 0, &count);
    const int32_t *means = given(&all, mean, 4, 0, count);
    const int32_t *waves = given(&all, wavelength, 4, 0, count);
    if (count > TEC_MOST_BANDS) all.fits = 0;
    if (ready(&all)) {
        bands.bands = count;
        bands.sensor_bands = (size_t)sensor_bands;
        memcpy(bands.index, places, count);
        memcpy(bands.mean, means, count * 4);
        memcpy(bands.wavelength, waves, count * 4);
    }
    if (!done(&all, 1)) return NULL;
    held_coder *held = calloc(1, sizeof *held);
    if (!held) return PyErr_NoMemory();
    if (tec_coder_new(model->model, bands, &held->coder, &error)) {
        free(held);
        return error_of(&error);
    }
    Py_INCREF(capsule);
    held->model = capsule;
    return PyCapsule_New(held, CODER, free_coder);
}

static int chunk_of(Py_ssize_t t, Py_ssize_t h, Py_ssize_t w, int rate, int tokens, tec_chunk *out)
{
    *out = (tec_chunk){(size_t)t, (size_t)h, (size_t)w, (unsigned)rate, (unsigned)tokens};
    return t > 0 && h > 0 && w > 0 && t < 1 << 24 && h < 1 << 24 && w < 1 << 24 && rate >= 0 &&
           rate <= TEC_MOST_RATE && tokens >= 0 && tokens <= TEC_TOKENS;
}

static size_t bands_of(const held_coder *held) { return tec_coder_bands(held->coder); }

PyObject *tec_py_core_decode(PyObject *module, PyObject *args)
{
    PyObject *capsule, *data, *wanted, *out;
    Py_ssize_t t, h, w;
    int rate, tokens, level, stop;
    unsigned long symbols;
    tec_error error;
    (void)module;
    if (!PyArg_ParseTuple(args, "O(nnn)iiOkOiiO", &capsule, &t, &h, &w, &rate, &tokens, &data,
                          &symbols, &wanted, &level, &stop, &out))
        return NULL;
    held_coder *held = PyCapsule_GetPointer(capsule, CODER);
    if (!held) return NULL;
    tec_chunk chunk;
    buffers all = {.count = 0};
    all.fits = chunk_of(t, h, w, rate, tokens, &chunk) && level >= 0 && level <= TEC_LOW &&
               stop >= 0 && stop <= TEC_TOKENS;
    size_t size, count = 0;
    if (all.fits)
        count = chunk.dates * bands_of(held) * tec_length(chunk.height, (unsigned)level) *
                tec_length(chunk.width, (unsigned)level);
    const uint8_t *bytes = numbers(&all, data, 1, 0, &size);
    const uint8_t *dates = wanted == Py_None ? NULL : given(&all, wanted, 1, 0, chunk.dates);
    int32_t *target = given(&all, out, 4, 1, count);
    PyObject *found = NULL;
    tec_status status = TEC_OK;
    if (ready(&all) && (found = PyBytes_FromStringAndSize(NULL, t))) {
        uint8_t *has_data = (uint8_t *)PyBytes_AsString(found);
        Py_BEGIN_ALLOW_THREADS
        status = tec_decode(held->coder, chunk, bytes, size, (uint32_t)symbols, dates,
                            (unsigned)level, (unsigned)stop, target, has_data, &error);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) {
        Py_XDECREF(found);
        return NULL;
    }
    if (status) {
        Py_XDECREF(found);
        return error_of(&error);
    }
    return found;
}

PyObject *tec_py_core_replication(PyObject *module, PyObject *args)
{
    PyObject *samples, *invalid;
    Py_ssize_t c, h, w;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO(nnn)", &samples, &invalid, &c, &h, &w)) return NULL;
    buffers all = {.count = 0, .fits = c > 0 && c <= TEC_MOST_BANDS && h > 0 && w > 0};
    const size_t count = (size_t)c * (size_t)h * (size_t)w;
    const int32_t *values = given(&all, samples, 4, 0, count);
    const uint8_t *masked = invalid == Py_None ? NULL : given(&all, invalid, 1, 0, count);
    tec_replication found = {0};
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        tec_find_replication(values, masked, (size_t)c, (size_t)h, (size_t)w, &found);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    return PyBytes_FromStringAndSize((const char *)&found, sizeof found);
}

PyObject *tec_py_core_encode(PyObject *module, PyObject *args)
{
    PyObject *capsule, *samples, *has_data, *replication, *decoded;
    Py_ssize_t t, h, w;
    int rate, tokens, flags;
    tec_error error;
    (void)module;
    if (!PyArg_ParseTuple(args, "O(nnn)iiOOOiO", &capsule, &t, &h, &w, &rate, &tokens, &samples,
                          &has_data, &replication, &flags, &decoded))
        return NULL;
    held_coder *held = PyCapsule_GetPointer(capsule, CODER);
    if (!held) return NULL;
    tec_chunk chunk;
    buffers all = {.count = 0};
    all.fits = chunk_of(t, h, w, rate, tokens, &chunk);
    const size_t count = all.fits ? chunk.dates * bands_of(held) * chunk.height * chunk.width : 0;
    const int32_t *values = given(&all, samples, 4, 0, count);
    const uint8_t *there = has_data == Py_None ? NULL : given(&all, has_data, 1, 0, chunk.dates);
    const tec_replication *kinds =
        replication == Py_None ? NULL
                               : given(&all, replication, sizeof *kinds, 0, chunk.dates);
    int32_t *target = decoded == Py_None ? NULL : given(&all, decoded, 4, 1, count);
    tec_bytes out = {0};
    uint32_t symbols = 0;
    tec_status status = TEC_OK;
    const int go = ready(&all);
    if (go) {
        Py_BEGIN_ALLOW_THREADS
        status = tec_encode(held->coder, chunk, values, there, kinds, (unsigned)flags, &out,
                            &symbols, target, &error);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    if (status) return error_of(&error);
    PyObject *found = Py_BuildValue("(y#k)", out.data, (Py_ssize_t)out.size, (unsigned long)symbols);
    tec_bytes_free(&out);
    return found;
}

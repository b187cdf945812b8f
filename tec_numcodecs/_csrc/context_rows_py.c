#include "buffers.h"
#include "context.h"
#include "context_py.h"

static tec_layer layer(buffers *all, PyObject *weights, PyObject *scale, PyObject *bias,
                       size_t inputs, size_t outputs)
{
    const size_t columns = (outputs + TEC_LAYER_COLUMNS - 1) / TEC_LAYER_COLUMNS * TEC_LAYER_COLUMNS;
    if (!inputs || !outputs || inputs > TEC_LAYER_MOST || outputs > TEC_LAYER_MOST) all->fits = 0;
    return (tec_layer){
        given(all, weights, sizeof(int16_t), 0, (inputs + inputs % 2) * columns),
        given(all, scale, sizeof(float), 0, columns),
        given(all, bias, sizeof(float), 0, columns),
        inputs,
        outputs,
    };
}

PyObject *tec_py_context_network(PyObject *module, PyObject *args)
{
    PyObject *out, *features, *part[9];
    Py_ssize_t count, widths[4];
    (void)module;
    if (!PyArg_ParseTuple(args, "OOn(nnnn)(OOO)(OOO)(OOO)", &out, &features, &count, &widths[0],
                          &widths[1], &widths[2], &widths[3], &part[0], &part[1], &part[2],
                          &part[3], &part[4], &part[5], &part[6], &part[7], &part[8]))
        return NULL;
    buffers all = {.count = 0, .fits = count >= 0};
    tec_layer layers[3];
    for (int i = 0; i < 3; i++)
        layers[i] = layer(&all, part[3 * i], part[3 * i + 1], part[3 * i + 2], (size_t)widths[i],
                          (size_t)widths[i + 1]);
    const size_t rows_in = (size_t)count * (size_t)widths[0];
    const int16_t *rows = given(&all, features, sizeof(int16_t), 0, rows_in);
    float *target = given(&all, out, sizeof(float), 1, (size_t)count * (size_t)widths[3]);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        tec_context_network(layers, rows, (size_t)count, target);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_context_shapes(PyObject *module, PyObject *args)
{
    PyObject *mean, *scale, *shape, *out, *features, *own, *old;
    Py_ssize_t stride;
    int failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOnOO", &mean, &scale, &shape, &out, &features, &stride, &own,
                          &old))
        return NULL;
    buffers all = {.count = 0, .fits = stride > 0 && stride < 4096};
    size_t count, size = 0, held;
    const int64_t *at = numbers(&all, own, 8, 0, &count);
    float *found[3] = {given(&all, mean, 4, 1, count), given(&all, scale, 4, 1, count),
                       given(&all, shape, 4, 1, count)};
    const float *outputs = numbers(&all, out, 4, 0, &held);
    const int16_t *rows = given(&all, features, sizeof(int16_t), 0, count * (size_t)stride);
    const int32_t *values = old == Py_None ? NULL : numbers(&all, old, 4, 0, &size);
    const size_t width = count ? held / count : 4;
    if (held != width * count || width < (values ? 4 : 3)) all.fits = 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_context_shapes(outputs, width, rows, (size_t)stride, values, size, at, count,
                                    found[0], found[1], found[2]);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, !failed)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_context_choose(PyObject *module, PyObject *args)
{
    PyObject *in[3], *packed, *out[3];
    int least;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOiOOO", &in[0], &in[1], &in[2], &packed, &least, &out[0],
                          &out[1], &out[2]))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count, scales;
    const int32_t *table = numbers(&all, packed, 4, 0, &scales);
    const float *mean = numbers(&all, in[0], 4, 0, &count);
    const float *scale = given(&all, in[1], 4, 0, count), *shape = given(&all, in[2], 4, 0, count);
    int32_t *found[3];
    for (int i = 0; i < 3; i++) found[i] = given(&all, out[i], 4, 1, count);
    if (!scales) all.fits = 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        tec_context_choose(mean, scale, shape, count, table, least, least + (int)scales - 1,
                           found[0], found[1], found[2]);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_context_rescale(PyObject *module, PyObject *args)
{
    PyObject *out, *in[4], *offsets;
    Py_ssize_t half, step;
    int64_t peak = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOOnn", &out, &in[0], &in[1], &in[2], &in[3], &offsets, &half,
                          &step))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count, held;
    int32_t *target = numbers(&all, out, 4, 1, &count);
    const int32_t *part[4];
    for (int i = 0; i < 4; i++) part[i] = given(&all, in[i], 4, 0, count);
    const int8_t *table = numbers(&all, offsets, 1, 0, &held);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        peak = tec_context_rescale(part[0], part[1], part[2], part[3], count, table, held / 7, half,
                                   step, target);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, peak >= 0)) return NULL;
    return PyLong_FromLongLong(peak);
}

PyObject *tec_py_pass_rows(PyObject *module, PyObject *args)
{
    PyObject *row, *before, *in[3], *packed;
    int least;
    tec_pass pass;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOOiii", &row, &before, &in[0], &in[1], &in[2], &packed,
                          &least, &pass.zeros, &pass.digits))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count, scales;
    const float *part[3];
    const int32_t *known = numbers(&all, before, 4, 0, &count);
    int32_t *found = given(&all, row, 4, 1, count);
    for (int i = 0; i < 3; i++) part[i] = given(&all, in[i], 4, 0, count);
    const int32_t *table = numbers(&all, packed, 4, 0, &scales);
    if (!scales) all.fits = 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        tec_pass_rows(pass, known, count, part[0], part[1], part[2], table, least,
                      least + (int)scales - 1, found);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_pass_refine(PyObject *module, PyObject *args)
{
    PyObject *q, *before, *symbol;
    int failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &q, &before, &symbol)) return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count;
    const int32_t *known = numbers(&all, before, 4, 0, &count);
    const int32_t *more = given(&all, symbol, 4, 0, count);
    int32_t *found = given(&all, q, 4, 1, count);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_pass_refine(known, more, count, found);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    return PyBool_FromLong(!failed);
}

PyObject *tec_py_pass_rescale(PyObject *module, PyObject *args)
{
    PyObject *out, *q, *row, *zeros, *digits;
    Py_ssize_t step;
    int64_t peak = 0;
    tec_pass pass;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOiin", &out, &q, &row, &zeros, &digits, &pass.zeros,
                          &pass.digits, &step))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count, rows, digit_rows;
    int32_t *target = numbers(&all, out, 4, 1, &count);
    const int32_t *values = given(&all, q, 4, 0, count), *where = given(&all, row, 4, 0, count);
    const int8_t *of_zeros = numbers(&all, zeros, 1, 0, &rows);
    const int8_t *of_digits = numbers(&all, digits, 1, 0, &digit_rows);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        peak = tec_pass_rescale(pass, values, where, count, of_zeros, rows / 3, of_digits,
                                digit_rows / 2, step, target);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, peak >= 0)) return NULL;
    return PyLong_FromLongLong(peak);
}

/* A tuple (starts, minimum, bits). */
static tec_prices prices(buffers *all, PyObject *starts, PyObject *minimum, PyObject *bits)
{
    size_t ends, count;
    tec_prices found = {.rows = 0};
    found.starts = numbers(all, starts, 8, 0, &ends);
    found.minimum = numbers(all, minimum, 4, 0, &found.rows);
    found.bits = numbers(all, bits, 4, 0, &count);
    if (ready(all)) all->fits = ends == found.rows + 1 && found.starts[found.rows] == (int64_t)count;
    return found;
}

PyObject *tec_py_price_symbols(PyObject *module, PyObject *args)
{
    PyObject *out, *symbol, *row, *table[3];
    int failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO(OOO)", &out, &symbol, &row, &table[0], &table[1], &table[2]))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count;
    float *target = numbers(&all, out, 4, 1, &count);
    const int32_t *values = given(&all, symbol, 4, 0, count), *where = given(&all, row, 4, 0, count);
    const tec_prices list = prices(&all, table[0], table[1], table[2]);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_price_symbols(list, values, where, count, target);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, !failed)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_price_decide(PyObject *module, PyObject *args)
{
    PyObject *q, *value, *in[3], *table[3], *offsets;
    double unit, lagrangian;
    int failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOddOOOO(OOO)", &q, &value, &unit, &lagrangian, &in[0], &in[1],
                          &in[2], &offsets, &table[0], &table[1], &table[2]))
        return NULL;
    buffers all = {.count = 0, .fits = 1};
    size_t count, held;
    const int32_t *part[3];
    int32_t *target = numbers(&all, q, 4, 1, &count);
    const int32_t *values = given(&all, value, 4, 0, count);
    for (int i = 0; i < 3; i++) part[i] = given(&all, in[i], 4, 0, count);
    const int8_t *centroids = numbers(&all, offsets, 1, 0, &held);
    const tec_prices list = prices(&all, table[0], table[1], table[2]);
    if (held > 7 * list.rows) all.fits = 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_price_decide(list, centroids, held / 7, values, unit, lagrangian, part[0],
                                  part[1], part[2], count, target);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, !failed)) return NULL;
    Py_RETURN_NONE;
}

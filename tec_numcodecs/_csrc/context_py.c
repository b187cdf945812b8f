#include "context_py.h"

#include "context.h"

enum { MOST_BUFFERS = 40 };

/* Buffers that are open, and whether all have the sizes that they should have. */
typedef struct {
    Py_buffer open[MOST_BUFFERS];
    int count, fits;
} buffers;

/* Numbers of `size` bytes in a buffer, and how many; NULL with an error set. */
static void *numbers(buffers *all, PyObject *object, size_t size, int writable, size_t *count)
{
    Py_buffer *view = &all->open[all->count];
    *count = 0;
    if (PyErr_Occurred()) return NULL;
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE)) return NULL;
    all->count++;
    if ((size_t)view->len % size) all->fits = 0;
    *count = (size_t)view->len / size;
    return view->buf;
}

/* As many numbers as there should be. */
static void *given(buffers *all, PyObject *object, size_t size, int writable, size_t wanted)
{
    size_t count;
    void *found = numbers(all, object, size, writable, &count);
    if (count != wanted) all->fits = 0;
    return found;
}

static tec_companding companding(buffers *all, PyObject *object)
{
    tec_companding table;
    table.value = numbers(all, object, sizeof(int16_t), 0, &table.count);
    if (!table.count) all->fits = 0;
    return table;
}

/* A tuple of `most` planes, all of one size, some of which may be None. */
static size_t planes(buffers *all, PyObject *tuple, const int32_t **out, size_t most)
{
    size_t count = 0;
    if (PyErr_Occurred()) return 0;
    if (!PyTuple_Check(tuple) || (size_t)PyTuple_Size(tuple) != most) {
        all->fits = 0;
        return 0;
    }
    for (size_t i = 0; i < most; i++) {
        size_t own = 0;
        PyObject *plane = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        out[i] = plane == Py_None ? NULL : numbers(all, plane, sizeof(int32_t), 0, &own);
        if (!out[i]) continue;
        if (count && own != count) all->fits = 0;
        count = own;
    }
    return count;
}

static int ready(const buffers *all) { return all->fits && !PyErr_Occurred(); }

/* Closes the buffers; true if there is a result to return. */
static int done(buffers *all, int inside)
{
    for (int i = 0; i < all->count; i++) PyBuffer_Release(&all->open[i]);
    if (PyErr_Occurred()) return 0;
    if (!all->fits) PyErr_SetString(PyExc_ValueError, "buffer sizes do not match");
    else if (!inside) PyErr_SetString(PyExc_IndexError, "a place lies outside its plane");
    return !PyErr_Occurred();
}

PyObject *tec_py_context_places(PyObject *module, PyObject *args)
{
    PyObject *object, *list[4];
    Py_ssize_t n, h, w;
    (void)module;
    if (!PyArg_ParseTuple(args, "OnnnOOOO", &object, &n, &h, &w, &list[0], &list[1], &list[2],
                          &list[3]))
        return NULL;
    buffers all = {.count = 0, .fits = n >= 0 && h > 0 && w > 0};
    const size_t blocks = (size_t)n * (size_t)((h + 7) / 8) * (size_t)((w + 7) / 8);
    size_t sizes[4], ends[4] = {0}, coded = 0;
    int64_t *out[4];
    const uint8_t *flags = given(&all, object, 1, 0, blocks);
    for (int i = 0; i < 4; i++) out[i] = numbers(&all, list[i], 8, 1, &sizes[i]);
    if (ready(&all)) {
        for (size_t i = 0; i < blocks; i++) coded += flags[i] != 0;
        for (int i = 0; i < 4; i++) all.fits &= sizes[i] >= 64 * coded;
    }
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        tec_context_places(flags, (size_t)n, (size_t)h, (size_t)w, out[0], out[1], out[2], out[3],
                           ends);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, 1)) return NULL;
    return Py_BuildValue("nnnn", (Py_ssize_t)ends[0], (Py_ssize_t)ends[1], (Py_ssize_t)ends[2],
                         (Py_ssize_t)ends[3]);
}

PyObject *tec_py_context_plane(PyObject *module, PyObject *args)
{
    PyObject *out, *places[3], *table[3], *here, *above, *old, *flags, *scale;
    Py_ssize_t count, stride, ends[4], width, above_width, flag_width;
    int shift, pass;
    (void)module;
    if (!PyArg_ParseTuple(args, "Onn(OOO(nnnn))(OOO)OnOnOpOnOi", &out, &count, &stride, &places[0],
                          &places[1], &places[2], &ends[0], &ends[1], &ends[2], &ends[3],
                          &table[0], &table[1], &table[2], &here, &width, &above, &above_width,
                          &old, &pass, &flags, &flag_width, &scale, &shift))
        return NULL;
    buffers all = {.count = 0, .fits = count >= 0 && stride >= 0 && stride < 4096 && width > 2 &&
                                       above_width > 2 && flag_width > 2};
    const size_t rows = (size_t)count;
    const int32_t *near[TEC_HERE], *coarse[TEC_ABOVE], *earlier[TEC_OLD];
    size_t needed = TEC_PLANE_FEATURES;
    int16_t *target = given(&all, out, sizeof(int16_t), 1, rows * (size_t)stride);
    const tec_places where = {given(&all, places[0], 8, 0, rows), given(&all, places[1], 8, 0, rows),
                              given(&all, places[2], 8, 0, rows),
                              {(size_t)ends[0], (size_t)ends[1], (size_t)ends[2], (size_t)ends[3]}};
    tec_surroundings around = {.shift = shift, .pass = pass};
    around.integers = companding(&all, table[0]);
    around.eighths = companding(&all, table[1]);
    around.scales = companding(&all, table[2]);
    around.scale = given(&all, scale, 4, 0, rows);
    around.flags = numbers(&all, flags, 1, 0, &around.flag_count);
    around.flag_width = (size_t)flag_width;
    around.here = (tec_planes){near, planes(&all, here, near, TEC_HERE), (size_t)width};
    if (ready(&all)) all.fits = near[TEC_HERE_LOW] != NULL;
    if (above != Py_None) {
        const size_t size = planes(&all, above, coarse, TEC_ABOVE);
        around.above = (tec_planes){coarse, size, (size_t)above_width};
        for (int i = 0; ready(&all) && i < TEC_ABOVE; i++) all.fits = coarse[i] != NULL;
    }
    if (old != Py_None) {
        needed += TEC_REFERENCE_FEATURES;
        around.old = (tec_planes){earlier, planes(&all, old, earlier, TEC_OLD), (size_t)width};
        if (ready(&all))
            all.fits = earlier[0] && earlier[1] && around.old.count == around.here.count;
    }
    all.fits &= (size_t)stride >= needed && where.ends[3] == rows;
    for (int i = 0; i < 3; i++) all.fits &= where.ends[i] <= where.ends[i + 1];
    int failed = 0;
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_context_plane(&around, &where, target, (size_t)stride);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, !failed)) return NULL;
    Py_RETURN_NONE;
}

PyObject *tec_py_context_own(PyObject *module, PyObject *args)
{
    PyObject *out, *own, *table, *q, *magnitude;
    Py_ssize_t stride, width;
    int failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OnOOOOn", &out, &stride, &own, &table, &q, &magnitude, &width))
        return NULL;
    buffers all = {.count = 0, .fits = stride >= TEC_OWN_FEATURES && stride < 4096 && width > 2};
    size_t count, size;
    const int64_t *at = numbers(&all, own, 8, 0, &count);
    int16_t *target = given(&all, out, sizeof(int16_t), 1, count * (size_t)stride);
    const tec_companding integers = companding(&all, table);
    const int32_t *values = numbers(&all, q, 4, 0, &size);
    const int32_t *sizes = given(&all, magnitude, 4, 0, size);
    if (ready(&all)) {
        Py_BEGIN_ALLOW_THREADS
        failed = tec_context_own(integers, values, sizes, size, (size_t)width, at, count,
                                 target + stride - TEC_OWN_FEATURES, (size_t)stride);
        Py_END_ALLOW_THREADS
    }
    if (!done(&all, !failed)) return NULL;
    Py_RETURN_NONE;
}

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

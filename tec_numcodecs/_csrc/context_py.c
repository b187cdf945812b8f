#include "context_py.h"

#include "buffers.h"
#include "context.h"

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

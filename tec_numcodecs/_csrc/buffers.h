/* Buffers that Python hands over: opened, measured and closed together. */
#ifndef TEC_BUFFERS_H
#define TEC_BUFFERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_BUFFERS = 40 };

/* Buffers that are open, and whether all have the sizes that they should have. */
typedef struct {
    Py_buffer open[MOST_BUFFERS];
    int count, fits;
} buffers;

/* Numbers of `size` bytes in a buffer, and how many; NULL with an error set. */
static inline void *numbers(buffers *all, PyObject *object, size_t size, int writable, size_t *count)
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
static inline void *given(buffers *all, PyObject *object, size_t size, int writable, size_t wanted)
{
    size_t count;
    void *found = numbers(all, object, size, writable, &count);
    if (count != wanted) all->fits = 0;
    return found;
}

static inline int ready(const buffers *all) { return all->fits && !PyErr_Occurred(); }

/* Closes the buffers; true if there is a result to return. */
static inline int done(buffers *all, int inside)
{
    for (int i = 0; i < all->count; i++) PyBuffer_Release(&all->open[i]);
    if (PyErr_Occurred()) return 0;
    if (!all->fits) PyErr_SetString(PyExc_ValueError, "buffer sizes do not match");
    else if (!inside) PyErr_SetString(PyExc_IndexError, "a place lies outside its plane");
    return !PyErr_Occurred();
}

#endif

/* tec_numcodecs._native: a table of functions, one macro for each C file's.
 *
 * To add a file: a core x.c / x.h without Python.h, bindings x_py.c / x_py.h that define
 * TEC_X_METHODS, and one line in each of the two lists below (and in
 * PyInit__native, if the core has to be made ready).
 */
#include "context_py.h"
#include "core/core_py.h"
#include "core/spectrum_py.h"
#include "exact_py.h"
#include "rans.h"
#include "rans_py.h"
#include "transform_py.h"

static PyMethodDef methods[] = {
    TEC_CONTEXT_METHODS,
    TEC_CORE_METHODS,
    TEC_EXACT_METHODS,
    TEC_RANS_METHODS,
    TEC_SPECTRUM_METHODS,
    TEC_TRANSFORM_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Hot loops in C. Private: tec_numcodecs wraps every function and checks its input.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    tec_rans_init();
    return PyModuleDef_Init(&definition);
}

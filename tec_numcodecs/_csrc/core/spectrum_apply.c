#include "../simd.h"
#include "spectrum.h"

/* Places at a time: all rows of them stay in the first cache. Rows lie a little further apart, as
 * multiples of 4096 bytes would all want the same lines of it. */
enum { BLOCK = 256, STRIDE = BLOCK + 8, TERMS = TEC_BANDS - 1 };

static const double ROUND = 6755399441055744.0; /* 1.5 * 2^52: rounds to integers, ties to even */
static const double WIDEST = 2147483647.0, BAND_LIMIT = 2097152.0;
static const double MOVED_LIMIT = 67108864.0; /* of what a step has changed: 2^26 */

/* target += rint(w[0] x[0] + w[1] x[1] + ...). The number of terms is a constant where this is
 * inlined, so that the sum stays in a register. It is exact: every term is a multiple of 2^-14. */
static inline void add_terms(double *restrict target, const double *w, const double *restrict x,
                             const size_t terms, size_t count)
{
    for (size_t p = 0; p < count; p++) {
        double sum = w[0] * x[p];
        for (size_t j = 1; j < terms; j++) sum += w[j] * x[j * STRIDE + p];
        const double moved = target[p] + ((sum + ROUND) - ROUND);
        const double below = moved < MOVED_LIMIT ? moved : MOVED_LIMIT;
        target[p] = below > -MOVED_LIMIT ? below : -MOVED_LIMIT;
    }
}

TEC_MULTIVERSION
static void add_row(double *restrict target, const double *w, const double *restrict x,
                    size_t terms, size_t count)
{
    switch (terms) {
    case 1: add_terms(target, w, x, 1, count); break;
    case 2: add_terms(target, w, x, 2, count); break;
    case 3: add_terms(target, w, x, 3, count); break;
    case 4: add_terms(target, w, x, 4, count); break;
    case 5: add_terms(target, w, x, 5, count); break;
    case 6: add_terms(target, w, x, 6, count); break;
    case 7: add_terms(target, w, x, 7, count); break;
    case 8: add_terms(target, w, x, 8, count); break;
    case 9: add_terms(target, w, x, 9, count); break;
    case 10: add_terms(target, w, x, 10, count); break;
    case 11: add_terms(target, w, x, 11, count); break;
    case 12: add_terms(target, w, x, 12, count); break;
    default: break;
    }
}

TEC_MULTIVERSION
static void load(double *restrict to, const int32_t *from, double sign, size_t count)
{
    for (size_t p = 0; p < count; p++) to[p] = sign * (double)from[p];
}

/* Also what is not a number ends within the limit. */
TEC_MULTIVERSION
static void store(int32_t *restrict to, const double *from, double sign, double limit, size_t count)
{
    for (size_t p = 0; p < count; p++) {
        const double value = sign * from[p];
        const double below = value < limit ? value : limit;
        to[p] = (int32_t)(below > -limit ? below : -limit);
    }
}

/* x[row] += rint(sum over first <= j < last of sign * factor[row][j] * x[j]) */
static void lift_row(const tec_spectrum *s, double *x, size_t which, size_t row, size_t first,
                     size_t last, double sign, size_t count)
{
    const double *factor = s->lifts + (which * s->n + row) * s->n;
    double w[TERMS];
    size_t terms = 0;
    for (size_t j = first; j < last && terms < TERMS; j++) w[terms++] = sign * factor[j];
    add_row(x + row * STRIDE, w, x + first * STRIDE, terms, count);
}

void tec_spectrum_forward(const tec_spectrum *s, const int32_t *const *bands,
                          int32_t *const *components, size_t count, int aligned)
{
    const size_t n = s->n;
    _Alignas(64) double x[TEC_BANDS * STRIDE];
    for (size_t at = 0; at < count; at += BLOCK) {
        const size_t now = count - at < BLOCK ? count - at : BLOCK;
        for (size_t i = 0; i < n; i++) load(x + i * STRIDE, bands[s->band[i]] + at, 1, now);
        lift_row(s, x, 0, n - 1, 0, n - 1, 1, now);
        for (size_t i = 0; i + 1 < n; i++) lift_row(s, x, 1, i, i + 1, n, 1, now);
        for (size_t i = n; i-- > 1;) lift_row(s, x, 2, i, 0, i, 1, now);
        for (size_t k = 0; k < n; k++)
            store(components[k] + at, x + (size_t)s->order[k] * STRIDE, aligned ? s->sign[k] : 1,
                  WIDEST, now);
    }
}

void tec_spectrum_inverse(const tec_spectrum *s, const int32_t *const *components,
                          int32_t *const *bands, size_t count, int aligned)
{
    const size_t n = s->n;
    _Alignas(64) double x[TEC_BANDS * STRIDE];
    for (size_t at = 0; at < count; at += BLOCK) {
        const size_t now = count - at < BLOCK ? count - at : BLOCK;
        for (size_t k = 0; k < n; k++)
            load(x + (size_t)s->order[k] * STRIDE, components[k] + at, aligned ? s->sign[k] : 1,
                 now);
        for (size_t i = 1; i < n; i++) lift_row(s, x, 2, i, 0, i, -1, now);
        for (size_t i = n - 1; i-- > 0;) lift_row(s, x, 1, i, i + 1, n, -1, now);
        lift_row(s, x, 0, n - 1, 0, n - 1, -1, now);
        for (size_t i = 0; i < n; i++)
            store(bands[s->band[i]] + at, x + i * STRIDE, 1, BAND_LIMIT, now);
    }
}

#include <stdlib.h>

#include "simd.h"
#include "transform.h"

enum { BLOCK = 512 }; /* pixels at a time: 13 rows of them stay in the first cache */

static const double ROUND = 6755399441055744.0; /* see lifting.c */
static const double UNIT = 1.0 / 16384;

/* sum[p] = w[0] * x[0][p] + w[1] * x[1][p] + ...; exact, every term is a multiple of 2^-14 */
TEC_MULTIVERSION
static void weigh(double *restrict sum, const double *w, const double *x, size_t terms,
                  size_t count)
{
    for (size_t p = 0; p < count; p++) sum[p] = 0;
    for (size_t j = 0; j < terms; j++)
        for (size_t p = 0; p < count; p++) sum[p] += w[j] * x[j * BLOCK + p];
}

TEC_MULTIVERSION
static void add_rounded(double *restrict x, const double *sum, double sign, size_t count)
{
    for (size_t p = 0; p < count; p++) x[p] += sign * ((sum[p] + ROUND) - ROUND);
}

typedef struct {
    double *x;   /* (n, BLOCK) */
    double *sum; /* (BLOCK) */
    const double *factor;
    size_t n, count;
} block;

/* x[row] += sign * rint(sum over first <= j < last of factor[row][j] * x[j]) */
static void lift_row(block b, int factor, size_t row, size_t first, size_t last, double sign)
{
    const double *w = b.factor + ((size_t)factor * b.n + row) * b.n + first;
    if (first >= last) return;
    weigh(b.sum, w, b.x + first * BLOCK, last - first, b.count);
    add_rounded(b.x + row * BLOCK, b.sum, sign, b.count);
}

static void forward_block(block b)
{
    const size_t n = b.n;
    lift_row(b, 0, n - 1, 0, n - 1, 1);
    for (size_t i = 0; i + 1 < n; i++) lift_row(b, 1, i, i + 1, n, 1);
    for (size_t i = n; i-- > 1;) lift_row(b, 2, i, 0, i, 1);
}

static void inverse_block(block b)
{
    const size_t n = b.n;
    for (size_t i = 1; i < n; i++) lift_row(b, 2, i, 0, i, -1);
    for (size_t i = n - 1; i-- > 0;) lift_row(b, 1, i, i + 1, n, -1);
    lift_row(b, 0, n - 1, 0, n - 1, -1);
}

static int run(int32_t *rows, const int32_t *lifts, size_t n, size_t pixels, void (*step)(block))
{
    double *memory = malloc((3 * n * n + (n + 1) * BLOCK) * sizeof(double));
    if (!memory) return -1;
    double *factor = memory, *x = memory + 3 * n * n;
    for (size_t i = 0; i < 3 * n * n; i++) factor[i] = lifts[i] * UNIT;
    for (size_t at = 0; at < pixels; at += BLOCK) {
        const size_t count = pixels - at < BLOCK ? pixels - at : BLOCK;
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < count; p++) x[i * BLOCK + p] = rows[i * pixels + at + p];
        block b = {x, x + n * BLOCK, factor, n, count};
        step(b);
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < count; p++) rows[i * pixels + at + p] = (int32_t)x[i * BLOCK + p];
    }
    free(memory);
    return 0;
}

int tec_klt_forward(int32_t *rows, const int32_t *lifts, size_t n, size_t pixels)
{
    return run(rows, lifts, n, pixels, forward_block);
}

int tec_klt_inverse(int32_t *rows, const int32_t *lifts, size_t n, size_t pixels)
{
    return run(rows, lifts, n, pixels, inverse_block);
}

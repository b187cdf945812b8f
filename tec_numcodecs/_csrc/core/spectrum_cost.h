/* Sums that the choice of spectra is made by, over samples in binary32.
 *
 * `count` is a multiple of TEC_LANES everywhere, and sums run in that many lanes, which are joined
 * in a fixed order: results do not depend on the vector unit. Private to the core.
 */
#ifndef TEC_SPECTRUM_COST_H
#define TEC_SPECTRUM_COST_H

#include <stddef.h>
#include <stdint.h>

enum { TEC_LANES = 16 };

/* log2 of a normal positive number, within 1e-10, the same everywhere. */
double tec_log2(double value);

/* y[p] = w[0] x[0][p] + ... + w[n - 1] x[n - 1][p], rows of x being `stride` apart. */
void tec_project(float *y, const float *w, const float *x, size_t stride, size_t n, size_t count);

/* Sum of log2(1 + y^2). */
double tec_cost(const float *y, size_t count);

/* The same for both rows that two rows turn into, c a - s b and s a + c b. */
double tec_cost_turned(const float *a, const float *b, float c, float s, size_t count);

/* Rows turn in place. */
void tec_turn(float *a, float *b, float c, float s, size_t count);

/* w = 1 / (1 + y^2) */
void tec_weigh(const float *y, float *w, size_t count);

/* What derivatives of the cost of two rows are made of, when they turn: the sums of
 * ya yb (wb - wa) and of yb^2 wa + ya^2 wb. */
void tec_pair_sums(const float *ya, const float *wa, const float *yb, const float *wb, size_t count,
                   double *slope, double *curvature);

#endif

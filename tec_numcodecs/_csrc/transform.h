/* Reversible integer transforms: 9/7 lifting and spectral lifting. Pure C, no Python.h.
 *
 * The NumPy twins in tec_numcodecs/models/mini/{lifting,klt}.py are the specification; both give
 * the same integers. Inputs must stay below 2^21 in magnitude: the callers see to that.
 */
#ifndef TEC_TRANSFORM_H
#define TEC_TRANSFORM_H

#include <stddef.h>
#include <stdint.h>

/* planes (n, h, w) to low (n, ceil h/2, ceil w/2) and detail (n, 3, ceil h/2, ceil w/2), which the
 * caller has set to zero. */
void tec_dwt97_forward(const int32_t *planes, int32_t *low, int32_t *detail, size_t n, size_t h,
                       size_t w);
/* Functions that return int return 0, or -1 if there is no memory. */
int tec_dwt97_inverse(const int32_t *low, const int32_t *detail, int32_t *planes, size_t n,
                      size_t h, size_t w);

/* In place on rows (n, pixels). lifts (3, n, n) holds the factors S, U, L in 2^-14. */
int tec_klt_forward(int32_t *rows, const int32_t *lifts, size_t n, size_t pixels);
int tec_klt_inverse(int32_t *rows, const int32_t *lifts, size_t n, size_t pixels);

#endif

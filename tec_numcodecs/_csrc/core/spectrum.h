/* The spectral transform of the mini family, FORMAT.md 9.1 and 10.1: rows of a codebook entry,
 * turned by a list of rotations, as reversible integer steps. Pure C, no Python.h, no state.
 *
 * All arithmetic is binary64, one correctly rounded operation after another, so that results do
 * not depend on the machine. No input makes it undefined: what is too large is clipped.
 */
#ifndef TEC_SPECTRUM_H
#define TEC_SPECTRUM_H

#include <stddef.h>
#include <stdint.h>

#include "../rans.h"

enum { TEC_BANDS = 13, TEC_ROTATIONS = 63, TEC_ANGLES = 12 };

/* Rows p < q turn by the angle whose half has the tangent sign * 2^-j, 1 <= j <= TEC_ANGLES. */
typedef struct {
    uint8_t q, p, j;
    int8_t sign;
} tec_rotation;

typedef struct {
    size_t count;
    tec_rotation list[TEC_ROTATIONS];
} tec_rotations;

/* Matrices are n x n, without gaps between their rows. */
typedef struct {
    size_t n;
    double rows[TEC_BANDS * TEC_BANDS]; /* V of 9.1 after rotations, a component a row */
    int32_t band[TEC_BANDS];            /* band[r] enters the lifting in row r */
    int32_t order[TEC_BANDS];           /* component k leaves it in row order[k] */
    double lifts[3 * TEC_BANDS * TEC_BANDS]; /* S, U, L, multiples of 2^-14 */
    int32_t sign[TEC_BANDS];                 /* u_k of 10.1 */
    double whole[TEC_BANDS * TEC_BANDS];     /* R of 10.1: u_k rint(2^12 t_k v), whole numbers */
} tec_spectrum;

/* In all functions 1 <= n <= TEC_BANDS. */

/* 9.1 step 1: eigenvectors of a covariance matrix a (n, n), as rows. */
void tec_spectrum_eigen(const double *a, size_t n, double *rows);

/* Turns rows in place. Every q must be below n. */
void tec_spectrum_turn(double *rows, size_t n, const tec_rotations *list);

/* 9.1 step 2 and the signs of 10.1. wavelengths: of the n bands, whole nanometers. */
void tec_spectrum_make(const double *rows, size_t n, const int32_t *wavelengths,
                       tec_spectrum *out);

/* `count` places of n planes. With `aligned` components have the signs of 10.1. The inverse clips
 * bands to +-2^21. Planes may be the same on both sides (in any order), else must not overlap. */
void tec_spectrum_forward(const tec_spectrum *s, const int32_t *const *bands,
                          int32_t *const *components, size_t count, int aligned);
void tec_spectrum_inverse(const tec_spectrum *s, const int32_t *const *components,
                          int32_t *const *bands, size_t count, int aligned);

/* Rows of the tables of 9.4 that lists of rotations are coded with. */
enum { TEC_ROW_COUNT = 0, TEC_ROW_ANGLE = 1, TEC_ROW_Q = 2 /* + n */, TEC_ROW_P = 20 /* + q */ };

/* The caller frees them with tec_rans_tables_free. */
tec_rans_status tec_rotations_tables(tec_rans_tables **out);

/* A list for n rows; nothing is read or written for n = 1. What MUST be refused is
 * TEC_RANS_CORRUPT when it is read, TEC_RANS_BAD_SYMBOL (nothing is added) when it is written. */
tec_rans_status tec_rotations_read(tec_rans_decoder *d, const tec_rans_tables *t, size_t n,
                                   tec_rotations *out);
tec_rans_status tec_rotations_write(tec_rans_encoder *e, const tec_rans_tables *t, size_t n,
                                    const tec_rotations *list);

/* The encoder's choice for one level (or the low-pass) of a date: an entry of the codebook and a list
 * of rotations that make what is coded cheap, list included. A coefficient y costs
 * log2(1 + y^2 / noise) bits. book: (entries, n, n) rows; x: (n, count) samples of what is coded,
 * each of which stands for `each` coefficients; noise: step^2 / 12; rotate: whether lists are
 * allowed; bases: how many entries are tried with lists. The same on all machines.
 * 0, or TEC_RANS_NO_MEMORY: then entry 0 and no list, which is valid, too. */
tec_rans_status tec_spectrum_choose(const double *book, size_t entries, size_t n, const double *x,
                                    size_t count, double each, double noise, int rotate,
                                    size_t bases, size_t *entry, tec_rotations *list);

#endif

/* The encoder's own half: coefficients of a date, and what becomes of them. None of it binds a
 * decoder. */
#ifndef TEC_ANALYZE_H
#define TEC_ANALYZE_H

#include "walk.h"

/* Coefficients of a date in components, before they are quantized, and the spectra chosen. */
typedef struct {
    int32_t *low;                       /* (n, plane) */
    int32_t *detail[TEC_LEVELS][3];     /* (n, plane) */
    uint8_t entry[TEC_LEVELS + 1];
    tec_rotations list[TEC_LEVELS + 1];
    float *rows[TEC_LEVELS][2], *columns[TEC_LEVELS][2]; /* weights of errors: low, high */
} tec_analysis;

/* samples (bands, height, width). 0 if there is no memory. */
int tec_analyze(tec_walk *walk, const int32_t *samples, unsigned flags, tec_analysis *out);

/* Whether all native samples of an axis keep a place of their own at the level of entry. */
int tec_axis_fits(tec_axis axis, unsigned entry, size_t size);

/* Scratch for the decisions on a plane. */
typedef struct {
    uint32_t *at, *block;
    int32_t *scale, *magnitude;
    double *value;
    float *weight;
    double *earned;
    uint8_t *coded;
} tec_points;
int tec_points_new(tec_points *points, tec_arena *arena, size_t most);

/* Decides on a plane whose expected magnitudes are in walk->scale: integers q, and its shift.
 * values (plane); weights of rows and columns, or NULL; price of a bit in squared steps. Integers
 * of the low-pass, and all where steps are 1, are taken as they are. */
int tec_decide(tec_walk *walk, tec_plane plane, const int32_t *values, const float *rows,
               const float *columns, double price, tec_points *points, int32_t *q);

#endif

/* The reversible 9/7 wavelet on planes of odd length. FORMAT.md 9.1. */
#ifndef TEC_WAVELET_H
#define TEC_WAVELET_H

#include "layout.h"

/* A plane of h x w samples, h and w odd, and its subbands; rows of each lie side by side. */
typedef struct {
    int32_t *low, *detail[TEC_ORIENTATIONS]; /* HL, LH, HH; those without samples are not touched */
} tec_subbands;

void tec_wavelet_forward(const int32_t *plane, tec_size size, tec_subbands out);
/* Overwrites the subbands. The plane is clipped to +-2^21. */
void tec_wavelet_inverse(tec_subbands in, tec_size size, int32_t *plane);

#endif

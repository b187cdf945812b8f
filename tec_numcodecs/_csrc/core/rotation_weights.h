/* How often what a list of rotations is made of occurs: for its tables, and for its price. */
#ifndef TEC_ROTATION_WEIGHTS_H
#define TEC_ROTATION_WEIGHTS_H

#include "spectrum.h"

/* Frequencies in training scenes, smoothed: number of rotations of a level; q given the number of
 * rows, and p given q (cut off where there are fewer); angles. */
typedef struct {
    uint16_t count[TEC_ROTATIONS + 1], q[TEC_BANDS - 1], p[TEC_BANDS - 1], angle[TEC_ANGLES];
} tec_rotation_weights;

extern const tec_rotation_weights tec_rotations_weights;

#endif

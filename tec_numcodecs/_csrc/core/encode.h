#ifndef TEC_ENCODE_H
#define TEC_ENCODE_H

#include "analyze.h"

/* One date that is being written. */
typedef struct {
    tec_walk walk;
    tec_analysis analysis;
    tec_rans_encoder encoder;
    tec_points points;
    int lists;         /* of rotations are written */
    double distortion; /* of details, in squared steps */
    /* Of a plane under a context model: */
    const int32_t *values;
    int32_t step;
    int32_t *symbols, *rows, *log, *gathered, *decided;
    uint8_t *flags;
    size_t recorded, seen;
} tec_writer;

/* Makes room; the walk has begun. 0 if there is no memory. */
int tec_writer_begin(tec_writer *writer);
/* Writes the date to writer->encoder. keep and decoded (bands, height, width) may be NULL. */
tec_status tec_date_encode(tec_writer *writer, int refers, tec_visited *keep, int32_t *decoded);

#endif

#ifndef TEC_ENCODE_H
#define TEC_ENCODE_H

#include "analyze.h"

/* One date that is being written. */
typedef struct tec_writer {
    tec_walk walk;
    tec_analysis analysis;
    tec_rans_encoder encoder;
    tec_points points;
    int lists;         /* of rotations are written */
    double distortion; /* of details, in squared steps */
    int32_t *low;      /* integers of the low-pass (n, plane) */
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

/* Squared steps that a bit is worth to coefficients under a context model. */
extern const double TEC_DETAIL_PRICE;

/* Pieces that passes of flextec share: */
tec_status tec_push(tec_walk *walk, tec_rans_encoder *to, const tec_rans_tables *tables,
                    const int32_t *symbols, const int32_t *rows, size_t count);
/* Entry and rotations of a level; sets walk->spectrum. */
tec_status tec_write_spectrum(tec_walk *walk, tec_rans_encoder *to, const tec_analysis *analysis,
                              int level, int lists);
/* Flags of the blocks that are not all zero; how many. */
size_t tec_flag_blocks(const int32_t *q, tec_size size, uint8_t *flags);
/* Shift and flags of a plane whose expected magnitudes are known. */
tec_status tec_write_outline(tec_walk *walk, tec_rans_encoder *to, tec_plane plane, int shift,
                             const uint8_t *flags);
/* Integers of the coded blocks under the rows of `fp`; the last two are scratch (plane). */
tec_status tec_write_integers(tec_walk *walk, tec_rans_encoder *to, tec_plane plane, int shift,
                              const uint8_t *flags, const int32_t *q, int32_t *raw_symbols,
                              int32_t *raw_rows);

#endif

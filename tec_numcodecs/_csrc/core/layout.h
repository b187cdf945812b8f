/* Where the samples of a date lie: inner grids, bands of levels, native samples. FORMAT.md 9.0. */
#ifndef TEC_LAYOUT_H
#define TEC_LAYOUT_H

#include "tec.h"

enum { TEC_HL = 0, TEC_LH = 1, TEC_HH = 2, TEC_ORIENTATIONS = 3, TEC_BLOCK = 8 };

/* Rows and columns. */
typedef struct {
    size_t h, w;
} tec_size;

/* How one axis of a band's native samples lies: pixel y shows sample (y + phase) / factor. */
typedef struct {
    size_t factor, phase, count;
} tec_axis;

typedef struct {
    size_t height, width, bands;
    tec_replication replication;
    uint8_t entry[TEC_MOST_BANDS];            /* level at which a band enters */
    tec_axis rows[TEC_MOST_BANDS], columns[TEC_MOST_BANDS];
    size_t count[TEC_LEVELS + 1];             /* bands of a level; of the low-pass, last */
    uint8_t band[TEC_LEVELS + 1][TEC_MOST_BANDS]; /* which they are */
    tec_size grid[TEC_LEVELS + 1];            /* what a level splits; of the low-pass, last */
    tec_size low[TEC_LEVELS];                 /* low-pass samples of a level */
    tec_size plane[TEC_LEVELS + 1][TEC_ORIENTATIONS]; /* subbands; of the low-pass, the first */
} tec_layout;

/* Level of entry of a class, its factor. */
extern const uint8_t TEC_ENTRY[4], TEC_FACTOR[4];

void tec_layout_make(tec_layout *layout, size_t height, size_t width, size_t bands,
                     const tec_replication *replication);
int tec_layout_equal(const tec_layout *a, const tec_layout *b);

/* Bytes of a layout in a chunk. Reading returns bytes taken, 0 if it is to be refused. */
size_t tec_layout_read(const uint8_t *data, size_t size, size_t bands, tec_replication *out);
size_t tec_layout_write(uint8_t *data, size_t bands, const tec_replication *layout);
enum { TEC_LAYOUT_BYTES = 7 };

/* Sample of a plane at the level of entry that keeps native sample i; `size` samples are there. */
size_t tec_kept(tec_axis axis, unsigned entry, size_t size, size_t i);

/* DN without the mean to the scale of the planes that a level splits, and back. */
int32_t tec_raise(int32_t v, unsigned entry);
extern const int32_t TEC_GAIN[TEC_LEVELS + 1];

#endif

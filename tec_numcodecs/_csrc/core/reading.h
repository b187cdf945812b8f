/* Pieces of reading a date that passes of flextec share with the other models. */
#ifndef TEC_READING_H
#define TEC_READING_H

#include "walk.h"

/* Adds symbols to the checksum. */
void tec_note(tec_walk *walk, const int32_t *symbols, size_t count);
void tec_note_rotations(tec_walk *walk, const tec_rotations *list);
tec_status tec_pull(tec_walk *walk, const tec_rans_tables *tables, const int32_t *rows,
                    int32_t *out, size_t count);
/* Entry and rotations of a level, to walk->spectrum. */
tec_status tec_read_spectrum(tec_walk *walk, int level, int lists);
/* A plane under the rows of `fp`, to walk->integers; of details under those of a context model. */
tec_status tec_read_plane(tec_walk *walk, tec_plane plane);
tec_status tec_read_detail(tec_walk *walk, tec_plane plane);

#endif

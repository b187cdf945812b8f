/* Dates that were decoded, for those that come later. FORMAT.md 11. */
#ifndef TEC_HISTORY_H
#define TEC_HISTORY_H

#include "walk.h"

/* The latest dates, the oldest first, and room for two attempts at the one that is being coded.
 * Rooms are large enough for every layout. */
typedef struct {
    tec_visited dates[TEC_HISTORY + 2];
    size_t count, rooms;
    tec_arena arena;
} tec_history;

/* Room for the next date, of attempt 0 or 1; NULL if there is no memory. */
tec_visited *tec_next_room(tec_history *history, const tec_layout *layout, size_t attempt);
/* Attempt 1 is the one that counts. */
void tec_swap_rooms(tec_history *history);
/* The room of attempt 0 has been filled: that date is the latest now, and the oldest may go. */
void tec_add_date(tec_history *history);
/* Tells a walk which dates it may refer to; `past` must outlive it. */
void tec_refer(tec_walk *walk, const tec_history *history, const tec_visited *past[TEC_HISTORY]);

#endif

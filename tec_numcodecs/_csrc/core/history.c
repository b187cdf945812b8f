#include "history.h"

#include <string.h>

static int take_room(tec_visited *v, const tec_layout *plain, tec_arena *arena)
{
    for (int l = 0; l < TEC_LEVELS; l++) {
        const size_t low = plain->low[l].h * plain->low[l].w;
        size_t details = 0;
        for (int o = 0; o < 3; o++) details += plain->plane[l][o].h * plain->plane[l][o].w;
        v->under[l] = tec_take(arena, plain->bands * low, sizeof(int32_t));
        v->detail[l] = tec_take(arena, plain->bands * details, sizeof(int32_t));
        if (!v->under[l] || !v->detail[l]) return 0;
    }
    return 1;
}

tec_visited *tec_next_room(tec_history *h, const tec_layout *layout, size_t attempt)
{
    tec_visited *room = &h->dates[h->count + attempt];
    tec_layout plain;
    tec_layout_make(&plain, layout->height, layout->width, layout->bands, NULL);
    for (; h->rooms <= h->count + attempt; h->rooms++)
        if (!take_room(&h->dates[h->rooms], &plain, &h->arena)) return NULL;
    room->layout = layout;
    return room;
}

void tec_swap_rooms(tec_history *h)
{
    const tec_visited first = h->dates[h->count];
    h->dates[h->count] = h->dates[h->count + 1];
    h->dates[h->count + 1] = first;
}

void tec_add_date(tec_history *h)
{
    if (h->count < TEC_HISTORY) {
        h->count++;
        return;
    }
    const tec_visited oldest = h->dates[0];
    memmove(h->dates, h->dates + 1, TEC_HISTORY * sizeof *h->dates);
    h->dates[TEC_HISTORY] = oldest;
}

/* Dates that one of this layout may refer to, the oldest first; how many. */
static size_t candidates(const tec_history *h, const tec_layout *layout,
                         const tec_visited *out[TEC_HISTORY])
{
    size_t count = 0;
    for (size_t i = 0; i < h->count; i++)
        if (tec_layout_equal(h->dates[i].layout, layout)) out[count++] = &h->dates[i];
    return count;
}

void tec_refer(tec_walk *walk, const tec_history *h, const tec_visited *past[TEC_HISTORY])
{
    walk->pasts = candidates(h, walk->layout, past);
    walk->past = past;
    walk->followed = walk->pasts ? past[walk->pasts - 1] : NULL;
}

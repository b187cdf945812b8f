/* Memory of one call: taken piece by piece, given back together, used again for the next date. */
#ifndef TEC_ARENA_H
#define TEC_ARENA_H

#include <stddef.h>

typedef struct tec_page tec_page;

typedef struct {
    tec_page *first, *current;
} tec_arena;

/* count numbers of `size` bytes, aligned to 64, not cleared; NULL if there is no memory. */
void *tec_take(tec_arena *arena, size_t count, size_t size);
/* The same, cleared. */
void *tec_take_zeros(tec_arena *arena, size_t count, size_t size);
/* Forget all pieces, keep the memory. */
void tec_arena_reset(tec_arena *arena);
void tec_arena_free(tec_arena *arena);

/* Where the arena is now, to forget what comes later only. */
typedef struct {
    tec_page *page;
    size_t used;
} tec_mark;
tec_mark tec_arena_mark(const tec_arena *arena);
void tec_arena_return(tec_arena *arena, tec_mark mark);

#endif

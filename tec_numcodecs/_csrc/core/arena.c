#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, LEAST = 1 << 20 };

struct tec_page {
    tec_page *next;
    size_t size, used;
    unsigned char *memory; /* aligned */
    void *block;
};

static tec_page *new_page(size_t size)
{
    if (size < LEAST) size = LEAST;
    tec_page *page = malloc(sizeof *page);
    if (!page) return NULL;
    page->block = malloc(size + ALIGNMENT);
    if (!page->block) {
        free(page);
        return NULL;
    }
    const uintptr_t start = (uintptr_t)page->block;
    page->memory = (unsigned char *)page->block + (ALIGNMENT - start % ALIGNMENT) % ALIGNMENT;
    page->size = size;
    page->used = 0;
    page->next = NULL;
    return page;
}

void *tec_take(tec_arena *arena, size_t count, size_t size)
{
    if (size && count > (SIZE_MAX / 2 - ALIGNMENT) / size) return NULL;
    const size_t bytes = (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    tec_page **link = arena->current ? &arena->current : &arena->first;
    for (; *link; link = &(*link)->next) {
        tec_page *page = *link;
        if (page != arena->current) page->used = 0; /* left over from the date before */
        if (page->size - page->used >= bytes) {
            void *found = page->memory + page->used;
            page->used += bytes;
            arena->current = page;
            return found;
        }
    }
    tec_page *page = new_page(bytes);
    if (!page) return NULL;
    *link = page;
    page->used = bytes;
    arena->current = page;
    return page->memory;
}

void *tec_take_zeros(tec_arena *arena, size_t count, size_t size)
{
    void *found = tec_take(arena, count, size);
    if (found) memset(found, 0, count * size);
    return found;
}

tec_mark tec_arena_mark(const tec_arena *arena)
{
    return (tec_mark){arena->current, arena->current ? arena->current->used : 0};
}

void tec_arena_return(tec_arena *arena, tec_mark mark)
{
    arena->current = mark.page;
    if (mark.page) mark.page->used = mark.used;
}

void tec_arena_reset(tec_arena *arena) { arena->current = NULL; }

void tec_arena_free(tec_arena *arena)
{
    for (tec_page *page = arena->first; page;) {
        tec_page *next = page->next;
        free(page->block);
        free(page);
        page = next;
    }
    *arena = (tec_arena){0};
}

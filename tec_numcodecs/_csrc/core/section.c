/* Section 2 of a chunk: its table, and the dates one by one. FORMAT.md 4. */
#include "flextec.h"
#include "history.h"
#include "varint.h"

#include <stdlib.h>
#include <string.h>

enum { BITMAP = 1, LISTS = 2, LAYOUTS = 4, ALL_FLAGS = 15 };

typedef struct {
    const uint8_t *data;
    size_t size;
    uint32_t symbols;
    size_t layout; /* which of the layouts */
    int there;
} stream;

/* A table taken apart; everything is freed together. */
typedef struct {
    stream *streams; /* (dates) */
    tec_layout *layouts;
    size_t layout_count;
    int lists;
} contents;

static void free_contents(contents *c)
{
    free(c->streams);
    free(c->layouts);
}

static tec_status read_dates(tec_bytes_reader *r, tec_chunk chunk, int bitmap, contents *c, tec_error *error)
{
    const size_t bytes = (chunk.dates + 7) / 8;
    size_t there = 0;
    if (bitmap && (size_t)(r->end - r->at) < bytes)
        return tec_fail(error, TEC_CORRUPT, "a bitmap of dates that is cut off", NULL, 0);
    for (size_t t = 0; t < 8 * bytes; t++) {
        const int bit = bitmap ? r->at[t / 8] >> (t % 8) & 1 : t < chunk.dates;
        if (t >= chunk.dates && bit)
            return tec_fail(error, TEC_CORRUPT, "a bit behind the dates", "0", (int64_t)t);
        if (t < chunk.dates) c->streams[t].there = bit;
        there += (size_t)bit;
    }
    if (bitmap && (!there || there == chunk.dates))
        return tec_fail(error, TEC_CORRUPT, "a bitmap of dates", "some, but not all",
                        (int64_t)there);
    r->at += bitmap ? bytes : 0;
    c->layout_count = there;
    return TEC_OK;
}

static tec_status read_layouts(tec_bytes_reader *r, const tec_coder *coder, tec_chunk chunk, int kind,
                               contents *c, tec_error *error)
{
    const size_t bands = coder->bands.bands, there = c->layout_count;
    const size_t count = kind == 2 ? there : 1;
    tec_replication replication;
    int native = 0;
    /* Each layout takes bytes of the chunk: no more memory than those earn. */
    if (kind == 2 && (size_t)(r->end - r->at) / 2 < count)
        return tec_fail(error, TEC_CORRUPT, "layouts that are cut off", NULL, 0);
    c->layouts = calloc(count, sizeof *c->layouts);
    if (!c->layouts) return tec_fail(error, TEC_NO_MEMORY, "no memory for layouts", NULL, 0);
    for (size_t i = 0; i < count; i++) {
        if (!kind) {
            tec_layout_make(&c->layouts[0], chunk.height, chunk.width, bands, NULL);
            break;
        }
        const size_t used = tec_layout_read(r->at, (size_t)(r->end - r->at), bands, &replication);
        if (!used) return tec_fail(error, TEC_CORRUPT, "a layout of native bands", NULL, 0);
        r->at += used;
        for (size_t b = 0; b < bands; b++) native |= replication.kind[b];
        tec_layout_make(&c->layouts[i], chunk.height, chunk.width, bands, &replication);
    }
    if (kind && !native)
        return tec_fail(error, TEC_CORRUPT, "layouts without a native band", NULL, 0);
    c->layout_count = count;
    size_t next = 0;
    for (size_t t = 0; t < chunk.dates; t++)
        if (c->streams[t].there) c->streams[t].layout = kind == 2 ? next++ : 0;
    return TEC_OK;
}

static tec_status read_contents(const tec_coder *coder, tec_chunk chunk, const uint8_t *data,
                                size_t size, uint32_t symbols, contents *c, tec_error *error)
{
    tec_bytes_reader r = {data, data + size};
    if (!size) return tec_fail(error, TEC_CORRUPT, "no latents", NULL, 0);
    const int flags = *r.at++, kind = flags / LAYOUTS;
    if (flags > ALL_FLAGS || kind > 2)
        return tec_fail(error, TEC_CORRUPT, "flags of the latents", NULL, flags);
    c->lists = flags & LISTS;
    tec_status status = read_dates(&r, chunk, flags & BITMAP, c, error);
    if (!status) status = read_layouts(&r, coder, chunk, kind, c, error);
    if (status) return status;
    uint32_t crc = 0;
    for (size_t t = 0; t < chunk.dates; t++) {
        stream *s = &c->streams[t];
        if (!s->there) continue;
        const int64_t length = tec_read_varint(&r, size);
        if (length < 0 || r.end - r.at < 4)
            return tec_fail(error, TEC_CORRUPT, "a table of streams that is cut off", NULL, 0);
        s->size = (size_t)length;
        s->symbols = (uint32_t)r.at[0] | (uint32_t)r.at[1] << 8 | (uint32_t)r.at[2] << 16 |
                     (uint32_t)r.at[3] << 24;
        crc = tec_crc32c(crc, r.at, 4);
        r.at += 4;
    }
    if (crc != symbols)
        return tec_fail(error, TEC_CORRUPT, "checksums of symbols", "those of the header", crc);
    for (size_t t = 0; t < chunk.dates; t++) {
        stream *s = &c->streams[t];
        if (!s->there) continue;
        if ((size_t)(r.end - r.at) < s->size)
            return tec_fail(error, TEC_CORRUPT, "a stream that is cut off", NULL, (int64_t)t);
        s->data = r.at;
        r.at += s->size;
    }
    if (r.at != r.end)
        return tec_fail(error, TEC_CORRUPT, "bytes behind the last stream", "none", r.end - r.at);
    return TEC_OK;
}

/* ---- whole chunks ------------------------------------------------------------------------- */

typedef struct {
    const tec_coder *coder;
    tec_chunk chunk;
    tec_arena arena;
    tec_history past;
    tec_flex flex;
    unsigned stop; /* tokens to read, 0 for all */
    tec_error *error;
} work;

static size_t samples_of(const work *w, unsigned level)
{
    return w->coder->bands.bands * tec_length(w->chunk.height, level) *
           tec_length(w->chunk.width, level);
}

static tec_status decode_date(work *w, const contents *c, const stream *s, unsigned level,
                              int chained, int32_t *out)
{
    const tec_visited *past[TEC_HISTORY];
    tec_walk walk;
    tec_arena_reset(&w->arena);
    const tec_layout *layout = &c->layouts[s->layout];
    if (!tec_walk_begin(&walk, w->coder, layout, w->chunk.rate, &w->arena, w->error))
        return tec_fail(w->error, TEC_NO_MEMORY, "no memory for a date", NULL, 0);
    tec_visited *keep = NULL;
    if (chained) {
        tec_refer(&walk, &w->past, past);
        keep = tec_next_room(&w->past, layout, 0);
        if (!keep) return tec_fail(w->error, TEC_NO_MEMORY, "no memory for a date", NULL, 0);
    }
    const tec_status status = tec_date_decode(&walk, s->data, s->size, c->lists, level, keep, out);
    if (status) return status;
    if (chained) tec_add_date(&w->past);
    if (level == 0 && walk.crc != s->symbols)
        return tec_fail(w->error, TEC_CORRUPT, "symbols of another checksum", "the stored one",
                        walk.crc);
    return TEC_OK;
}

static tec_status decode_passes(work *w, const contents *c, const stream *s, unsigned level,
                                int32_t *out)
{
    const unsigned tokens = w->chunk.tokens;
    const unsigned used = w->stop && w->stop < tokens ? w->stop : tokens;
    uint32_t crc = 0;
    const tec_status status =
        tec_flex_decode(&w->flex, w->coder, &c->layouts[s->layout], w->chunk.rate, s->data, s->size,
                        c->lists, tokens, used, level, out, &crc, w->error);
    if (status || level || used < tokens || crc == s->symbols) return status;
    return tec_fail(w->error, TEC_CORRUPT, "symbols of another checksum", "the stored one", crc);
}

static tec_status decode_dates(work *w, const contents *c, const uint8_t *wanted, unsigned level,
                               int32_t *out)
{
    const int chained = w->coder->model->kind == TEC_TT;
    size_t last = w->chunk.dates;
    while (last && wanted && !wanted[last - 1]) last--;
    for (size_t t = 0; t < last; t++) {
        const stream *s = &c->streams[t];
        const int shown = !wanted || wanted[t];
        if (!s->there || (!shown && !chained)) continue;
        int32_t *own = shown ? out + t * samples_of(w, level) : NULL;
        const tec_status status = w->coder->model->kind == TEC_FLEXTEC
                                      ? decode_passes(w, c, s, level, own)
                                      : decode_date(w, c, s, level, chained, own);
        if (status) {
            w->error->date = (int32_t)t;
            return status;
        }
    }
    return TEC_OK;
}

tec_status tec_decode(const tec_coder *coder, tec_chunk chunk, const uint8_t *data, size_t size,
                      uint32_t symbols, const uint8_t *wanted, unsigned level, unsigned stop,
                      int32_t *out, uint8_t *has_data, tec_error *error)
{
    *error = (tec_error){TEC_OK, NULL, NULL, 0, -1, -1};
    if (coder->model->kind == TEC_FLEXTEC && (!chunk.tokens || chunk.tokens > TEC_TOKENS))
        return tec_fail(error, TEC_BAD_ARGUMENT, "a number of tokens", "1 to 16", chunk.tokens);
    if (chunk.rate > TEC_MOST_RATE || level > TEC_LOW || !chunk.dates || !chunk.height ||
        !chunk.width)
        return tec_fail(error, TEC_BAD_ARGUMENT, "a rate index, level or shape", NULL, 0);
    contents c = {.streams = calloc(chunk.dates, sizeof(stream))};
    if (!c.streams) return tec_fail(error, TEC_NO_MEMORY, "no memory for a table", NULL, 0);
    tec_status status = read_contents(coder, chunk, data, size, symbols, &c, error);
    if (!status) {
        work w = {.coder = coder, .chunk = chunk, .stop = stop, .error = error};
        for (size_t t = 0; t < chunk.dates; t++) has_data[t] = (uint8_t)c.streams[t].there;
        status = decode_dates(&w, &c, wanted, level, out);
        tec_arena_free(&w.arena);
        tec_arena_free(&w.past.arena);
        tec_flex_free(&w.flex);
    }
    free_contents(&c);
    return status;
}

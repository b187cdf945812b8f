/* Section 2 of a chunk, written: dates one by one, then the table in front of them. FORMAT.md 4. */
#include <stdlib.h>
#include <string.h>

#include "encode.h"
#include "flextec.h"
#include "history.h"

enum { BITMAP = 1, LISTS = 2, LAYOUTS = 4 };

/* ---- bytes -------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t size, capacity;
    int failed;
} buffer;

static void append(buffer *b, const void *data, size_t size)
{
    if (b->failed) return;
    if (b->capacity - b->size < size) {
        size_t capacity = b->capacity + b->capacity / 2 + size + 64;
        uint8_t *grown = realloc(b->data, capacity);
        if (!grown) {
            b->failed = 1;
            return;
        }
        b->data = grown;
        b->capacity = capacity;
    }
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void append_varint(buffer *b, uint64_t value)
{
    do {
        const uint8_t byte = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        append(b, &byte, 1);
        value >>= 7;
    } while (value);
}

static void append_u32(buffer *b, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};
    append(b, bytes, 4);
}

void tec_bytes_free(tec_bytes *bytes)
{
    free(bytes->data);
    *bytes = (tec_bytes){NULL, 0};
}

/* ---- dates -------------------------------------------------------------------------------- */

typedef struct {
    size_t start, size;
    uint32_t symbols;
} stream;

typedef struct {
    const tec_coder *coder;
    tec_chunk chunk;
    unsigned flags;
    tec_arena arena, other; /* of a date, and of another attempt at it */
    tec_history past;
    tec_flex flex;
    tec_layout *layouts;
    stream *streams;
    buffer body;
    tec_error *error;
} work;

static tec_status no_memory(work *w)
{
    return tec_fail(w->error, TEC_NO_MEMORY, "no memory to encode a chunk", NULL, 0);
}

/* What the steps of a stream take, in bits. */
static double bits_of(const tec_rans_encoder *encoder)
{
    double bits = 0;
    for (size_t i = 0; i < encoder->count; i++) {
        const uint32_t width = encoder->step[i] >> 16;
        bits += 16 - tec_log2(width ? width : 65536);
    }
    return bits;
}

static tec_status begin(work *w, tec_writer *own, const tec_layout *layout, tec_arena *arena)
{
    memset(own, 0, sizeof *own);
    if (!tec_walk_begin(&own->walk, w->coder, layout, w->chunk.rate, arena, w->error))
        return no_memory(w);
    own->lists = !!(w->flags & TEC_ROTATE);
    return tec_writer_begin(own) ? TEC_OK : no_memory(w);
}

static tec_status finish(work *w, tec_writer *own, size_t t)
{
    tec_rans_stream found;
    tec_rans_finish(&own->encoder, &found);
    w->streams[t].start = w->body.size;
    append(&w->body, found.header, found.header_size);
    append(&w->body, found.words, found.words_size);
    w->streams[t].size = w->body.size - w->streams[t].start;
    w->streams[t].symbols = own->walk.crc;
    return w->body.failed ? no_memory(w) : TEC_OK;
}

static size_t samples_of(const work *w)
{
    return w->coder->bands.bands * w->chunk.height * w->chunk.width;
}

/* A date of tt, without a reference and with one: the cheaper of them. */
static tec_status encode_twice(work *w, const int32_t *samples, const tec_layout *layout, size_t t,
                               int32_t *decoded)
{
    const tec_visited *past[TEC_HISTORY];
    tec_arena *const arenas[2] = {&w->arena, &w->other};
    int32_t *pictures[2] = {decoded, NULL};
    double cost[2];
    int attempts = 1, best = 0;
    tec_writer own[2];
    tec_status status = TEC_OK;
    memset(own, 0, sizeof own);
    for (int refers = 0; refers < attempts && !status; refers++) {
        tec_writer *now = &own[refers];
        tec_visited *room = tec_next_room(&w->past, layout, (size_t)refers);
        tec_arena_reset(arenas[refers]);
        if (!room) status = no_memory(w);
        if (!status) status = begin(w, now, layout, arenas[refers]);
        if (status) break;
        tec_refer(&now->walk, &w->past, past);
        if (now->walk.pasts) attempts = 2;
        if (refers)
            now->analysis = own[0].analysis;
        else if (!tec_analyze(&now->walk, samples, w->flags, &now->analysis))
            status = no_memory(w);
        if (refers && decoded && !(pictures[1] = tec_take(arenas[1], samples_of(w), sizeof(int32_t))))
            status = no_memory(w);
        if (!status) status = tec_date_encode(now, refers, room, pictures[refers]);
        cost[refers] = now->distortion + TEC_DETAIL_PRICE * bits_of(&now->encoder);
        if (refers && cost[1] < cost[0]) best = 1;
    }
    if (!status && best) {
        tec_swap_rooms(&w->past);
        if (decoded) memcpy(decoded, pictures[1], samples_of(w) * sizeof *decoded);
    }
    if (!status) status = finish(w, &own[best], t);
    if (!status) tec_add_date(&w->past);
    for (int i = 0; i < 2; i++) tec_rans_encoder_clear(&own[i].encoder);
    return status;
}

static tec_status encode_once(work *w, const int32_t *samples, const tec_layout *layout, size_t t,
                              int32_t *decoded)
{
    tec_writer own;
    tec_arena_reset(&w->arena);
    tec_status status = begin(w, &own, layout, &w->arena);
    if (!status && !tec_analyze(&own.walk, samples, w->flags, &own.analysis)) status = no_memory(w);
    if (!status) status = tec_date_encode(&own, 0, NULL, decoded);
    if (!status) status = finish(w, &own, t);
    tec_rans_encoder_clear(&own.encoder);
    return status;
}

/* A date of flextec: sizes of its tokens, then the tokens. */
static tec_status encode_passes(work *w, const int32_t *samples, const tec_layout *layout, size_t t,
                                int32_t *decoded)
{
    const unsigned tokens = w->chunk.tokens;
    tec_rans_encoder encoders[TEC_TOKENS] = {{0}};
    buffer body = {0};
    tec_writer first;
    tec_arena_reset(&w->arena);
    w->streams[t].start = w->body.size;
    tec_status status = begin(w, &first, layout, &w->arena);
    if (!status && !tec_analyze(&first.walk, samples, w->flags, &first.analysis))
        status = no_memory(w);
    if (!status)
        status = tec_flex_encode(&w->flex, &first, w->chunk.rate, tokens, encoders, decoded,
                                 &w->streams[t].symbols);
    for (unsigned i = 0; !status && i < tokens; i++) {
        tec_rans_stream found;
        tec_rans_finish(&encoders[i], &found);
        append_varint(&w->body, found.header_size + found.words_size);
        append(&body, found.header, found.header_size);
        append(&body, found.words, found.words_size);
    }
    append(&w->body, body.data, body.size);
    w->streams[t].size = w->body.size - w->streams[t].start;
    if (!status && (body.failed || w->body.failed)) status = no_memory(w);
    for (unsigned i = 0; i < tokens; i++) tec_rans_encoder_clear(&encoders[i]);
    tec_rans_encoder_clear(&first.encoder);
    free(body.data);
    return status;
}

/* ---- chunks ------------------------------------------------------------------------------- */

/* A layout that can be coded: bands whose native samples would fall on each other are whole. */
static void make_layout(const work *w, const tec_replication *replication, tec_layout *out)
{
    tec_replication own = {{0}, {0}, {0}};
    if (replication) own = *replication;
    tec_layout_make(out, w->chunk.height, w->chunk.width, w->coder->bands.bands, &own);
    int changed = 0;
    for (size_t b = 0; b < out->bands; b++) {
        const tec_size grid = out->grid[out->entry[b]];
        if (!own.kind[b] || (tec_axis_fits(out->rows[b], out->entry[b], grid.h) &&
                             tec_axis_fits(out->columns[b], out->entry[b], grid.w)))
            continue;
        own.kind[b] = 0;
        changed = 1;
    }
    if (changed)
        tec_layout_make(out, w->chunk.height, w->chunk.width, w->coder->bands.bands, &own);
}

/* Whether a reader would take it: classes that there are, phases less than their factors. */
static int is_replication(const tec_replication *r, size_t bands)
{
    for (size_t b = 0; b < bands; b++) {
        const unsigned kind = r->kind[b];
        if (kind > 3) return 0;
        if (kind && (r->row[kind] >= TEC_FACTOR[kind] || r->column[kind] >= TEC_FACTOR[kind]))
            return 0;
    }
    return 1;
}

static int is_native(const tec_layout *layout)
{
    for (size_t b = 0; b < layout->bands; b++)
        if (layout->replication.kind[b]) return 1;
    return 0;
}

static void write_front(work *w, const uint8_t *has_data, buffer *out, uint32_t *symbols)
{
    const size_t dates = w->chunk.dates, bands = w->coder->bands.bands;
    size_t there = 0, first = dates;
    int native = 0, differ = 0;
    for (size_t t = 0; t < dates; t++) {
        if (!has_data[t]) continue;
        if (first == dates) first = t;
        there++;
        native |= is_native(&w->layouts[t]);
        differ |= !tec_layout_equal(&w->layouts[t], &w->layouts[first]);
    }
    const int kind = !native ? 0 : differ ? 2 : 1;
    const uint8_t flags = (uint8_t)((there < dates ? BITMAP : 0) |
                                    (w->flags & TEC_ROTATE ? LISTS : 0) | LAYOUTS * kind);
    append(out, &flags, 1);
    for (size_t t = 0; there < dates && t < dates; t += 8) {
        uint8_t byte = 0;
        for (size_t i = 0; i < 8 && t + i < dates; i++) byte |= (uint8_t)(!!has_data[t + i] << i);
        append(out, &byte, 1);
    }
    for (size_t t = first; kind && t < dates; t++) {
        uint8_t bytes[TEC_LAYOUT_BYTES];
        if (!has_data[t]) continue;
        append(out, bytes, tec_layout_write(bytes, bands, &w->layouts[t].replication));
        if (kind == 1) break;
    }
    *symbols = 0;
    for (size_t t = 0; t < dates; t++) {
        if (!has_data[t]) continue;
        append_varint(out, w->streams[t].size);
        append_u32(out, w->streams[t].symbols);
        if (!out->failed) *symbols = tec_crc32c(*symbols, out->data + out->size - 4, 4);
    }
    append(out, w->body.data, w->body.size);
}

static tec_status encode_dates(work *w, const int32_t *samples, const uint8_t *has_data,
                               const tec_replication *replication, int32_t *decoded)
{
    for (size_t t = 0; t < w->chunk.dates; t++) {
        if (!has_data[t]) continue;
        const size_t at = t * samples_of(w);
        int32_t *picture = decoded ? decoded + at : NULL;
        make_layout(w, replication ? &replication[t] : NULL, &w->layouts[t]);
        const tec_kind kind = w->coder->model->kind;
        const tec_status status =
            (kind == TEC_TT        ? encode_twice
             : kind == TEC_FLEXTEC ? encode_passes
                                   : encode_once)(w, samples + at, &w->layouts[t], t, picture);
        if (status) {
            w->error->date = (int32_t)t;
            return status;
        }
    }
    return TEC_OK;
}

tec_status tec_encode(const tec_coder *coder, tec_chunk chunk, const int32_t *samples,
                      const uint8_t *has_data, const tec_replication *replication, unsigned flags,
                      tec_bytes *out, uint32_t *symbols, int32_t *decoded, tec_error *error)
{
    work w = {.coder = coder, .chunk = chunk, .flags = flags, .error = error};
    buffer whole = {0};
    size_t there = 0;
    *error = (tec_error){TEC_OK, NULL, NULL, 0, -1, -1};
    *out = (tec_bytes){NULL, 0};
    if (chunk.rate > TEC_MOST_RATE || !chunk.dates || !chunk.height || !chunk.width)
        return tec_fail(error, TEC_BAD_ARGUMENT, "a rate index or shape", NULL, 0);
    if (coder->model->kind == TEC_FLEXTEC && (!chunk.tokens || chunk.tokens > TEC_TOKENS))
        return tec_fail(error, TEC_BAD_ARGUMENT, "a number of tokens", "1 to 16", chunk.tokens);
    for (size_t t = 0; replication && t < chunk.dates; t++)
        if (!is_replication(&replication[t], coder->bands.bands))
            return tec_fail(error, TEC_BAD_ARGUMENT, "a replication",
                            "classes 0 to 3, phases less than their factors", (int64_t)t);
    uint8_t *dates = calloc(chunk.dates, 1);
    w.layouts = calloc(chunk.dates, sizeof *w.layouts);
    w.streams = calloc(chunk.dates, sizeof *w.streams);
    tec_status status = dates && w.layouts && w.streams ? TEC_OK : no_memory(&w);
    for (size_t t = 0; !status && t < chunk.dates; t++) {
        dates[t] = has_data ? !!has_data[t] : 1;
        there += dates[t];
    }
    if (!status && !there)
        status = tec_fail(error, TEC_BAD_ARGUMENT, "no date with data", "at least one", 0);
    if (!status) status = encode_dates(&w, samples, dates, replication, decoded);
    if (!status) {
        write_front(&w, dates, &whole, symbols);
        if (whole.failed)
            status = no_memory(&w);
        else
            *out = (tec_bytes){whole.data, whole.size};
    }
    if (status) free(whole.data);
    free(w.body.data);
    free(w.layouts);
    free(w.streams);
    free(dates);
    tec_arena_free(&w.arena);
    tec_arena_free(&w.other);
    tec_arena_free(&w.past.arena);
    tec_flex_free(&w.flex);
    return status;
}

/* Reading a date of mini flextec, any number of tokens. FORMAT.md 12. */
#include <string.h>

#include "flextec.h"
#include "reading.h"
#include "varint.h"

static tec_status corrupt(tec_error *error, const char *what, int64_t found)
{
    return tec_fail(error, TEC_CORRUPT, what, NULL, found);
}

static tec_status open_tokens(const uint8_t *data, size_t size, unsigned tokens,
                              tec_rans_decoder decoders[TEC_TOKENS], tec_error *error)
{
    tec_bytes_reader r = {data, data + size};
    int64_t sizes[TEC_TOKENS];
    for (unsigned i = 0; i < tokens; i++)
        if ((sizes[i] = tec_read_varint(&r, size)) < 0)
            return corrupt(error, "sizes of tokens that are cut off", i);
    for (unsigned i = 0; i < tokens; i++) {
        if (r.end - r.at < sizes[i]) return corrupt(error, "a token that is cut off", i);
        if (tec_rans_open(&decoders[i], r.at, (size_t)sizes[i]))
            return corrupt(error, "a token that no encoder wrote", i);
        r.at += sizes[i];
    }
    return r.at == r.end ? TEC_OK : corrupt(error, "bytes behind the last token", r.end - r.at);
}

/* ---- the low-pass ------------------------------------------------------------------------- */

static tec_status read_first_low(tec_flex *flex, tec_pass_walk *own, int lists)
{
    tec_walk *walk = &own->walk;
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const unsigned octave = walk->octave, rate = flex->rate + 16 * own->missing;
    tec_status status = tec_read_spectrum(walk, TEC_LOW, lists);
    if (status) return status;
    flex->spectra[TEC_LOW] = *walk->spectrum;
    walk->octave = (rate < TEC_MOST_RATE ? rate : TEC_MOST_RATE) / 16;
    walk->quiet = 1;
    for (size_t k = 0; k < walk->layout->count[TEC_LOW]; k++) {
        const tec_plane plane = {TEC_LOW, k, 0, size};
        int32_t *q = own->low + k * size.h * size.w;
        if ((status = tec_read_plane(walk, plane))) return status;
        if (walk->fields[TEC_LOW].some[k][0])
            memcpy(q, walk->integers, size.h * size.w * sizeof *q);
        else
            memset(q, 0, size.h * size.w * sizeof *q);
        tec_low_restore(q, size);
        tec_note(walk, q, size.h * size.w);
    }
    walk->quiet = 0;
    walk->octave = octave;
    return TEC_OK;
}

static tec_status read_digits(tec_pass_walk *own, const tec_pass_walk *last)
{
    tec_walk *walk = &own->walk;
    const tec_rans_tables *tables = walk->model->context.tables;
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const size_t plane = size.h * size.w;
    for (size_t k = 0; k < walk->layout->count[TEC_LOW]; k++) {
        const int32_t *was = last->low + k * plane;
        int32_t *now = own->low + k * plane;
        const int32_t row = tec_low_flag_row(own, last, k);
        size_t zeros = 0, some = 0, next = 0;
        for (size_t i = 0; i < plane; i++)
            if (!was[i]) walk->rows[zeros++] = row;
        tec_status status = tec_pull(walk, tables, walk->rows, walk->symbols, zeros);
        if (status) return status;
        for (size_t i = 0; i < plane; i++) {
            const int32_t flag = was[i] ? 1 : walk->symbols[next++];
            if (flag & ~1) return corrupt(walk->error, "a flag of the low-pass", flag);
            now[i] = flag;
            some += (size_t)flag;
        }
        for (size_t i = 0; i < some; i++) walk->rows[i] = TEC_RANS_UNIFORM + 1;
        if ((status = tec_pull(walk, tables, walk->rows, walk->symbols, some))) return status;
        next = 0;
        for (size_t i = 0; i < plane; i++) {
            if (!now[i]) continue;
            const int32_t bit = walk->symbols[next++];
            if (was[i] > TEC_COEFFICIENT_LIMIT || was[i] < -TEC_COEFFICIENT_LIMIT)
                return corrupt(walk->error, "an integer of the low-pass", was[i]);
            now[i] = !was[i] ? 1 - 2 * bit : was[i] > 0 ? 2 * was[i] + bit : 2 * was[i] - bit;
        }
        tec_note(walk, now, plane);
    }
    return TEC_OK;
}

static tec_status read_low(tec_flex *flex, tec_pass_walk *own, const tec_pass_walk *last, int lists)
{
    const tec_layout *layout = own->walk.layout;
    const tec_size size = layout->plane[TEC_LOW][0];
    tec_status status = TEC_OK;
    if (!last)
        status = read_first_low(flex, own, lists);
    else if (own->missing == last->missing)
        memcpy(own->low, last->low, layout->count[TEC_LOW] * size.h * size.w * sizeof *own->low);
    else
        status = read_digits(own, last);
    if (status) return status;
    own->walk.spectrum = &flex->spectra[TEC_LOW];
    return tec_pass_low(own);
}

/* ---- details ------------------------------------------------------------------------------ */

static tec_status choose_digits(void *state, const tec_choice *c, int32_t *q)
{
    tec_walk *walk = state;
    const tec_status status =
        tec_pull(walk, walk->model->context.tables, c->row, walk->symbols, c->count);
    if (status) return status;
    if (tec_pass_refine(c->before, walk->symbols, c->count, q))
        return corrupt(walk->error, "a refinement that is no binary digit", 0);
    for (size_t i = 0; i < c->count; i++)
        if (q[i] > TEC_COEFFICIENT_LIMIT || q[i] < -TEC_COEFFICIENT_LIMIT)
            return corrupt(walk->error, "an integer", q[i]);
    tec_note(walk, q, c->count);
    return TEC_OK;
}

static tec_status read_later(tec_pass_walk *own, tec_plane p)
{
    tec_walk *walk = &own->walk;
    const size_t blocks = tec_blocks(p.size.h) * tec_blocks(p.size.w);
    tec_mark mark = tec_arena_mark(&own->arena);
    uint8_t *unknown = tec_take(&own->arena, blocks, 1);
    if (!unknown) return tec_fail(walk->error, TEC_NO_MEMORY, "no memory", NULL, 0);
    tec_plane_expect(walk, p);
    const size_t count = tec_unknown_blocks(own, p, unknown);
    size_t next = 0, coded = 0;
    if (count && !tec_flag_rows(own, p, unknown, count, walk->rows))
        return tec_fail(walk->error, TEC_NO_MEMORY, "no memory", NULL, 0);
    tec_status status =
        tec_pull(walk, walk->model->context.tables, walk->rows, walk->symbols, count);
    if (status) return status;
    for (size_t i = 0; i < blocks; i++) {
        const int32_t flag = unknown[i] ? walk->symbols[next++] : 1;
        if (flag & ~1) return corrupt(walk->error, "a block flag", flag);
        walk->flags[i] = (uint8_t)flag;
        coded += (size_t)flag;
    }
    tec_arena_return(&own->arena, mark);
    const int shift = walk->shift[p.level][p.k][p.o];
    if (coded) {
        status = tec_detail_code(walk, p, shift, walk->flags, choose_digits, walk, walk->integers);
        if (status) return status;
        tec_blocks_set(own, p, walk->integers);
    }
    tec_fields_set(&walk->fields[p.level], p.k, p.o, walk->integers, p.size, coded > 0);
    return TEC_OK;
}

static tec_status read_level(tec_flex *flex, tec_pass_walk *own, const tec_pass_walk *last,
                             int level, int lists)
{
    tec_walk *walk = &own->walk;
    tec_status status;
    if (!last) {
        if ((status = tec_read_spectrum(walk, level, lists))) return status;
        flex->spectra[level] = *walk->spectrum;
    }
    walk->spectrum = &flex->spectra[level];
    if (!tec_level_enter(walk, level) || (last && !tec_blocks_enter(own, last, level)))
        return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for a level", NULL, 0);
    for (size_t k = 0; k < walk->layout->count[level]; k++)
        for (size_t o = 0; o < 3; o++) {
            const tec_plane plane = {level, k, o, walk->layout->plane[level][o]};
            if (!plane.size.h || !plane.size.w) continue;
            status = last ? read_later(own, plane) : tec_read_detail(walk, plane);
            if (status) return status;
        }
    return TEC_OK;
}

static tec_status read_pass(tec_flex *flex, int pass, tec_rans_decoder *tokens, unsigned used,
                            int lists, int last_pass, unsigned wanted, int32_t *out)
{
    tec_pass_walk *own = tec_pass_of(flex, pass);
    const tec_pass_walk *last = pass ? tec_pass_of(flex, pass + 1) : NULL;
    tec_walk *walk = &own->walk;
    walk->decoder = &tokens[0];
    if (!pass && !tec_level_enter(walk, TEC_LOW))
        return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for a level", NULL, 0);
    tec_status status = read_low(flex, own, last, lists);
    if (status) return status;
    if (last_pass && wanted == TEC_LOW && out) tec_show(walk, TEC_LOW, walk->under, wanted, out);
    const int finest = last_pass ? (int)wanted : 0;
    for (int l = TEC_LEVELS - 1; l >= finest && walk->layout->count[l]; l--) {
        const int coded = (unsigned)tec_token_of(l) < used;
        walk->error->level = l;
        walk->decoder = &tokens[tec_token_of(l)];
        if (coded && (status = read_level(flex, own, last, l, lists))) return status;
        if (!coded) { /* its spectrum may be unknown, and is not needed */
            walk->spectrum = &flex->spectra[l];
        }
        if ((status = tec_pass_leave(own, last, l, coded, last_pass, wanted, out))) return status;
    }
    return TEC_OK;
}

tec_status tec_flex_decode(tec_flex *flex, const tec_coder *coder, const tec_layout *layout,
                           unsigned rate, const uint8_t *data, size_t size, int lists,
                           unsigned tokens, unsigned used, unsigned level, int32_t *out,
                           uint32_t *crc, tec_error *error)
{
    tec_rans_decoder decoders[TEC_TOKENS];
    tec_status status = open_tokens(data, size, tokens, decoders, error);
    if (status) return status;
    const int passes = (int)(used + 3) / 4;
    flex->rate = rate;
    for (int pass = 0; pass < passes; pass++) {
        const unsigned first = 4 * (unsigned)pass, some = used - first < 4 ? used - first : 4;
        if (!tec_pass_begin(flex, pass, coder, layout, error))
            return tec_fail(error, TEC_NO_MEMORY, "no memory for a pass", NULL, 0);
        status = read_pass(flex, pass, decoders + first, some, lists, pass == passes - 1, level,
                           out);
        if (status) return status;
        *crc = tec_pass_of(flex, pass)->walk.crc;
    }
    for (unsigned i = 0; level == 0 && i < used; i++)
        if (tec_rans_close(&decoders[i]))
            return corrupt(error, "a token with something behind its symbols", i);
    return TEC_OK;
}

/* Writing a date of mini flextec: decided on as elic decides, then digit by digit, the last digits
 * anew under the rows that they get here. */
#include <math.h>
#include <string.h>

#include "encode.h"
#include "flextec.h"
#include "reading.h"


typedef struct {
    tec_flex *flex;
    tec_writer *first;
    tec_pass_walk *own;
    const tec_pass_walk *last;
    tec_rans_encoder *tokens; /* of this pass */
    int deciding;             /* the last digits */
    /* Of the plane that is coded: */
    tec_plane plane;
    const int32_t *known;  /* symbols (plane) */
    const int32_t *values; /* coefficients (plane), in DN */
    int32_t *symbols, *rows, *log;
    size_t recorded, seen;
} passing;

static tec_status no_memory(const passing *p)
{
    return tec_fail(p->own->walk.error, TEC_NO_MEMORY, "no memory for a pass", NULL, 0);
}

static int32_t truncated(int32_t q, int digits)
{
    return q < 0 ? -(-q >> digits) : q >> digits;
}

/* ---- symbols ------------------------------------------------------------------------------ */

/* Notes what is coded with what; raw bits of a phase stand behind its symbols. */
static void record(passing *p, const tec_choice *c, const int32_t *symbols, const int32_t *q)
{
    for (size_t i = 0; i < c->count; i++) {
        const int32_t middle = symbols[i] - c->base[i] + ((1 << c->raw[i]) >> 1);
        p->symbols[p->recorded] = middle >> c->raw[i];
        p->rows[p->recorded++] = c->row[i];
    }
    for (size_t i = 0; i < c->count; i++) {
        if (!c->raw[i]) continue;
        const int32_t middle = symbols[i] - c->base[i] + ((1 << c->raw[i]) >> 1);
        p->symbols[p->recorded] = middle & ((1 << c->raw[i]) - 1);
        p->rows[p->recorded++] = TEC_RANS_UNIFORM + c->raw[i];
    }
    memcpy(p->log + p->seen, q, c->count * sizeof *q);
    p->seen += c->count;
}

static void forget(passing *p) { p->recorded = p->seen = 0; }

static double cost_of(const passing *p, double exact, int32_t before, int32_t symbol, int32_t row,
                      float bits)
{
    const tec_context *c = &p->own->walk.model->context;
    const size_t later = (size_t)p->own->walk.pass - 1;
    const int32_t n = (int32_t)c->rows, q = !before ? symbol
                                            : before > 0 ? 2 * before + symbol
                                                         : 2 * before - symbol;
    const int32_t offset =
        row >= 2 * n
            ? c->digit_offsets[(later * c->digit_rows + (size_t)(row - 2 * n)) * 2 + (q & 1)] *
                  (q < 0 ? -1 : 1)
            : c->zero_offsets[(later * c->rows + (size_t)(row - n)) * 3 + (size_t)(q + 1)];
    const double error = exact - (q + offset / 64.0);
    return error * error + TEC_DETAIL_PRICE * bits;
}

/* The cheaper of two symbols: 0, or 1 more in magnitude. What was 0 and lies within half a step
 * stays 0. */
static tec_status decide_digits(passing *p, const tec_choice *c, int32_t *symbols)
{
    const tec_walk *walk = &p->own->walk;
    const tec_prices prices = walk->model->context.prices;
    const double unit = (double)TEC_STEP_UNIT / walk->step[p->plane.level][p->plane.o];
    for (size_t i = 0; i < c->count; i++) {
        const double exact = p->values[c->flat[i]] * unit;
        const int32_t before = c->before[i], row = c->row[i];
        const int32_t some[2] = {0, !before && exact < 0 ? -1 : 1}, rows[2] = {row, row};
        float bits[2];
        symbols[i] = 0;
        if (!before && exact > -0.5 && exact < 0.5) continue;
        if (tec_price_symbols(prices, some, rows, 2, bits))
            return tec_fail(walk->error, TEC_BAD_WEIGHTS, "a row outside of tables", NULL, 0);
        if (cost_of(p, exact, before, some[1], row, bits[1]) <
            cost_of(p, exact, before, 0, row, bits[0]))
            symbols[i] = some[1];
    }
    return TEC_OK;
}

static tec_status choose(void *state, const tec_choice *c, int32_t *q)
{
    passing *p = state;
    tec_walk *walk = &p->own->walk;
    int32_t *symbols = walk->symbols;
    tec_status status = TEC_OK;
    if (p->deciding && c->before && walk->step[p->plane.level][p->plane.o] != TEC_STEP_UNIT)
        status = decide_digits(p, c, symbols);
    else
        for (size_t i = 0; i < c->count; i++) symbols[i] = p->known[c->flat[i]];
    if (status) return status;
    if (!c->before)
        memcpy(q, symbols, c->count * sizeof *q);
    else if (tec_pass_refine(c->before, symbols, c->count, q))
        return tec_fail(walk->error, TEC_BAD_ARGUMENT, "a digit that is none", NULL, 0);
    record(p, c, symbols, q);
    return TEC_OK;
}

/* ---- planes ------------------------------------------------------------------------------- */

/* Shift that brings the sum of expected magnitudes to that of those found. */
static int matching_shift(const tec_walk *walk, tec_plane p, const int32_t *q, const uint8_t *flags)
{
    const size_t blocks = tec_blocks(p.size.h) * tec_blocks(p.size.w);
    double found = 0, expected = 0;
    for (size_t i = 0; i < p.size.h * p.size.w; i++) found += q[i] < 0 ? -(double)q[i] : q[i];
    for (size_t b = 0; b < blocks; b++) expected += flags[b] ? walk->sums[b] : 0;
    if (!(found > 0)) return 0;
    const double match = floor(4 * tec_log2(256 * found / (expected > 1 ? expected : 1)) + 0.5);
    return match < -TEC_SHIFT_LIMIT ? -TEC_SHIFT_LIMIT
                                    : match > TEC_SHIFT_LIMIT ? TEC_SHIFT_LIMIT : (int)match;
}

static tec_status write_first(passing *p, const int32_t *q)
{
    tec_walk *walk = &p->own->walk;
    tec_rans_encoder *to = &p->tokens[tec_token_of(p->plane.level)];
    const size_t coded = tec_flag_blocks(q, p->plane.size, walk->flags);
    tec_plane_expect(walk, p->plane);
    const int shift = matching_shift(walk, p->plane, q, walk->flags);
    tec_status status = tec_write_outline(walk, to, p->plane, shift, walk->flags);
    forget(p);
    p->known = q;
    if (!status && coded)
        status = tec_detail_code(walk, p->plane, shift, walk->flags, choose, p, walk->integers);
    if (status) return status;
    tec_note(walk, p->log, p->seen);
    tec_fields_set(&walk->fields[p->plane.level], p->plane.k, p->plane.o, q, p->plane.size,
                   coded > 0);
    return tec_push(walk, to, walk->model->context.tables, p->symbols, p->rows, p->recorded);
}

/* What this pass says of integers, of which the pass before knew less. */
static void new_digits(const passing *p, const int32_t *q, int32_t *symbols)
{
    const tec_neighborhood *last = &p->last->walk.levels[p->plane.level];
    const int32_t *before = last->q + (p->plane.k * 3 + p->plane.o) * last->numbers;
    const tec_size size = p->plane.size;
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++) {
            const int32_t now = q[y * size.w + x];
            const int32_t was = before[(y + 1) * last->pitch + x + 1];
            symbols[y * size.w + x] = was ? (now < 0 ? -now : now) & 1 : now;
        }
}

static size_t with_known(const uint8_t *unknown, size_t blocks, uint8_t *flags)
{
    size_t coded = 0;
    for (size_t b = 0; b < blocks; b++) coded += flags[b] |= !unknown[b];
    return coded;
}

static tec_status write_later(passing *p, const int32_t *q)
{
    tec_walk *walk = &p->own->walk;
    tec_rans_encoder *to = &p->tokens[tec_token_of(p->plane.level)];
    const tec_size size = p->plane.size;
    const size_t plane = size.h * size.w, blocks = tec_blocks(size.h) * tec_blocks(size.w);
    const tec_rans_tables *tables = walk->model->context.tables;
    const int shift = walk->shift[p->plane.level][p->plane.k][p->plane.o];
    tec_mark mark = tec_arena_mark(&p->own->arena);
    uint8_t *unknown = tec_take(&p->own->arena, blocks, 1);
    uint8_t *kept = tec_take(&p->own->arena, blocks, 1);
    int32_t *digits = tec_take(&p->own->arena, plane, sizeof *digits);
    int32_t *found = walk->integers;
    if (!unknown || !kept || !digits) return no_memory(p);
    tec_plane_expect(walk, p->plane);
    const size_t count = tec_unknown_blocks(p->own, p->plane, unknown);
    tec_flag_blocks(q, size, walk->flags);
    size_t coded = with_known(unknown, blocks, walk->flags);
    new_digits(p, q, digits);
    p->known = digits;
    forget(p);
    tec_status status = TEC_OK;
    if (coded) {
        status = tec_detail_code(walk, p->plane, shift, walk->flags, choose, p, found);
        if (status) return status;
        tec_flag_blocks(found, size, kept);
        coded = with_known(unknown, blocks, kept);
        if (memcmp(kept, walk->flags, blocks)) { /* a flag says whether its block is all zero */
            const int deciding = p->deciding;
            memcpy(walk->flags, kept, blocks);
            new_digits(p, found, digits);
            forget(p);
            p->deciding = 0;
            status = tec_detail_code(walk, p->plane, shift, walk->flags, choose, p, found);
            p->deciding = deciding;
            if (status) return status;
        }
    }
    if (count) {
        size_t next = 0;
        if (!tec_flag_rows(p->own, p->plane, unknown, count, walk->rows)) return no_memory(p);
        for (size_t b = 0; b < blocks; b++)
            if (unknown[b]) walk->symbols[next++] = walk->flags[b];
        if ((status = tec_push(walk, to, tables, walk->symbols, walk->rows, count))) return status;
    }
    tec_note(walk, p->log, p->seen);
    if (coded) tec_blocks_set(p->own, p->plane, found);
    tec_fields_set(&walk->fields[p->plane.level], p->plane.k, p->plane.o, found, size, coded > 0);
    tec_arena_return(&p->own->arena, mark);
    return tec_push(walk, to, tables, p->symbols, p->rows, p->recorded);
}

/* Integers of a plane that all tokens give, to the precision of this pass. */
static void integers_of(const passing *p, int32_t *q)
{
    const tec_neighborhood *whole = &p->first->walk.levels[p->plane.level];
    const int32_t *from = whole->q + (p->plane.k * 3 + p->plane.o) * whole->numbers;
    const tec_size size = p->plane.size;
    const int digits = TEC_PASSES - 1 - p->own->walk.pass;
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++)
            q[y * size.w + x] = truncated(from[(y + 1) * whole->pitch + x + 1], digits);
}

static tec_status write_level(passing *p, int level, int lists)
{
    tec_walk *walk = &p->own->walk;
    const tec_layout *layout = walk->layout;
    tec_status status;
    if (!p->last) {
        status = tec_write_spectrum(walk, &p->tokens[tec_token_of(level)], &p->first->analysis, level,
                                    lists);
        if (status) return status;
        p->flex->spectra[level] = *walk->spectrum;
    }
    walk->spectrum = &p->flex->spectra[level];
    if (!tec_level_enter(walk, level) || (p->last && !tec_blocks_enter(p->own, p->last, level)))
        return no_memory(p);
    tec_mark mark = tec_arena_mark(&p->own->arena);
    const tec_size low = layout->low[level];
    int32_t *q = tec_take(&p->own->arena, low.h * low.w, sizeof *q);
    if (!q) return no_memory(p);
    for (size_t k = 0; k < layout->count[level]; k++)
        for (size_t o = 0; o < 3; o++) {
            p->plane = (tec_plane){level, k, o, layout->plane[level][o]};
            const size_t plane = p->plane.size.h * p->plane.size.w;
            if (!plane) continue;
            integers_of(p, q);
            p->values = p->first->analysis.detail[level][o] + k * plane;
            status = p->last ? write_later(p, q) : write_first(p, q);
            if (status) return status;
        }
    tec_arena_return(&p->own->arena, mark);
    return TEC_OK;
}

/* ---- the low-pass ------------------------------------------------------------------------- */

static tec_status write_first_low(passing *p, int lists)
{
    tec_pass_walk *own = p->own;
    tec_walk *walk = &own->walk;
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const unsigned octave = walk->octave, rate = p->flex->rate + 16 * own->missing;
    int32_t *residuals = tec_take(&own->arena, size.h * size.w, sizeof *residuals);
    if (!residuals || !tec_level_enter(walk, TEC_LOW)) return no_memory(p);
    tec_status status =
        tec_write_spectrum(walk, &p->tokens[0], &p->first->analysis, TEC_LOW, lists);
    if (status) return status;
    p->flex->spectra[TEC_LOW] = *walk->spectrum;
    walk->octave = (rate < TEC_MOST_RATE ? rate : TEC_MOST_RATE) / 16;
    walk->quiet = 1;
    for (size_t k = 0; k < walk->layout->count[TEC_LOW]; k++) {
        const tec_plane plane = {TEC_LOW, k, 0, size};
        const int32_t *q = own->low + k * size.h * size.w;
        tec_low_predict(q, size, residuals);
        tec_plane_expect(walk, plane);
        const int shift = tec_decide(walk, plane, residuals, NULL, NULL, 0.1, &p->first->points,
                                     walk->integers);
        const size_t coded = tec_flag_blocks(residuals, size, walk->flags);
        status = tec_write_outline(walk, &p->tokens[0], plane, shift, walk->flags);
        if (!status && coded)
            status = tec_write_integers(walk, &p->tokens[0], plane, shift, walk->flags, residuals,
                                        p->symbols, p->rows);
        if (status) return status;
        tec_fields_set(&walk->fields[TEC_LOW], k, 0, residuals, size, coded > 0);
        tec_note(walk, q, size.h * size.w);
    }
    walk->quiet = 0;
    walk->octave = octave;
    return TEC_OK;
}

static tec_status write_digits(passing *p)
{
    tec_walk *walk = &p->own->walk;
    const tec_rans_tables *tables = walk->model->context.tables;
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const size_t plane = size.h * size.w;
    for (size_t k = 0; k < walk->layout->count[TEC_LOW]; k++) {
        const int32_t *was = p->last->low + k * plane, *now = p->own->low + k * plane;
        const int32_t row = tec_low_flag_row(p->own, p->last, k);
        size_t count = 0;
        for (size_t i = 0; i < plane; i++) {
            if (was[i]) continue;
            walk->rows[count] = row;
            walk->symbols[count++] = now[i] != 0;
        }
        tec_status status = tec_push(walk, &p->tokens[0], tables, walk->symbols, walk->rows, count);
        if (status) return status;
        count = 0;
        for (size_t i = 0; i < plane; i++) {
            if (!now[i]) continue;
            walk->rows[count] = TEC_RANS_UNIFORM + 1;
            walk->symbols[count++] = was[i] ? (now[i] < 0 ? -now[i] : now[i]) & 1 : now[i] < 0;
        }
        status = tec_push(walk, &p->tokens[0], tables, walk->symbols, walk->rows, count);
        if (status) return status;
        tec_note(walk, now, plane);
    }
    return TEC_OK;
}

static tec_status write_low(passing *p, int lists)
{
    tec_pass_walk *own = p->own;
    const tec_size size = own->walk.layout->plane[TEC_LOW][0];
    const size_t count = own->walk.layout->count[TEC_LOW] * size.h * size.w;
    for (size_t i = 0; i < count; i++)
        own->low[i] = truncated(p->first->low[i], (int)own->missing);
    tec_status status = TEC_OK;
    if (!p->last)
        status = write_first_low(p, lists);
    else if (own->missing != p->last->missing)
        status = write_digits(p);
    if (status) return status;
    own->walk.spectrum = &p->flex->spectra[TEC_LOW];
    return tec_pass_low(own);
}

/* ---- dates -------------------------------------------------------------------------------- */

static tec_status write_pass(passing *p, unsigned used, int last_pass, int lists, int32_t *decoded)
{
    const tec_layout *layout = p->own->walk.layout;
    tec_status status = write_low(p, lists);
    for (int l = TEC_LEVELS - 1; !status && l >= 0 && layout->count[l]; l--) {
        const int coded = (unsigned)tec_token_of(l) < used;
        if (coded)
            status = write_level(p, l, lists);
        else if (last_pass && !decoded)
            break;
        else
            p->own->walk.spectrum = &p->flex->spectra[l];
        if (!status) status = tec_pass_leave(p->own, p->last, l, coded, last_pass, 0, decoded);
    }
    return status;
}

tec_status tec_flex_encode(tec_flex *flex, tec_writer *first, unsigned rate, unsigned tokens,
                           tec_rans_encoder *encoders, int32_t *decoded, uint32_t *crc)
{
    tec_walk *walk = &first->walk;
    const int passes = (int)(tokens + 3) / 4;
    const int lists = first->lists;
    tec_status status = tec_date_encode(first, 0, NULL, NULL);
    if (status) return status;
    flex->rate = rate;
    for (int pass = 0; pass < passes && !status; pass++) {
        const unsigned begin = 4 * (unsigned)pass, some = tokens - begin < 4 ? tokens - begin : 4;
        if (!tec_pass_begin(flex, pass, walk->coder, walk->layout, walk->error))
            return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for a pass", NULL, 0);
        passing p = {
            .flex = flex,
            .first = first,
            .own = tec_pass_of(flex, pass),
            .last = pass ? tec_pass_of(flex, pass + 1) : NULL,
            .tokens = encoders + begin,
            .deciding = pass == TEC_PASSES - 1,
            .symbols = first->symbols,
            .rows = first->rows,
            .log = first->log,
        };
        status = write_pass(&p, some, pass == passes - 1, lists, decoded);
        *crc = p.own->walk.crc;
    }
    return status;
}

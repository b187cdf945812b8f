#include "flextec.h"

#include <math.h>
#include <string.h>

enum { LOW_WHOLE = 176, FEATURES = 11 };

unsigned tec_low_missing(unsigned rate, int pass)
{
    const unsigned later = (unsigned)(TEC_PASSES - 1 - pass);
    const unsigned some = rate < LOW_WHOLE ? (LOW_WHOLE - rate) / 16 : 0;
    return some < later ? some : later;
}

void tec_flex_free(tec_flex *flex)
{
    for (int i = 0; i < 2; i++) tec_arena_free(&flex->passes[i].arena);
}

/* ---- passes ------------------------------------------------------------------------------- */

static int take_seen(tec_pass_walk *own, const tec_layout *layout)
{
    own->seen.layout = layout;
    for (int l = 0; l < TEC_LEVELS; l++) {
        size_t details = 0;
        for (int o = 0; o < 3; o++) details += layout->plane[l][o].h * layout->plane[l][o].w;
        own->seen.under[l] =
            tec_take(&own->arena, layout->count[l] * layout->low[l].h * layout->low[l].w, 4);
        own->seen.detail[l] = tec_take_zeros(&own->arena, layout->count[l] * details, 4);
        if (!own->seen.under[l] || !own->seen.detail[l]) return 0;
    }
    return 1;
}

/* Levels that the pass before did not get to are all zero there, for the next one, too. */
static int take_levels(tec_pass_walk *own, const tec_layout *layout)
{
    for (int l = 0; l < TEC_LEVELS; l++) {
        tec_neighborhood *level = &own->walk.levels[l];
        level->n = layout->count[l];
        level->pitch = layout->low[l].w + 2;
        level->numbers = (layout->low[l].h + 2) * level->pitch;
        level->q = tec_take_zeros(&own->arena, level->n * 3 * level->numbers, 4);
        level->magnitude = tec_take_zeros(&own->arena, level->n * 3 * level->numbers, 4);
        if (!level->q || !level->magnitude) return 0;
    }
    return 1;
}

int tec_pass_begin(tec_flex *flex, int pass, const tec_coder *coder, const tec_layout *layout,
                   tec_error *error)
{
    tec_pass_walk *own = tec_pass_of(flex, pass), *last = tec_pass_of(flex, pass + 1);
    const int digits = TEC_PASSES - 1 - pass;
    const unsigned rate = flex->rate + 16 * (unsigned)digits;
    tec_arena_reset(&own->arena);
    if (!tec_walk_begin(&own->walk, coder, layout, rate < TEC_MOST_RATE ? rate : TEC_MOST_RATE,
                        &own->arena, error))
        return 0;
    tec_walk *walk = &own->walk;
    tec_steps(flex->rate, walk->step);
    for (int l = 0; l < TEC_LEVELS; l++)
        for (int o = 0; o < 3; o++) walk->step[l][o] *= 1 << digits;
    walk->passes = 1;
    walk->unit = !flex->rate;
    walk->pass = pass;
    walk->networks = coder->model->context.pass[pass];
    walk->last = pass ? &last->walk : NULL;
    walk->seen = pass ? &last->seen : NULL;
    own->missing = tec_low_missing(flex->rate, pass);
    if (pass) {
        memcpy(walk->shift, last->walk.shift, sizeof walk->shift);
        walk->crc = last->walk.crc;
    }
    const tec_size low = layout->plane[TEC_LOW][0];
    own->low = tec_take(&own->arena, layout->count[TEC_LOW] * low.h * low.w, sizeof *own->low);
    return own->low && take_seen(own, layout) && take_levels(own, layout);
}

/* ---- the low-pass ------------------------------------------------------------------------- */

/* Integers that lack digits stand for the middles of what they may become. */
tec_status tec_pass_low(tec_pass_walk *own)
{
    tec_walk *walk = &own->walk;
    const tec_layout *layout = walk->layout;
    const tec_size size = layout->plane[TEC_LOW][0];
    const size_t count = layout->count[TEC_LOW] * size.h * size.w;
    const int64_t step = walk->step[TEC_LOW][0];
    int32_t *values = tec_take(walk->arena, count, sizeof *values);
    if (!values) return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for a low-pass", NULL, 0);
    for (size_t i = 0; i < count; i++) {
        const int64_t q = own->low[i], magnitude = q < 0 ? -q : q;
        if (magnitude > TEC_COEFFICIENT_LIMIT)
            return tec_fail(walk->error, TEC_CORRUPT, "an integer of the low-pass", "up to 2^22", q);
        const int64_t doubled = (magnitude << (own->missing + 1)) + (1 << own->missing) - 1;
        const int64_t value = q ? tec_in_dn(32 * doubled, step) : 0;
        if (value > TEC_COEFFICIENT_LIMIT)
            return tec_fail(walk->error, TEC_CORRUPT, "a coefficient of the low-pass in DN",
                            "up to 2^22", value);
        values[i] = (int32_t)(q < 0 ? -value : value);
    }
    tec_low_leave(walk, values);
    return TEC_OK;
}

static unsigned size_bin(const int32_t *plane, size_t count, int times)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += plane[i] < 0 ? -(int64_t)plane[i] : plane[i];
    const int64_t mean = 256 * times * sum / (int64_t)count;
    return tec_scale_bin(mean < TEC_SCALE_LIMIT ? (int32_t)mean : TEC_SCALE_LIMIT - 1);
}

int32_t tec_low_flag_row(const tec_pass_walk *own, const tec_pass_walk *last, size_t k)
{
    const tec_size size = own->walk.layout->plane[TEC_LOW][0];
    const size_t plane = size.h * size.w;
    const int before = (int)size_bin(last->low + k * plane, plane, 1);
    const int other = (int)(k ? size_bin(own->low + (k - 1) * plane, plane, 1)
                              : size_bin(last->low, plane, 2));
    const int logit = (9 * before + 22 * other - 819) >> 6;
    return tec_flag_row(&own->walk.model->context, logit);
}

/* ---- blocks ------------------------------------------------------------------------------- */

static void add_blocks(const int32_t *q, tec_size size, size_t pitch, size_t across, int32_t *sums)
{
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++) {
            const int32_t v = q[y * pitch + x];
            sums[y / TEC_BLOCK * across + x / TEC_BLOCK] += v < 0 ? -v : v;
        }
}

int tec_blocks_enter(tec_pass_walk *own, const tec_pass_walk *last, int level)
{
    const tec_layout *layout = own->walk.layout;
    const tec_size low = layout->low[level];
    tec_block_sizes *b = &own->blocks[level];
    *b = (tec_block_sizes){
        .down = tec_blocks(low.h), .across = tec_blocks(low.w), .n = layout->count[level]};
    const size_t blocks = b->down * b->across, count = b->n * 3 * blocks;
    b->before = tec_take_zeros(&own->arena, count, sizeof(int32_t));
    b->now = tec_take_zeros(&own->arena, count, sizeof(int32_t));
    b->finer = tec_take_zeros(&own->arena, count, sizeof(int32_t));
    if (!b->before || !b->now || !b->finer) return 0;
    const tec_neighborhood *known = &last->walk.levels[level];
    for (size_t i = 0; i < b->n * 3; i++)
        add_blocks(known->q + i * known->numbers + known->pitch + 1, layout->plane[level][i % 3],
                   known->pitch, b->across, b->before + i * blocks);
    if (!level) return 1;
    /* Blocks of the finer level, two by two: its coefficients, sixteen by sixteen. */
    const tec_neighborhood *fine = &last->walk.levels[level - 1];
    for (size_t i = 0; i < layout->count[level - 1] * 3; i++) {
        const tec_size size = layout->plane[level - 1][i % 3];
        const int32_t *q = fine->q + i * fine->numbers + fine->pitch + 1;
        for (size_t y = 0; y < size.h; y++)
            for (size_t x = 0; x < size.w; x++) {
                const size_t row = y / (2 * TEC_BLOCK), column = x / (2 * TEC_BLOCK);
                const int32_t v = q[y * fine->pitch + x];
                if (row < b->down && column < b->across)
                    b->finer[i * blocks + row * b->across + column] += v < 0 ? -v : v;
            }
    }
    return 1;
}

size_t tec_unknown_blocks(const tec_pass_walk *own, tec_plane p, uint8_t *unknown)
{
    const tec_block_sizes *b = &own->blocks[p.level];
    const size_t down = tec_blocks(p.size.h), across = tec_blocks(p.size.w);
    const int32_t *before = b->before + (p.k * 3 + p.o) * b->down * b->across;
    size_t count = 0;
    for (size_t y = 0; y < down; y++)
        for (size_t x = 0; x < across; x++)
            count += unknown[y * across + x] = !before[y * b->across + x];
    return count;
}

void tec_blocks_set(tec_pass_walk *own, tec_plane p, const int32_t *q)
{
    tec_block_sizes *b = &own->blocks[p.level];
    add_blocks(q, p.size, p.size.w, b->across, b->now + (p.k * 3 + p.o) * b->down * b->across);
}

/* Sums over the direct (0) and the diagonal (1) neighbors of a block, of sizes and of whether there
 * is anything. */
static void look_around(const int32_t *sums, const tec_block_sizes *b, size_t y, size_t x,
                        int32_t some[2], int32_t amount[2])
{
    some[0] = some[1] = amount[0] = amount[1] = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
            if ((!dy && !dx) || (dy < 0 && !y) || (dx < 0 && !x)) continue;
            const size_t row = y + (size_t)dy, column = x + (size_t)dx;
            if (row >= b->down || column >= b->across) continue;
            const int32_t v = sums[row * b->across + column];
            some[dy && dx] += v > 0;
            amount[dy && dx] += v;
        }
}

static int32_t parents_of(const tec_pass_walk *own, tec_plane p, size_t by, size_t bx)
{
    if (p.level == TEC_LEVELS - 1) return 0;
    const tec_neighborhood *up = &own->walk.levels[p.level + 1];
    const int32_t *plane = up->magnitude + (p.k * 3 + p.o) * up->numbers + up->pitch + 1;
    int32_t sum = 0;
    for (size_t y = by * TEC_BLOCK; y < (by + 1) * TEC_BLOCK && y < p.size.h; y++)
        for (size_t x = bx * TEC_BLOCK; x < (bx + 1) * TEC_BLOCK && x < p.size.w; x++)
            sum += plane[y / 2 * up->pitch + x / 2];
    return sum;
}

int tec_flag_rows(tec_pass_walk *own, tec_plane p, const uint8_t *unknown, size_t count,
                  int32_t *rows)
{
    tec_walk *walk = &own->walk;
    const tec_context *context = &walk->model->context;
    const tec_block_sizes *b = &own->blocks[p.level];
    const size_t down = tec_blocks(p.size.h), across = tec_blocks(p.size.w);
    const size_t blocks = b->down * b->across, plane = (p.k * 3 + p.o) * blocks;
    const int shift = walk->shift[p.level][p.k][p.o];
    const tec_companding c = context->integers;
    tec_mark mark = tec_arena_mark(&own->arena);
    int16_t *features = tec_take(&own->arena, count, FEATURES * sizeof *features), *f = features;
    float *out = tec_take(&own->arena, count, sizeof *out);
    if (!features || !out) return 0;
#define COMPANDED(x) c.value[(size_t)(x) < c.count ? (size_t)(x) : c.count - 1]
    for (size_t y = 0; y < down; y++)
        for (size_t x = 0; x < across; x++) {
            if (!unknown[y * across + x]) continue;
            const size_t at = y * b->across + x;
            int32_t some[2], amount[2], all = 0, others = 0, done = 0, earlier = 0;
            look_around(b->before + plane, b, y, x, some, amount);
            for (size_t j = 0; j < b->n; j++) all += b->before[(j * 3 + p.o) * blocks + at];
            for (size_t j = 0; j < 3; j++) others += b->before[(p.k * 3 + j) * blocks + at];
            for (size_t j = 0; j < p.k; j++) done += b->now[(j * 3 + p.o) * blocks + at];
            for (size_t j = 0; j < p.o; j++) earlier += b->now[(p.k * 3 + j) * blocks + at];
            const int64_t s = tec_times_power(walk->sums[y * across + x], shift) >> 3;
            *f++ = context->scales.value[s < TEC_SCALE_LIMIT ? s : TEC_SCALE_LIMIT - 1];
            *f++ = (int16_t)(16 * (some[0] - 2));
            *f++ = (int16_t)(16 * (some[1] - 2));
            *f++ = COMPANDED(amount[0]);
            *f++ = COMPANDED(all);
            *f++ = COMPANDED(others);
            *f++ = COMPANDED(b->finer[plane + at]);
            *f++ = COMPANDED(done);
            *f++ = p.k ? COMPANDED(b->now[plane - 3 * blocks + at]) : COMPANDED(0);
            *f++ = COMPANDED(earlier);
            *f++ = COMPANDED(parents_of(own, p, y, x));
        }
#undef COMPANDED
    tec_network_run(&context->flags[p.level][p.o], p.k, walk->rate, walk->pass - 1, features, count,
                    out);
    for (size_t i = 0; i < count; i++)
        rows[i] = tec_flag_row(context, (int)floor(out[i] * (1.0 / 128) + 0.5));
    tec_arena_return(&own->arena, mark);
    return 1;
}

/* ---- levels ------------------------------------------------------------------------------- */

tec_status tec_pass_leave(tec_pass_walk *own, const tec_pass_walk *last, int level, int coded,
                          int last_pass, unsigned wanted, int32_t *out)
{
    tec_walk *walk = &own->walk;
    const tec_layout *layout = walk->layout;
    if (coded) {
        tec_level_bands(walk, level, &own->seen);
    } else { /* as the pass before knows it, if there is one */
        const int32_t *from = last ? last->seen.detail[level] : NULL;
        for (int o = 0; o < 3; o++) {
            const size_t count = layout->count[level] * layout->plane[level][o].h *
                                 layout->plane[level][o].w;
            walk->detail[o] = tec_take_zeros(walk->arena, count, sizeof(int32_t));
            if (!walk->detail[o]) return tec_fail(walk->error, TEC_NO_MEMORY, "no memory", NULL, 0);
            if (from && count) memcpy(walk->detail[o], from, count * sizeof(int32_t));
            from = from ? from + count : NULL;
        }
    }
    if (!level && !last_pass) return TEC_OK; /* nothing is made of it */
    int32_t *planes = tec_level_merge(walk, level);
    if (!planes || (level && !tec_level_cut(walk, level, planes)))
        return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for planes", NULL, 0);
    if (last_pass && out) tec_show(walk, level, planes, wanted, out);
    return TEC_OK;
}

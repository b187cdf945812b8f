/* Details under a context model: surroundings of a level, coefficients phase by phase.
 * FORMAT.md 10 and 11. */
#include <math.h>
#include <string.h>

#include "../simd.h"
#include "walk.h"

enum { LOW_LIMIT = 1 << 24, REFERENCE_LIMIT = 1 << 16, RUN = 256 };
enum { LEAST_SCALE = -36, RAW_SCALE = 32, MOST_SCALE = 104, SCALES = MOST_SCALE - LEAST_SCALE + 1 };

/* ---- bands in steps ----------------------------------------------------------------------- */

TEC_MULTIVERSION
static void in_steps_run(const double *whole, size_t n, const int32_t *const *bands, size_t count,
                         double factor, double limit, int32_t *const *out)
{
    double x[TEC_MOST_BANDS][RUN], sum[RUN];
    for (size_t j = 0; j < n; j++)
        for (size_t p = 0; p < count; p++) x[j][p] = bands[j][p];
    for (size_t k = 0; k < n; k++) {
        for (size_t p = 0; p < count; p++) sum[p] = 0;
        for (size_t j = 0; j < n; j++)
            for (size_t p = 0; p < count; p++) sum[p] += whole[k * n + j] * x[j][p];
        for (size_t p = 0; p < count; p++) {
            const double z = floor(sum[p] * factor + 0.5);
            out[k][p] = (int32_t)(z > limit ? limit : z < -limit ? -limit : z);
        }
    }
}

void tec_in_steps(const tec_spectrum *s, const int32_t *const *bands, size_t count, int32_t step,
                  int32_t limit, int32_t *const *out)
{
    const double factor = 128 / (4096.0 * step);
    for (size_t at = 0; at < count; at += RUN) {
        const int32_t *in[TEC_MOST_BANDS];
        int32_t *to[TEC_MOST_BANDS];
        for (size_t k = 0; k < s->n; k++) {
            in[k] = bands[k] + at;
            to[k] = out[k] + at;
        }
        in_steps_run(s->whole, s->n, in, count - at < RUN ? count - at : RUN, factor, limit, to);
    }
}

/* Planes (n, size) of bands to components in eighths of a step, in the middle of planes with a
 * border, which are `apart` numbers from each other. */
static void into_border(const tec_spectrum *s, const int32_t *planes, tec_size size, int32_t step,
                        int32_t limit, int32_t *out, size_t apart, size_t pitch)
{
    const int32_t *in[TEC_MOST_BANDS];
    int32_t *to[TEC_MOST_BANDS];
    for (size_t y = 0; y < size.h; y++) {
        for (size_t k = 0; k < s->n; k++) {
            in[k] = planes + (k * size.h + y) * size.w;
            to[k] = out + k * apart + (y + 1) * pitch + 1;
        }
        tec_in_steps(s, in, size.w, step, limit, to);
    }
}

static void repeat_edges(int32_t *plane, tec_size size, size_t pitch)
{
    for (size_t y = 1; y <= size.h; y++) {
        int32_t *row = plane + y * pitch;
        row[0] = row[1];
        row[size.w + 1] = row[size.w];
    }
    memcpy(plane, plane + pitch, (size.w + 2) * sizeof *plane);
    memcpy(plane + (size.h + 1) * pitch, plane + size.h * pitch, (size.w + 2) * sizeof *plane);
}

/* ---- dates that are referred to ------------------------------------------------------------ */

/* Sum over the bands of the differences of two dates' planes. */
static void differences(const int32_t *a, const int32_t *b, size_t n, size_t count, int64_t *out)
{
    memset(out, 0, count * sizeof *out);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < count; i++) {
            const int64_t d = (int64_t)a[k * count + i] - b[k * count + i];
            out[i] += d < 0 ? -d : d;
        }
}

/* Sums over 3 x 3 places, edges repeated. */
static void sums_around(const int64_t *x, tec_size size, int64_t *rows, int64_t *out)
{
    for (size_t y = 0; y < size.h; y++) {
        const int64_t *own = x + y * size.w, *above = y ? own - size.w : own;
        const int64_t *below = y + 1 < size.h ? own + size.w : own;
        for (size_t i = 0; i < size.w; i++) rows[i] = above[i] + own[i] + below[i];
        for (size_t i = 0; i < size.w; i++)
            out[y * size.w + i] =
                rows[i ? i - 1 : 0] + rows[i] + rows[i + 1 < size.w ? i + 1 : i];
    }
}

/* The date that is most like this one, at every place: an index among the dates. */
static int most_similar(tec_walk *walk, int level, uint8_t *best)
{
    const tec_size size = walk->layout->low[level];
    const size_t count = size.h * size.w, n = walk->layout->count[level];
    int64_t *apart = tec_take(walk->arena, count, sizeof *apart);
    int64_t *around = tec_take(walk->arena, count, sizeof *around);
    int64_t *least = tec_take(walk->arena, count, sizeof *least);
    int64_t *rows = tec_take(walk->arena, size.w, sizeof *rows);
    if (!apart || !around || !least || !rows) return 0;
    memset(best, 0, count);
    for (size_t d = 0; d < walk->pasts; d++) {
        differences(walk->past[d]->under[level], walk->under, n, count, apart);
        sums_around(apart, size, rows, d ? around : least);
        for (size_t i = 0; d && i < count; i++)
            if (around[i] < least[i]) {
                least[i] = around[i];
                best[i] = (uint8_t)d;
            }
    }
    return 1;
}

static void pick(const tec_walk *walk, int level, size_t offset, int details, size_t n,
                 tec_size size, size_t pitch, const uint8_t *best, int32_t *out)
{
    const size_t count = size.h * size.w;
    for (size_t k = 0; k < n; k++)
        for (size_t y = 0; y < size.h; y++)
            for (size_t x = 0; x < size.w; x++) {
                const tec_visited *date = walk->past[best[y * pitch + x]];
                const int32_t *from = details ? date->detail[level] : date->under[level];
                const size_t at = k * count + y * size.w + x;
                out[at] = from[offset + at];
            }
}

/* What the reference holds: walk->levels[level].old and .change. */
static int refer_level(tec_walk *walk, int level)
{
    const tec_layout *layout = walk->layout;
    const tec_size low = layout->low[level];
    tec_neighborhood *own = &walk->levels[level];
    const size_t n = own->n, count = low.h * low.w;
    own->old = tec_take_zeros(walk->arena, n * 3 * own->numbers, sizeof(int32_t));
    own->change = tec_take(walk->arena, n * own->numbers, sizeof(int32_t));
    uint8_t *best = tec_take(walk->arena, count, 1);
    int32_t *planes = tec_take(walk->arena, n * count, sizeof *planes);
    if (!own->old || !own->change || !best || !planes || !most_similar(walk, level, best)) return 0;
    pick(walk, level, 0, 0, n, low, low.w, best, planes);
    into_border(walk->spectrum, planes, low, walk->step[level][0], LOW_LIMIT, own->change,
                own->numbers, own->pitch);
    for (size_t k = 0; k < n; k++)
        for (size_t y = 1; y <= low.h; y++)
            for (size_t x = 1; x <= low.w; x++) {
                const size_t at = k * own->numbers + y * own->pitch + x;
                own->change[at] = own->low[at] - own->change[at];
            }
    for (size_t k = 0; k < n; k++)
        repeat_edges(own->change + k * own->numbers, low, own->pitch);
    size_t offset = 0;
    for (int o = 0; o < 3; o++) {
        const tec_size size = layout->plane[level][o];
        if (!size.h || !size.w) continue;
        pick(walk, level, offset, 1, n, size, low.w, best, planes);
        into_border(walk->spectrum, planes, size, walk->step[level][o], REFERENCE_LIMIT,
                    own->old + (size_t)o * own->numbers, 3 * own->numbers, own->pitch);
        offset += n * size.h * size.w;
    }
    return 1;
}

/* ---- the pass before ----------------------------------------------------------------------- */

static inline int32_t size_of(int32_t x) { return x < 0 ? -x : x; }

/* Magnitudes of the pass before, summed over all components. */
static void sum_components(const tec_neighborhood *last, int32_t *every)
{
    memset(every, 0, 3 * last->numbers * sizeof *every);
    for (size_t k = 0; k < last->n; k++)
        for (size_t i = 0; i < 3 * last->numbers; i++)
            every[i] += last->magnitude[k * 3 * last->numbers + i];
}

/* Sums over the places (2y, 2x) to (2y + 1, 2x + 1) of the next finer level. */
static void sum_fours(const tec_neighborhood *fine, tec_neighborhood *own, tec_size size, size_t k,
                      size_t o)
{
    const int32_t *from = fine->magnitude + (k * 3 + o) * fine->numbers;
    const size_t rows = fine->numbers / fine->pitch;
    int32_t *to = own->finer + (k * 3 + o) * own->numbers;
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++) {
            int32_t sum = 0;
            for (size_t i = 0; i < 4; i++) {
                const size_t row = 2 * y + i / 2 + 1, column = 2 * x + i % 2 + 1;
                if (row < rows && column < fine->pitch) sum += from[row * fine->pitch + column];
            }
            to[(y + 1) * own->pitch + x + 1] = sum;
        }
}

static int refer_pass(tec_walk *walk, int level)
{
    const tec_layout *layout = walk->layout;
    const tec_neighborhood *last = walk->last->levels;
    tec_neighborhood *own = &walk->levels[level];
    const size_t n = own->n;
    own->old = tec_take_zeros(walk->arena, n * 3 * own->numbers, sizeof(int32_t));
    own->every = tec_take(walk->arena, 3 * own->numbers, sizeof(int32_t));
    if (!own->old || !own->every) return 0;
    sum_components(&last[level], own->every);
    if (level && layout->count[level - 1]) {
        own->finer = tec_take_zeros(walk->arena, n * 3 * own->numbers, sizeof(int32_t));
        if (!own->finer) return 0;
    }
    const int32_t *bands = walk->seen->detail[level];
    for (int o = 0; o < 3; o++) {
        const tec_size size = layout->plane[level][o];
        if (!size.h || !size.w) continue;
        into_border(walk->spectrum, bands, size, walk->step[level][o], REFERENCE_LIMIT,
                    own->old + (size_t)o * own->numbers, 3 * own->numbers, own->pitch);
        bands += n * size.h * size.w;
        for (size_t k = 0; own->finer && k < layout->count[level - 1]; k++)
            sum_fours(&last[level - 1], own, size, k, (size_t)o);
    }
    return 1;
}

/* ---- levels ------------------------------------------------------------------------------- */

/* Adds magnitudes of components that are complete to the sums over the components before. */
static void sum_up(tec_neighborhood *own, size_t components)
{
    const size_t count = 3 * own->numbers;
    for (; own->summed < components; own->summed++) {
        const int32_t *magnitude = own->magnitude + own->summed * count;
        for (size_t i = 0; i < count; i++) own->before[i] += magnitude[i];
    }
}

static void complete(tec_neighborhood *own)
{
    sum_up(own, own->n);
    for (size_t i = 0; i < own->numbers; i++)
        own->total[i] = own->before[i] + own->before[own->numbers + i] +
                        own->before[2 * own->numbers + i];
}

int tec_surround(tec_walk *walk, int level)
{
    tec_neighborhood *own = &walk->levels[level];
    const tec_size low = walk->layout->low[level];
    if (!walk->passes) { /* a pass has made room for all levels when it began */
        *own = (tec_neighborhood){.n = walk->layout->count[level], .pitch = low.w + 2};
        own->numbers = (low.h + 2) * own->pitch;
        own->q = tec_take_zeros(walk->arena, own->n * 3 * own->numbers, sizeof(int32_t));
        own->magnitude = tec_take_zeros(walk->arena, own->n * 3 * own->numbers, sizeof(int32_t));
    }
    own->before = tec_take_zeros(walk->arena, 3 * own->numbers, sizeof(int32_t));
    own->total = tec_take(walk->arena, own->numbers, sizeof(int32_t));
    own->low = tec_take(walk->arena, own->n * own->numbers, sizeof(int32_t));
    if (!own->q || !own->magnitude || !own->before || !own->total || !own->low) return 0;
    if (level < TEC_LEVELS - 1) complete(&walk->levels[level + 1]);
    into_border(walk->spectrum, walk->under, low, walk->step[level][0], LOW_LIMIT, own->low,
                own->numbers, own->pitch);
    for (size_t k = 0; k < own->n; k++) repeat_edges(own->low + k * own->numbers, low, own->pitch);
    if (walk->last) return refer_pass(walk, level);
    return !walk->pasts || refer_level(walk, level);
}

/* ---- places ------------------------------------------------------------------------------- */

/* Places of coded blocks, phase by phase; returns how many. */
static size_t find_places(const uint8_t *flags, tec_size size, size_t pitch, size_t above,
                          tec_scratch *s)
{
    static const size_t row[4] = {0, 1, 0, 1}, column[4] = {0, 1, 1, 0};
    const size_t across = tec_blocks(size.w);
    size_t next = 0;
    for (int phase = 0; phase < 4; phase++) {
        for (size_t y = row[phase]; y < size.h; y += 2) {
            const uint8_t *own = flags + y / TEC_BLOCK * across;
            for (size_t b = 0; b < across; b++) {
                if (!own[b]) continue;
                const size_t end = (b + 1) * TEC_BLOCK < size.w ? (b + 1) * TEC_BLOCK : size.w;
                for (size_t x = b * TEC_BLOCK + column[phase]; x < end; x += 2) {
                    s->flat[next] = (int64_t)(y * size.w + x);
                    s->own[next] = (int64_t)((y + 1) * pitch + x + 1);
                    s->parent[next] = (int64_t)((y / 2 + 1) * above + x / 2 + 1);
                    s->block[next++] = (int64_t)((y / TEC_BLOCK + 1) * (across + 2) + b + 1);
                }
            }
        }
        s->ends[phase] = next;
    }
    return next;
}

static void border_flags(const uint8_t *flags, tec_size size, uint8_t *out)
{
    const size_t down = tec_blocks(size.h), across = tec_blocks(size.w);
    memset(out, 0, (down + 2) * (across + 2));
    for (size_t y = 0; y < down; y++)
        memcpy(out + (y + 1) * (across + 2) + 1, flags + y * across, across);
}

/* ---- planes ------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *here[TEC_HERE], *above[TEC_ABOVE], *old[TEC_OLD];
    tec_surroundings all;
} known;

static void know(tec_walk *walk, tec_plane p, int shift, known *out)
{
    tec_neighborhood *own = &walk->levels[p.level];
    const tec_context *context = &walk->model->context;
    const size_t k = p.k, o = p.o, numbers = own->numbers;
    memset(out, 0, sizeof *out);
    sum_up(own, k);
    for (size_t other = 0; other < 2 && other < o; other++)
        out->here[TEC_HERE_EARLIER + other] = own->magnitude + (k * 3 + other) * numbers;
    for (size_t back = 1; back <= 2 && back <= k; back++) {
        out->here[TEC_HERE_BEFORE + 2 * (back - 1)] =
            own->magnitude + ((k - back) * 3 + o) * numbers;
        out->here[TEC_HERE_BEFORE + 2 * back - 1] = own->q + ((k - back) * 3 + o) * numbers;
    }
    if (k >= 3) out->here[TEC_HERE_THIRD] = own->q + ((k - 3) * 3 + o) * numbers;
    for (size_t other = 0; k && other < 3; other++)
        out->here[TEC_HERE_SUMS + other] = own->before + other * numbers;
    out->here[TEC_HERE_LOW] = own->low + k * numbers;
    const size_t across = tec_blocks(p.size.w) + 2, down = tec_blocks(p.size.h) + 2;
    out->all = (tec_surroundings){
        .integers = context->integers,
        .eighths = context->eighths,
        .scales = context->scales,
        .here = {out->here, numbers, own->pitch},
        .scale = walk->scratch.expected,
        .flags = walk->scratch.flags,
        .flag_count = down * across,
        .flag_width = across,
        .shift = shift,
    };
    if (p.level < TEC_LEVELS - 1) {
        const tec_neighborhood *up = &walk->levels[p.level + 1];
        out->above[0] = up->magnitude + (k * 3 + o) * up->numbers;
        out->above[1] = up->q + (k * 3 + o) * up->numbers;
        out->above[2] = up->before + o * up->numbers;
        out->above[3] = up->total;
        out->all.above = (tec_planes){out->above, up->numbers, up->pitch};
    }
    if (own->old) {
        out->old[0] = own->old + (k * 3 + o) * numbers;
        out->old[1] = walk->last ? own->every + o * numbers : own->change + k * numbers;
        if (own->finer) out->old[2] = own->finer + (k * 3 + o) * numbers;
        out->all.pass = walk->last != NULL;
        out->all.old = (tec_planes){out->old, numbers, own->pitch};
    }
}

/* First row, bits of the mean that it merges and raw bits, by scale. FORMAT.md 10.5. */
static void pack_rows(int32_t packed[SCALES])
{
    int32_t first[68], merged[68], next = 0;
    for (int32_t scale = LEAST_SCALE; scale < 32; scale++) {
        const int32_t g = scale < 0 ? 0 : scale / 8 + 1;
        first[scale - LEAST_SCALE] = next;
        merged[scale - LEAST_SCALE] = g;
        next += 8 * (16 >> g);
    }
    for (int32_t scale = LEAST_SCALE; scale <= MOST_SCALE; scale++) {
        const int32_t raw = scale < 32 ? 0 : (scale - 32) / 8 + 1, at = scale - 8 * raw - LEAST_SCALE;
        packed[scale - LEAST_SCALE] = first[at] | merged[at] << 16 | raw << 20;
    }
}

static tec_status outside(tec_walk *walk)
{
    return tec_fail(walk->error, TEC_BAD_WEIGHTS, "a row or place outside of tables", NULL, 0);
}

tec_pass tec_pass_tables(const tec_context *context)
{
    return (tec_pass){(int32_t)context->rows, 2 * (int32_t)context->rows};
}

int32_t tec_flag_row(const tec_context *context, int logit)
{
    const int32_t first = 2 * (int32_t)context->rows + (int32_t)context->digit_rows;
    return first + (logit < -32 ? -32 : logit > 31 ? 31 : logit) + 32;
}

/* Rows of the coefficients of a phase. */
static void choose_rows(const tec_walk *walk, const int32_t packed[SCALES], size_t count,
                        const int32_t *before)
{
    const tec_scratch *s = &walk->scratch;
    if (!before) {
        tec_context_choose(s->mean, s->scale, s->shape, count, packed, LEAST_SCALE, MOST_SCALE,
                           s->row, s->base, s->raw);
        return;
    }
    tec_pass_rows(tec_pass_tables(&walk->model->context), before, count, s->mean, s->scale,
                  s->shape, packed, LEAST_SCALE, RAW_SCALE - 1, s->row);
    memset(s->base, 0, count * sizeof *s->base);
    memset(s->raw, 0, count * sizeof *s->raw);
}

/* Integers to coefficients, s->q to s->value; the largest magnitude, or -1. */
static int64_t rescale(const tec_walk *walk, tec_plane p, size_t count)
{
    const tec_context *c = &walk->model->context;
    const tec_scratch *s = &walk->scratch;
    const int32_t step = walk->step[p.level][p.o];
    const size_t later = (size_t)walk->pass - 1;
    if (walk->model->kind != TEC_FLEXTEC || !walk->passes)
        return tec_context_rescale(s->q, s->row, s->base, s->raw, count, c->offsets, c->rows, 0,
                                   step, s->value);
    if (!walk->last)
        return tec_context_rescale(s->q, s->row, s->base, s->raw, count, c->first_offsets, c->rows,
                                   32, step, s->value);
    if (step == TEC_STEP_UNIT) {
        int64_t peak = 0;
        for (size_t i = 0; i < count; i++) {
            s->value[i] = s->q[i];
            if (size_of(s->q[i]) > peak) peak = size_of(s->q[i]);
        }
        return peak;
    }
    return tec_pass_rescale(tec_pass_tables(c), s->q, s->row, count,
                            c->zero_offsets + later * c->rows * 3, c->rows,
                            c->digit_offsets + later * c->digit_rows * 2, c->digit_rows, step,
                            s->value);
}

tec_status tec_detail_code(tec_walk *walk, tec_plane p, int shift, const uint8_t *flags,
                           tec_chooser choose, void *state, int32_t *q)
{
    tec_scratch *s = &walk->scratch;
    tec_neighborhood *own = &walk->levels[p.level];
    const tec_context *context = &walk->model->context;
    const tec_network *network = &walk->networks[p.level][p.o];
    const size_t count_of_plane = p.size.h * p.size.w, numbers = own->numbers;
    int32_t *plane = own->q + (p.k * 3 + p.o) * numbers;
    int32_t *magnitude = own->magnitude + (p.k * 3 + p.o) * numbers;
    int32_t *detail = walk->detail[p.o] + p.k * count_of_plane;
    const size_t above = p.level < TEC_LEVELS - 1 ? walk->levels[p.level + 1].pitch : 0;
    const size_t stride = network->layers[0].inputs, outputs = network->layers[2].outputs;
    const int32_t *last =
        walk->last ? walk->last->levels[p.level].q + (p.k * 3 + p.o) * numbers : NULL;
    int32_t packed[SCALES];
    known around;
    pack_rows(packed);
    memset(q, 0, count_of_plane * sizeof *q);
    memset(plane, 0, numbers * sizeof *plane);
    memset(magnitude, 0, numbers * sizeof *magnitude);
    memset(detail, 0, count_of_plane * sizeof *detail);
    const size_t count = find_places(flags, p.size, own->pitch, above, s);
    border_flags(flags, p.size, s->flags);
    for (size_t i = 0; i < count; i++) s->expected[i] = tec_shifted(walk->scale[s->flat[i]], shift);
    know(walk, p, shift, &around);
    const tec_places places = {s->own, s->parent, s->block,
                               {s->ends[0], s->ends[1], s->ends[2], s->ends[3]}};
    memset(s->features, 0, count * stride * sizeof *s->features);
    if (tec_context_plane(&around.all, &places, s->features, stride)) return outside(walk);
    for (int phase = 0; phase < 4; phase++) {
        const size_t first = phase ? s->ends[phase - 1] : 0, some = s->ends[phase] - first;
        int16_t *features = s->features + first * stride;
        if (!some) continue;
        if (phase && tec_context_own(context->integers, plane, magnitude, numbers, own->pitch,
                                     s->own + first, some, features + stride - TEC_OWN_FEATURES,
                                     stride))
            return outside(walk);
        tec_network_run(network, p.k, walk->rate, phase, features, some, s->out);
        if (tec_context_shapes(s->out, outputs, features, stride, around.old[0], numbers,
                               s->own + first, some, s->mean, s->scale, s->shape))
            return outside(walk);
        for (size_t i = 0; last && i < some; i++) s->before[i] = last[s->own[first + i]];
        const int32_t *before = last ? s->before : NULL;
        choose_rows(walk, packed, some, before);
        const tec_choice choice = {s->flat + first, s->row, s->base, s->raw, before, some};
        const tec_status status = choose(state, &choice, s->q);
        if (status) return status;
        const int64_t peak = rescale(walk, p, some);
        if (peak < 0) return outside(walk);
        if (peak > TEC_COEFFICIENT_LIMIT)
            return tec_fail(walk->error, TEC_CORRUPT, "a coefficient in DN", "up to 2^22", peak);
        for (size_t i = 0; i < some; i++) {
            const int32_t value = s->q[i];
            plane[s->own[first + i]] = value;
            magnitude[s->own[first + i]] = value < 0 ? -value : value;
            q[s->flat[first + i]] = value;
            detail[s->flat[first + i]] = s->value[i];
        }
    }
    return TEC_OK;
}

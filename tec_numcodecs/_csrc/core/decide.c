/* Rate-distortion optimized quantization of one plane, and the shift that suits it. */
#include <math.h>
#include <string.h>

#include "analyze.h"

/* From this fraction of a step on a coefficient counts as one that will not be zero, when the
 * shift is chosen before the decisions. */
static const double LIKELY = 0.65;

int tec_points_new(tec_points *p, tec_arena *arena, size_t most)
{
    const size_t blocks = most / TEC_BLOCK + 2;
    p->at = tec_take(arena, most, sizeof *p->at);
    p->block = tec_take(arena, most, sizeof *p->block);
    p->scale = tec_take(arena, most, sizeof *p->scale);
    p->magnitude = tec_take(arena, 2 * most, sizeof *p->magnitude);
    p->value = tec_take(arena, most, sizeof *p->value);
    p->weight = tec_take(arena, most, sizeof *p->weight);
    p->earned = tec_take(arena, blocks, sizeof *p->earned);
    p->coded = tec_take(arena, blocks, 1);
    return p->at && p->block && p->scale && p->magnitude && p->value && p->weight && p->earned &&
           p->coded;
}

typedef struct {
    const tec_prior *prior;
    const int32_t *by_bin, *flag_rows;
    size_t group;
    tec_size size;
    size_t down, across, blocks;
    const int32_t *sums;
    double price;
} setting;

static inline const float *bits_of_row(const setting *s, int32_t row)
{
    return s->prior->bits + (size_t)row * TEC_PRICED;
}

/* Bits of a magnitude in the row of an expected magnitude; beyond the table they grow like an
 * escape's. */
static inline double bits_of(const setting *s, int32_t scale, int32_t magnitude)
{
    const float *bits = bits_of_row(s, s->by_bin[tec_scale_bin(scale)]);
    const int raw = (int)tec_raw_bits(scale);
    const int32_t symbol = magnitude >> raw;
    if (symbol < TEC_PRICED) return bits[symbol] + (double)raw;
    return bits[TEC_PRICED - 1] + raw + 2 * tec_log2(symbol - (TEC_PRICED - 2));
}

static inline int32_t area_of(const setting *s, size_t block)
{
    const size_t y = block / s->across * TEC_BLOCK, x = block % s->across * TEC_BLOCK;
    const size_t h = s->size.h - y < TEC_BLOCK ? s->size.h - y : TEC_BLOCK;
    const size_t w = s->size.w - x < TEC_BLOCK ? s->size.w - x : TEC_BLOCK;
    return (int32_t)(h * w);
}

/* Bits of all zeros of a block, taken at its mean. */
static inline double zero_bits(const setting *s, size_t block, int shift)
{
    const int32_t area = area_of(s, block);
    const int64_t mean = tec_times_power(s->sums[block], shift) / area;
    const int32_t scale = mean < TEC_SCALE_LIMIT ? (int32_t)mean : TEC_SCALE_LIMIT - 1;
    return area * (double)bits_of_row(s, s->by_bin[tec_scale_bin(scale)])[0];
}

static inline double flag_bits(const setting *s, size_t block, int shift, int flag)
{
    return bits_of_row(s, s->flag_rows[tec_flag_bin(s->sums[block], shift)])[flag];
}

static size_t find_points(const setting *s, const int32_t *values, const int32_t *scale,
                          int32_t step, const float *rows, const float *columns, tec_points *p)
{
    const double unit = (double)TEC_STEP_UNIT / step;
    /* |v| 2 unit >= 1, in integers */
    const int32_t least = (step + 2 * TEC_STEP_UNIT - 1) / (2 * TEC_STEP_UNIT);
    size_t count = 0;
    for (size_t y = 0; y < s->size.h; y++) {
        const int32_t *v = values + y * s->size.w;
        for (size_t x = 0; x < s->size.w; x++) {
            if (v[x] < least && v[x] > -least) continue;
            const size_t at = y * s->size.w + x;
            p->at[count] = (uint32_t)at;
            p->block[count] = (uint32_t)(y / TEC_BLOCK * s->across + x / TEC_BLOCK);
            p->value[count] = (v[x] < 0 ? -(double)v[x] : (double)v[x]) * unit;
            p->scale[count] = scale[at];
            p->weight[count] = (rows ? rows[y] : 1) * (columns ? columns[x] : 1);
            count++;
        }
    }
    return count;
}

static int round_half_even(double x)
{
    const double whole = floor(x + 0.5);
    return (int)(x + 0.5 == whole && fmod(whole, 2) != 0 ? whole - 1 : whole);
}

static double cost_of_shift(const setting *s, const tec_points *p, size_t likely, int before,
                            int shift)
{
    double bits = s->prior->shift_bits[(s->group * 17 + (size_t)(before + TEC_SHIFT_LIMIT)) * 17 +
                                       (size_t)(shift + TEC_SHIFT_LIMIT)];
    for (size_t b = 0; b < s->blocks; b++) {
        bits += flag_bits(s, b, shift, p->coded[b]);
        if (p->coded[b]) bits += zero_bits(s, b, shift);
    }
    for (size_t i = 0; i < likely; i++) { /* the likely ones stand first in p->magnitude */
        const int32_t scale = tec_shifted(p->scale[p->magnitude[2 * i]], shift);
        bits += bits_of(s, scale, p->magnitude[2 * i + 1]) - bits_of(s, scale, 0) +
                (double)tec_raw_bits(scale);
    }
    return bits;
}

/* Shift under which a plane costs least, of the promising ones. */
static int choose_shift(const setting *s, tec_points *p, size_t count, int before)
{
    size_t likely = 0;
    double found = 0, expected = 0;
    memset(p->coded, 0, s->blocks);
    for (size_t i = 0; i < count; i++) {
        const int32_t magnitude = (int32_t)(p->value[i] + (1 - LIKELY));
        if (!magnitude) continue;
        p->magnitude[2 * likely] = (int32_t)i;
        p->magnitude[2 * likely + 1] = magnitude;
        likely++;
        p->coded[p->block[i]] = 1;
        found += magnitude;
    }
    for (size_t b = 0; b < s->blocks; b++) expected += p->coded[b] ? s->sums[b] : 0;
    uint32_t near = 0; /* bit shift + 8 */
    int candidates[5] = {before, 0, before - 2, -4, -8};
    int number = 5;
    if (likely) {
        const double ratio = 256 * found / (expected > 1 ? expected : 1);
        int match = round_half_even(4 * tec_log2(ratio));
        match = match < -TEC_SHIFT_LIMIT ? -TEC_SHIFT_LIMIT
                                         : match > TEC_SHIFT_LIMIT ? TEC_SHIFT_LIMIT : match;
        for (int i = 0; i < 3; i++) candidates[2 + i] = match - 1 + i;
    }
    for (int i = 0; i < number; i++)
        if (candidates[i] >= -TEC_SHIFT_LIMIT && candidates[i] <= TEC_SHIFT_LIMIT)
            near |= 1u << (candidates[i] + TEC_SHIFT_LIMIT);
    int best = 0;
    double least = 1e300;
    for (int shift = -TEC_SHIFT_LIMIT; shift <= TEC_SHIFT_LIMIT; shift++) {
        if (!(near >> (shift + TEC_SHIFT_LIMIT) & 1)) continue;
        const double cost = cost_of_shift(s, p, likely, before, shift);
        if (cost < least) {
            least = cost;
            best = shift;
        }
    }
    return best;
}

/* The cheapest of the nearest integer, the next one towards zero, and zero; then whole blocks. */
static void choose_magnitudes(const setting *s, tec_points *p, size_t count, int shift,
                              const int32_t *values, int32_t *q)
{
    memset(p->earned, 0, s->blocks * sizeof *p->earned);
    for (size_t i = 0; i < count; i++) {
        const int32_t scale = tec_shifted(p->scale[i], shift);
        const double value = p->value[i], weight = p->weight[i];
        const int32_t nearest = (int32_t)(value + 0.5);
        const double zero = weight * value * value + s->price * bits_of(s, scale, 0) -
                            s->price * tec_raw_bits(scale);
        double cost = zero;
        int32_t best = 0;
        for (int32_t candidate = nearest; candidate >= nearest - 1 && candidate > 0; candidate--) {
            const double error = value - candidate;
            const double own = weight * error * error + s->price * bits_of(s, scale, candidate);
            if (own < cost) {
                cost = own;
                best = candidate;
            }
        }
        p->magnitude[i] = best;
        p->earned[p->block[i]] += zero - cost;
    }
    for (size_t b = 0; b < s->blocks; b++) {
        if (p->earned[b] <= 0) {
            p->coded[b] = 0;
            continue;
        }
        const double toll =
            s->price * (zero_bits(s, b, shift) + flag_bits(s, b, shift, 1) - flag_bits(s, b, shift, 0));
        p->coded[b] = p->earned[b] > toll;
    }
    for (size_t i = 0; i < count; i++)
        if (p->coded[p->block[i]])
            q[p->at[i]] = values[p->at[i]] < 0 ? -p->magnitude[i] : p->magnitude[i];
}

int tec_decide(tec_walk *walk, tec_plane plane, const int32_t *values, const float *rows,
               const float *columns, double price, tec_points *points, int32_t *q)
{
    const tec_prior *prior = &walk->model->prior;
    const size_t group = (size_t)prior->group[walk->octave], total = plane.size.h * plane.size.w;
    setting s = {
        .prior = prior,
        .by_bin = prior->coefficient_rows + (group * 6 + (size_t)plane.level) * TEC_SCALE_BINS,
        .flag_rows = prior->flag_rows + (group * 6 + (size_t)plane.level) * TEC_FLAG_BINS,
        .group = group,
        .size = plane.size,
        .down = tec_blocks(plane.size.h),
        .across = tec_blocks(plane.size.w),
        .sums = walk->sums,
        .price = price,
    };
    s.blocks = s.down * s.across;
    const int exact = plane.level == TEC_LOW;
    const int32_t step = exact ? TEC_STEP_UNIT : walk->step[plane.level][plane.o];
    const size_t count = find_points(&s, values, walk->scale, step, rows, columns, points);
    const int shift = choose_shift(&s, points, count, tec_shift_before(walk, plane));
    if (step == TEC_STEP_UNIT) {
        memcpy(q, values, total * sizeof *q);
        return shift;
    }
    memset(q, 0, total * sizeof *q);
    choose_magnitudes(&s, points, count, shift, values, q);
    return shift;
}

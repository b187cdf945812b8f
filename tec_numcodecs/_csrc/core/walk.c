#include "walk.h"

#include <math.h>
#include <string.h>

#include "../simd.h"

/* ---- steps -------------------------------------------------------------------------------- */

void tec_steps(unsigned rate, int32_t step[TEC_LEVELS + 1][3])
{
    static const int64_t MANTISSA[16] = {65536, 68438, 71468, 74632,  77936,  81386,  84990,  88752,
                                         92682, 96785, 101070, 105545, 110218, 115098, 120194,
                                         125515};
    static const int64_t NORM[TEC_LEVELS + 1][3] = {
        {65536, 65536, 86612}, {49589, 49589, 65536}, {37522, 37522, 49589},
        {28392, 28392, 37522}, {21483, 21483, 28392}, {16255, 16255, 16255},
    };
    const int64_t common = MANTISSA[rate % 16] << (rate / 16);
    for (int l = 0; l <= TEC_LEVELS; l++)
        for (int o = 0; o < 3; o++) {
            const int64_t own = (common * NORM[l][o] + (1 << 27)) >> 28;
            step[l][o] = rate && own > TEC_STEP_UNIT ? (int32_t)own : TEC_STEP_UNIT;
        }
}

/* ---- memory ------------------------------------------------------------------------------- */

size_t tec_largest_plane(const tec_layout *layout)
{
    size_t most = 0;
    for (int l = 0; l <= TEC_LEVELS; l++)
        for (int o = 0; o < 3; o++) {
            const size_t size = layout->plane[l][o].h * layout->plane[l][o].w;
            if (layout->count[l] && size > most) most = size;
        }
    return most;
}

static int take_scratch(tec_walk *walk, size_t most, size_t blocks)
{
    tec_scratch *s = &walk->scratch;
    const size_t features = TEC_PLANE_FEATURES + TEC_REFERENCE_FEATURES + TEC_OWN_FEATURES;
    int64_t **const longs[4] = {&s->flat, &s->own, &s->parent, &s->block};
    float **const floats[3] = {&s->mean, &s->scale, &s->shape};
    int32_t **const ints[7] = {&s->row,   &s->base,     &s->raw,   &s->q,
                               &s->value, &s->expected, &s->before};
    int fine = 1;
    for (int i = 0; i < 4; i++) fine &= !!(*longs[i] = tec_take(walk->arena, most, 8));
    for (int i = 0; i < 3; i++) fine &= !!(*floats[i] = tec_take(walk->arena, most, 4));
    for (int i = 0; i < 7; i++) fine &= !!(*ints[i] = tec_take(walk->arena, most, 4));
    fine &= !!(s->features = tec_take(walk->arena, most, features * sizeof(int16_t)));
    fine &= !!(s->out = tec_take(walk->arena, most, 4 * sizeof(float)));
    return fine && (s->flags = tec_take(walk->arena, blocks, 1));
}

int tec_walk_begin(tec_walk *walk, const tec_coder *coder, const tec_layout *layout, unsigned rate,
                   tec_arena *arena, tec_error *error)
{
    memset(walk, 0, sizeof *walk);
    walk->coder = coder;
    walk->model = coder->model;
    walk->layout = layout;
    walk->rate = rate;
    walk->unit = !rate;
    walk->octave = rate / 16;
    tec_steps(rate, walk->step);
    walk->arena = arena;
    walk->error = error;
    walk->networks = walk->model->context.elic;
    const size_t most = tec_largest_plane(layout), side = 2 + most / TEC_BLOCK;
    int32_t **const ints[5] = {&walk->scale, &walk->integers, &walk->rows, &walk->symbols,
                               &walk->where};
    int fine = 1;
    for (int i = 0; i < 5; i++) fine &= !!(*ints[i] = tec_take(arena, most, sizeof(int32_t)));
    fine &= !!(walk->sums = tec_take(arena, side, sizeof(int32_t)));
    fine &= !!(walk->flags = tec_take(arena, side, 1));
    if (fine && walk->model->kind != TEC_FP) {
        const tec_size low = layout->low[layout->count[0] ? 0 : layout->count[1] ? 1 : 2];
        const size_t blocks = (tec_blocks(low.h) + 2) * (tec_blocks(low.w) + 2);
        fine = take_scratch(walk, most, blocks);
    }
    return fine;
}

/* ---- spectra ------------------------------------------------------------------------------ */

static const double FACTOR_LIMIT = 512; /* 2^23 in units of 2^-14 */

const tec_spectrum *tec_spectrum_of(tec_walk *walk, int level, unsigned entry,
                                    const tec_rotations *list)
{
    const tec_layout *layout = walk->layout;
    const tec_book *book = tec_book_of(walk->coder, layout, level);
    if (!book) {
        tec_fail(walk->error, TEC_NO_MEMORY, "no memory for spectra", NULL, 0);
        return NULL;
    }
    if (!list->count) return &book->spectrum[entry];
    const size_t n = book->n;
    int32_t wavelength[TEC_MOST_BANDS];
    double rows[TEC_MOST_BANDS * TEC_MOST_BANDS];
    for (size_t i = 0; i < n; i++)
        wavelength[i] = walk->coder->bands.wavelength[layout->band[level][i]];
    memcpy(rows, book->rows + entry * n * n, n * n * sizeof *rows);
    tec_spectrum_turn(rows, n, list);
    tec_spectrum_make(rows, n, wavelength, &walk->own);
    for (size_t i = 0; i < 3 * n * n; i++)
        if (!(fabs(walk->own.lifts[i]) < FACTOR_LIMIT)) {
            tec_fail(walk->error, TEC_CORRUPT, "rotations that need too large a factor", NULL, 0);
            return NULL;
        }
    return &walk->own;
}

/* ---- planes ------------------------------------------------------------------------------- */

int tec_shift_before(const tec_walk *walk, tec_plane p)
{
    if (walk->followed) return walk->followed->shift[p.level][p.k][p.o];
    return p.k ? walk->shift[p.level][p.k - 1][p.o] : 0;
}

void tec_plane_expect(tec_walk *walk, tec_plane p)
{
    const tec_fields *parent = p.level < TEC_LEVELS - 1 ? &walk->fields[p.level + 1] : NULL;
    tec_expected(&walk->model->prior, walk->octave, p.level, p.k, p.o, &walk->fields[p.level],
                 parent, p.size, walk->scale);
    tec_block_sums(walk->scale, p.size, walk->sums);
}

static inline int32_t wrapping(int32_t a, int32_t b, int sign)
{
    return (int32_t)(sign > 0 ? (uint32_t)a + (uint32_t)b : (uint32_t)a - (uint32_t)b);
}

static inline int32_t median(int32_t left, int32_t upper, int32_t corner)
{
    const int32_t least = left < upper ? left : upper, most = left < upper ? upper : left;
    const int32_t plane = wrapping(wrapping(left, upper, 1), corner, -1);
    return plane < least ? least : plane > most ? most : plane;
}

static inline int32_t predicted(const int32_t *q, size_t w, size_t y, size_t x)
{
    const int32_t *at = q + y * w + x;
    return median(x ? at[-1] : 0, y ? *(at - w) : 0, x && y ? *(at - w - 1) : 0);
}

void tec_low_restore(int32_t *q, tec_size size)
{
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++)
            q[y * size.w + x] = wrapping(q[y * size.w + x], predicted(q, size.w, y, x), 1);
}

void tec_low_predict(const int32_t *q, tec_size size, int32_t *residuals)
{
    for (size_t y = 0; y < size.h; y++)
        for (size_t x = 0; x < size.w; x++)
            residuals[y * size.w + x] = wrapping(q[y * size.w + x], predicted(q, size.w, y, x), -1);
}

/* ---- levels ------------------------------------------------------------------------------- */

/* Whether components have the signs of a context model. */
static int aligned(const tec_walk *walk) { return walk->model->kind != TEC_FP; }

int tec_level_enter(tec_walk *walk, int level)
{
    const tec_layout *layout = walk->layout;
    const int low = level == TEC_LOW;
    const tec_size size = low ? layout->plane[TEC_LOW][0] : layout->low[level];
    const size_t n = layout->count[level];
    if (!tec_fields_new(&walk->fields[level], walk->arena, size, n, low ? 1 : 3)) return 0;
    for (int o = 0; o < (low ? 1 : 3); o++) {
        const tec_size plane = layout->plane[level][o];
        walk->detail[o] = tec_take_zeros(walk->arena, n * plane.h * plane.w, sizeof(int32_t));
        if (!walk->detail[o]) return 0;
    }
    return low || !aligned(walk) || tec_surround(walk, level);
}

/* Components to bands, in place: n planes of `count` that lie one behind the other. */
static void to_bands(const tec_walk *walk, int32_t *planes, size_t n, size_t count)
{
    int32_t *plane[TEC_MOST_BANDS];
    if (!count) return;
    for (size_t i = 0; i < n; i++) plane[i] = planes + i * count;
    tec_spectrum_inverse(walk->spectrum, (const int32_t *const *)plane, plane, count,
                         aligned(walk));
}

int32_t *tec_low_values(tec_walk *walk, const int32_t *integers)
{
    const tec_layout *layout = walk->layout;
    const size_t count = layout->count[TEC_LOW] * layout->plane[TEC_LOW][0].h *
                         layout->plane[TEC_LOW][0].w;
    const int64_t step = walk->step[TEC_LOW][0];
    int32_t *values = tec_take(walk->arena, count, sizeof *values);
    if (!values) {
        tec_fail(walk->error, TEC_NO_MEMORY, "no memory for the low-pass", NULL, 0);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        const int64_t q = integers[i], size = q < 0 ? -q : q;
        const int64_t value = step == TEC_STEP_UNIT ? size : tec_in_dn(64 * size, step);
        if (value > TEC_COEFFICIENT_LIMIT) {
            tec_fail(walk->error, TEC_CORRUPT, "a coefficient of the low-pass in DN", "up to 2^22",
                     value);
            return NULL;
        }
        values[i] = (int32_t)(q < 0 ? -value : value);
    }
    return values;
}

void tec_low_leave(tec_walk *walk, int32_t *values)
{
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    to_bands(walk, values, walk->layout->count[TEC_LOW], size.h * size.w);
    walk->under = values;
}

static void keep_level(const tec_walk *walk, int level, tec_visited *keep)
{
    const tec_layout *layout = walk->layout;
    const size_t n = layout->count[level], low = layout->low[level].h * layout->low[level].w;
    size_t details = 0;
    for (int o = 0; o < 3; o++) details += layout->plane[level][o].h * layout->plane[level][o].w;
    /* Memory of a visited date is not the walk's: the caller made room. */
    memcpy(keep->under[level], walk->under, n * low * sizeof(int32_t));
    int32_t *to = keep->detail[level];
    for (int o = 0; o < 3; o++) {
        const size_t count = n * layout->plane[level][o].h * layout->plane[level][o].w;
        if (count) memcpy(to, walk->detail[o], count * sizeof(int32_t));
        to += count;
    }
}

void tec_level_bands(tec_walk *walk, int level, tec_visited *keep)
{
    const tec_layout *layout = walk->layout;
    for (int o = 0; o < 3; o++)
        to_bands(walk, walk->detail[o], layout->count[level],
                 layout->plane[level][o].h * layout->plane[level][o].w);
    if (keep) keep_level(walk, level, keep);
}

int32_t *tec_level_merge(tec_walk *walk, int level)
{
    const tec_layout *layout = walk->layout;
    const size_t n = layout->count[level], low = layout->low[level].h * layout->low[level].w;
    const tec_size grid = layout->grid[level];
    int32_t *planes = tec_take(walk->arena, n * grid.h * grid.w, sizeof *planes);
    if (!planes) return NULL;
    for (size_t i = 0; i < n; i++) {
        tec_subbands parts = {walk->under + i * low, {0}};
        for (int o = 0; o < 3; o++) {
            const size_t plane = layout->plane[level][o].h * layout->plane[level][o].w;
            if (plane) parts.detail[o] = walk->detail[o] + i * plane;
        }
        tec_wavelet_inverse(parts, grid, planes + i * grid.h * grid.w);
    }
    return planes;
}

int tec_level_cut(tec_walk *walk, int level, const int32_t *planes)
{
    const tec_layout *layout = walk->layout;
    const tec_size from = layout->grid[level], to = layout->low[level - 1];
    const size_t n = layout->count[level - 1];
    int32_t *under = tec_take(walk->arena, n * to.h * to.w, sizeof *under);
    if (!under) return 0;
    size_t next = 0;
    for (size_t i = 0; i < layout->count[level]; i++) {
        if (next == n || layout->band[level][i] != layout->band[level - 1][next]) continue;
        for (size_t y = 0; y < to.h; y++)
            memcpy(under + (next * to.h + y) * to.w, planes + (i * from.h + y) * from.w,
                   to.w * sizeof *under);
        next++;
    }
    walk->under = under;
    return 1;
}

/* ---- samples ------------------------------------------------------------------------------ */

/* floor((a x + gain div 2) / gain): whole numbers below 2^53, the quotient is never so near to the
 * next whole number that rounding could reach it. */
TEC_MULTIVERSION
static void lower_row(const int32_t *x, size_t count, double a, double gain, int32_t mean,
                      int32_t *out)
{
    const double half = floor(gain / 2);
    for (size_t i = 0; i < count; i++) out[i] = mean + (int32_t)floor((a * x[i] + half) / gain);
}

static double numerator(const tec_walk *walk, size_t band)
{
    const int entry = walk->layout->entry[band];
    return entry && walk->unit ? TEC_GAIN[entry] : TEC_GAIN[0];
}

/* A band that has entered by the level that is wanted. */
static void show_plane(const tec_walk *walk, int level, size_t band, const int32_t *plane,
                       int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const size_t h = tec_length(layout->height, (unsigned)level);
    const size_t w = tec_length(layout->width, (unsigned)level), pitch = layout->grid[level].w;
    const int32_t mean = walk->coder->bands.mean[band];
    for (size_t y = 0; y < h; y++)
        if (level)
            lower_row(plane + y * pitch, w, numerator(walk, band), TEC_GAIN[level], mean,
                      out + y * w);
        else
            for (size_t x = 0; x < w; x++) out[y * w + x] = plane[y * pitch + x] + mean;
}

/* A band that enters at `level`, later than what is wanted: native samples. */
static void show_native(const tec_walk *walk, int level, size_t band, int32_t *plane,
                        unsigned wanted, int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const size_t h = tec_length(layout->height, wanted), w = tec_length(layout->width, wanted);
    const tec_size grid = layout->grid[level];
    const tec_axis rows = layout->rows[band], columns = layout->columns[band];
    const double a = numerator(walk, band);
    size_t last = SIZE_MAX;
    for (size_t y = 0; y < h; y++) {
        int32_t *target = out + y * w;
        const size_t row = tec_kept(rows, (unsigned)level, grid.h,
                                    ((y << wanted) + rows.phase) / rows.factor);
        if (row == last) {
            memcpy(target, target - w, w * sizeof *target);
            continue;
        }
        int32_t *from = plane + row * grid.w;
        /* In place: several rows may show one row of the plane, but one after another. */
        lower_row(from, grid.w, a, TEC_GAIN[level], walk->coder->bands.mean[band], from);
        last = row;
        size_t sample = SIZE_MAX;
        int32_t value = 0;
        for (size_t x = 0; x < w; x++) {
            const size_t shown = ((x << wanted) + columns.phase) / columns.factor;
            if (shown != sample) {
                sample = shown;
                value = from[tec_kept(columns, (unsigned)level, grid.w, shown)];
            }
            target[x] = value;
        }
    }
}

void tec_show(const tec_walk *walk, int level, const int32_t *planes, unsigned wanted, int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const size_t plane = layout->grid[level].h * layout->grid[level].w;
    const size_t sample =
        tec_length(layout->height, wanted) * tec_length(layout->width, wanted);
    for (size_t i = 0; i < layout->count[level]; i++) {
        const size_t band = layout->band[level][i];
        if (level == (int)wanted)
            show_plane(walk, level, band, planes + i * plane, out + band * sample);
        else if (layout->entry[band] == level)
            show_native(walk, level, band, (int32_t *)planes + i * plane, wanted,
                        out + band * sample);
    }
}

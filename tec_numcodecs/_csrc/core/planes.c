#include "planes.h"

#include <string.h>

#include "../simd.h"

enum { CLIP = 1023 };

int tec_fields_new(tec_fields *f, tec_arena *arena, tec_size size, size_t components,
                   size_t orientations)
{
    const size_t plane = size.h * size.w;
    memset(f, 0, sizeof *f);
    f->size = size;
    f->components = components;
    f->orientations = orientations;
    f->magnitude = tec_take(arena, components * orientations * plane, sizeof(int16_t));
    f->around = tec_take(arena, components * orientations * plane, sizeof(int16_t));
    for (int i = 0; i < 2; i++)
        f->sums[i] = tec_take(arena, orientations * plane, sizeof(int32_t));
    f->row = tec_take(arena, size.w, sizeof(int16_t));
    return f->magnitude && f->around && f->sums[0] && f->sums[1] && f->row;
}

/* One row: clipped magnitudes; zeros up to the pitch. */
static inline void magnitudes(const int32_t *restrict q, size_t w, size_t pitch,
                              int16_t *restrict m)
{
    for (size_t x = 0; x < w; x++) {
        const int32_t size = q[x] < 0 ? -q[x] : q[x];
        m[x] = (int16_t)(size < CLIP ? size : CLIP);
    }
    for (size_t x = w; x < pitch; x++) m[x] = 0;
}

/* Sums over the eight neighbors of one row; above and below may be NULL. */
static inline void around_row(const int16_t *above, const int16_t *own, const int16_t *below,
                              size_t w, int16_t *restrict three, int16_t *restrict out)
{
    for (size_t x = 0; x < w; x++) three[x] = own[x];
    if (above)
        for (size_t x = 0; x < w; x++) three[x] += above[x];
    if (below)
        for (size_t x = 0; x < w; x++) three[x] += below[x];
    if (w == 1) {
        out[0] = three[0] - own[0];
        return;
    }
    out[0] = three[0] - own[0] + three[1];
    for (size_t x = 1; x + 1 < w; x++) out[x] = three[x - 1] + three[x] + three[x + 1] - own[x];
    out[w - 1] = three[w - 2] + three[w - 1] - own[w - 1];
}

TEC_MULTIVERSION
static void note(const int32_t *q, tec_size size, tec_size field, int16_t *m, int16_t *a,
                 int16_t *row, int32_t *sum_m, int32_t *sum_a, int first)
{
    const size_t pitch = field.w, count = field.h * field.w;
    for (size_t y = 0; y < size.h; y++)
        magnitudes(q + y * size.w, size.w, pitch, m + y * pitch);
    memset(m + size.h * pitch, 0, (field.h - size.h) * pitch * sizeof *m);
    for (size_t y = 0; y < field.h; y++) {
        const int16_t *own = m + y * pitch;
        around_row(y ? own - pitch : NULL, own, y + 1 < field.h ? own + pitch : NULL, pitch, row,
                   a + y * pitch);
    }
    if (first)
        for (size_t i = 0; i < count; i++) {
            sum_m[i] = m[i];
            sum_a[i] = a[i];
        }
    else
        for (size_t i = 0; i < count; i++) {
            sum_m[i] += m[i];
            sum_a[i] += a[i];
        }
}

void tec_fields_set(tec_fields *f, size_t k, size_t o, const int32_t *q, tec_size size, int some)
{
    const size_t plane = f->size.h * f->size.w, at = (k * f->orientations + o) * plane;
    f->some[k][o] = (uint8_t)some;
    if (!some) return; /* what is not there is not read */
    note(q, size, f->size, f->magnitude + at, f->around + at, f->row, f->sums[0] + o * plane,
         f->sums[1] + o * plane, !f->some_sums[o]);
    f->some_sums[o] = 1;
}

typedef struct {
    const int16_t *m, *a;
    int32_t w[2];
} pair;

TEC_MULTIVERSION
static void add_up(int32_t bias, const pair *pairs, size_t count, pair above, size_t above_pitch,
                   const int32_t *sum_m, const int32_t *sum_a, const int32_t w[2], size_t pitch,
                   tec_size size, int32_t *scale)
{
    for (size_t y = 0; y < size.h; y++) {
        int32_t *restrict out = scale + y * size.w;
        const size_t at = y * pitch;
        for (size_t x = 0; x < size.w; x++) out[x] = bias;
        for (size_t i = 0; i < count; i++) {
            const int16_t *restrict m = pairs[i].m + at, *restrict a = pairs[i].a + at;
            const int32_t v = pairs[i].w[0], u = pairs[i].w[1];
            for (size_t x = 0; x < size.w; x++) out[x] += v * m[x] + u * a[x];
        }
        if (sum_m) {
            const int32_t *restrict m = sum_m + at, *restrict a = sum_a + at;
            for (size_t x = 0; x < size.w; x++) out[x] += w[0] * m[x] + w[1] * a[x];
        }
        if (above.m) {
            const int16_t *restrict m = above.m + y / 2 * above_pitch;
            const int16_t *restrict a = above.a + y / 2 * above_pitch;
            for (size_t x = 0; x + 1 < size.w; x += 2) {
                const int32_t both = above.w[0] * m[x / 2] + above.w[1] * a[x / 2];
                out[x] += both;
                out[x + 1] += both;
            }
            if (size.w % 2) {
                const size_t x = size.w - 1;
                out[x] += above.w[0] * m[x / 2] + above.w[1] * a[x / 2];
            }
        }
        for (size_t x = 0; x < size.w; x++) {
            const int32_t e = out[x] >> 4;
            out[x] = e < TEC_SCALE_LIMIT - 1 ? e : TEC_SCALE_LIMIT - 1;
        }
    }
}

void tec_expected(const tec_prior *prior, unsigned octave, int level, size_t k, size_t o,
                  const tec_fields *f, const tec_fields *parent, tec_size size, int32_t *scale)
{
    const size_t component = k < TEC_COMPONENTS ? k : TEC_COMPONENTS - 1;
    const size_t place = ((octave * 6 + (size_t)level) * TEC_COMPONENTS + component) * 3 + o;
    const int32_t *w = prior->weights + place * TEC_FEATURES;
    const size_t plane = f->size.h * f->size.w;
    /* Which plane each pair of weights is for, (component, orientation); the sums are apart. */
    const size_t which[6][2] = {{0, 0}, {k - 1, o}, {k - 2, o}, {0, 0}, {k, o - 1}, {k, o - 2}};
    const int there[6] = {0, k >= 1, k >= 2, 0, o >= 1, o >= 2};
    pair pairs[6];
    size_t count = 0;
    for (int i = 0; i < 6; i++) {
        if (!there[i] || !f->some[which[i][0]][which[i][1]]) continue;
        if (!w[2 * i] && !w[2 * i + 1]) continue;
        const size_t at = (which[i][0] * f->orientations + which[i][1]) * plane;
        pairs[count++] = (pair){f->magnitude + at, f->around + at, {w[2 * i], w[2 * i + 1]}};
    }
    pair above = {NULL, NULL, {w[0], w[1]}};
    if (parent && parent->some[k][o]) {
        const size_t at = (k * parent->orientations + o) * parent->size.h * parent->size.w;
        above.m = parent->magnitude + at;
        above.a = parent->around + at;
    }
    const int sums = k >= 1 && f->some_sums[o];
    add_up(prior->bias[place], pairs, count, above, parent ? parent->size.w : 0,
           sums ? f->sums[0] + o * plane : NULL, sums ? f->sums[1] + o * plane : NULL, w + 6,
           f->size.w, size, scale);
}

TEC_MULTIVERSION
void tec_block_sums(const int32_t *x, tec_size size, int32_t *sums)
{
    const size_t down = tec_blocks(size.h), across = tec_blocks(size.w);
    for (size_t by = 0; by < down; by++) {
        const size_t end = (by + 1) * TEC_BLOCK < size.h ? (by + 1) * TEC_BLOCK : size.h;
        for (size_t bx = 0; bx < across; bx++) {
            int32_t sum = 0;
            if ((bx + 1) * TEC_BLOCK <= size.w)
                for (size_t y = by * TEC_BLOCK; y < end; y++)
                    for (size_t i = 0; i < TEC_BLOCK; i++)
                        sum += x[y * size.w + bx * TEC_BLOCK + i];
            else
                for (size_t y = by * TEC_BLOCK; y < end; y++)
                    for (size_t xx = bx * TEC_BLOCK; xx < size.w; xx++) sum += x[y * size.w + xx];
            sums[by * across + bx] = sum;
        }
    }
}

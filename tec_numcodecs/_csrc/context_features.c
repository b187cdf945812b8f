#include "context.h"

enum { BLOCK = 8 };

static inline int32_t size_of(int32_t x) { return x < 0 ? (int32_t)(0u - (uint32_t)x) : x; }

static inline int16_t compand(tec_companding table, int32_t magnitude)
{
    const size_t at = (size_t)(uint32_t)magnitude;
    return table.value[at < table.count ? at : table.count - 1];
}

/* A feature with the sign of x. */
static inline int16_t with_sign(int16_t feature, int32_t x)
{
    const int16_t size = feature < 0 ? -feature : feature;
    return x < 0 ? -size : size;
}

static inline int16_t compand_signed(tec_companding table, int32_t x)
{
    return with_sign(compand(table, size_of(x)), x);
}

static inline int32_t direct(const int32_t *x, size_t width)
{
    return x[-1] + x[1] + *(x - width) + x[width];
}

static inline int32_t diagonal(const int32_t *x, size_t width)
{
    return *(x - width - 1) + *(x - width + 1) + x[width - 1] + x[width + 1];
}

static inline int outside(int64_t at, size_t count, size_t width)
{
    return at < (int64_t)width + 1 || at + (int64_t)width + 1 >= (int64_t)count;
}

/* The place itself, its direct and its diagonal neighbours. */
static inline int16_t *add_around(tec_companding table, const int32_t *plane, int64_t at,
                                  size_t width, int16_t *out)
{
    if (!plane) {
        out[0] = out[1] = out[2] = 0;
        return out + 3;
    }
    const int32_t *x = plane + at;
    out[0] = compand(table, *x);
    out[1] = compand(table, direct(x, width));
    out[2] = compand(table, diagonal(x, width));
    return out + 3;
}

static inline int16_t *add_signed(tec_companding table, const int32_t *plane, int64_t at,
                                  int16_t *out)
{
    *out = plane ? compand_signed(table, plane[at]) : 0;
    return out + 1;
}

static inline int16_t *add_above(const tec_surroundings *a, int64_t at, int odd_row,
                                 int odd_column, int16_t *out)
{
    const int32_t *const *planes = a->above.planes;
    if (!planes) {
        for (int i = 0; i < 8; i++) out[i] = 0;
        return out + 8;
    }
    const size_t width = a->above.width;
    const int32_t *x = planes[0] + at;
    out = add_around(a->integers, planes[0], at, width, out);
    out[0] = compand(a->integers, odd_row ? x[width] : *(x - width));
    out[1] = compand(a->integers, odd_column ? x[1] : x[-1]);
    out[2] = compand_signed(a->integers, planes[1][at]);
    out[3] = compand(a->integers, planes[2][at]);
    out[4] = compand(a->integers, planes[3][at]);
    return out + 5;
}

/* First and second differences of the image under the level, and its brightness. */
static inline int16_t *add_low(const tec_surroundings *a, int64_t at, int16_t *out)
{
    const size_t width = a->here.width;
    const int32_t *x = a->here.planes[TEC_HERE_LOW] + at;
    const int32_t differences[5] = {
        x[-1] + x[1] - 2 * *x,
        *(x - width) + x[width] - 2 * *x,
        x[1] - x[-1],
        x[width] - *(x - width),
        x[width + 1] - x[width - 1] - *(x - width + 1) + *(x - width - 1),
    };
    for (int i = 0; i < 5; i++) {
        const int16_t feature = compand(a->eighths, size_of(differences[i]));
        *out++ = feature;
        *out++ = with_sign(feature, differences[i]);
    }
    *out++ = with_sign(compand(a->integers, size_of(*x) >> 8), *x);
    return out;
}

static inline void add_old(const tec_surroundings *a, int64_t at, int16_t *out)
{
    const size_t width = a->old.width;
    const int32_t *q = a->old.planes[0] + at, *x = a->old.planes[1] + at;
    const int32_t *finer = a->old.planes[2];
    const int32_t beside = size_of(q[-1]) + size_of(q[1]) + size_of(*(q - width)) +
                           size_of(q[width]);
    const int32_t across = size_of(*(q - width - 1)) + size_of(*(q - width + 1)) +
                           size_of(q[width - 1]) + size_of(q[width + 1]);
    out[0] = compand(a->eighths, size_of(*q));
    out[1] = with_sign(out[0], *q);
    out[2] = compand(a->eighths, beside);
    out[3] = compand(a->eighths, across);
    if (a->pass) {
        out[4] = compand(a->integers, *x);
        out[5] = compand(a->integers, direct(x, width));
        out[6] = finer ? compand(a->integers, finer[at]) : 0;
    } else {
        out[4] = compand(a->eighths, size_of(*x));
        out[5] = with_sign(out[4], *x);
        out[6] = compand(a->eighths, size_of(x[1] - x[-1]) + size_of(x[width] - *(x - width)));
    }
}

static void add_row(const tec_surroundings *a, const tec_places *places, size_t i, int odd_row,
                    int odd_column, int16_t *out)
{
    const int32_t *const *here = a->here.planes;
    const tec_companding integers = a->integers;
    const size_t width = a->here.width;
    const int64_t at = places->own[i];
    const uint8_t *flag = a->flags + places->block[i];
    *out++ = compand(a->scales, a->scale[i]);
    *out++ = (int16_t)(4 * a->shift);
    for (size_t other = 0; other < 2; other++)
        out = add_around(integers, here[TEC_HERE_EARLIER + other], at, width, out);
    for (size_t back = 0; back < 2; back++) {
        out = add_around(integers, here[TEC_HERE_BEFORE + 2 * back], at, width, out);
        out = add_signed(integers, here[TEC_HERE_BEFORE + 2 * back + 1], at, out);
    }
    out = add_signed(integers, here[TEC_HERE_THIRD], at, out);
    for (size_t other = 0; other < 3; other++)
        out = add_around(integers, here[TEC_HERE_SUMS + other], at, width, out);
    out = add_above(a, places->parent[i], odd_row, odd_column, out);
    out = add_low(a, at, out);
    const int coded = flag[-1] + flag[1] + *(flag - a->flag_width) + flag[a->flag_width];
    *out++ = (int16_t)(16 * (coded - 2));
    if (a->old.planes) add_old(a, at, out);
}

int tec_context_plane(const tec_surroundings *around, const tec_places *places, int16_t *out,
                      size_t stride)
{
    static const int odd_row[4] = {0, 1, 0, 1}, odd_column[4] = {0, 1, 1, 0};
    const tec_planes here = around->here, above = around->above;
    size_t i = 0;
    for (int phase = 0; phase < 4; phase++)
        for (; i < places->ends[phase]; i++) {
            if (outside(places->own[i], here.count, here.width) ||
                outside(places->block[i], around->flag_count, around->flag_width) ||
                (above.planes && outside(places->parent[i], above.count, above.width)))
                return -1;
            add_row(around, places, i, odd_row[phase], odd_column[phase], out + i * stride);
        }
    return 0;
}

int tec_context_own(tec_companding integers, const int32_t *q, const int32_t *magnitude,
                    size_t numbers, size_t width, const int64_t *own, size_t count, int16_t *out,
                    size_t stride)
{
    for (size_t i = 0; i < count; i++, out += stride) {
        if (outside(own[i], numbers, width)) return -1;
        const int32_t *x = q + own[i], *m = magnitude + own[i];
        out[0] = compand(integers, m[-1] + m[1]);
        out[1] = compand(integers, *(m - width) + m[width]);
        out[2] = compand(integers, diagonal(m, width));
        out[3] = compand_signed(integers, x[-1] + x[1]);
        out[4] = compand_signed(integers, *(x - width) + x[width]);
    }
    return 0;
}

/* A block's places of one phase. */
typedef struct {
    int64_t *flat, *own, *parent, *block;
    size_t next;
} places_out;

static void add_rows(places_out *out, const uint8_t *flags, size_t date, size_t height,
                     size_t width, size_t y, size_t first)
{
    const size_t across = (width + BLOCK - 1) / BLOCK, down = (height + BLOCK - 1) / BLOCK;
    const size_t up = (height + 1) / 2 + 2, wide = (width + 1) / 2 + 2;
    const uint8_t *row = flags + (date * down + y / BLOCK) * across;
    const int64_t flat = (int64_t)((date * height + y) * width);
    const int64_t own = (int64_t)((date * (height + 2) + y + 1) * (width + 2) + 1);
    const int64_t parent = (int64_t)((date * up + y / 2 + 1) * wide + 1);
    const int64_t block = (int64_t)((date * (down + 2) + y / BLOCK + 1) * (across + 2) + 1);
    for (size_t b = 0; b < across; b++) {
        if (!row[b]) continue;
        const size_t end = (b + 1) * BLOCK < width ? (b + 1) * BLOCK : width;
        for (size_t x = b * BLOCK + first; x < end; x += 2) {
            out->flat[out->next] = flat + (int64_t)x;
            out->own[out->next] = own + (int64_t)x;
            out->parent[out->next] = parent + (int64_t)(x / 2);
            out->block[out->next++] = block + (int64_t)b;
        }
    }
}

void tec_context_places(const uint8_t *flags, size_t n, size_t height, size_t width, int64_t *flat,
                        int64_t *own, int64_t *parent, int64_t *block, size_t ends[4])
{
    static const size_t row[4] = {0, 1, 0, 1}, column[4] = {0, 1, 1, 0};
    places_out out = {flat, own, parent, block, 0};
    for (int phase = 0; phase < 4; phase++) {
        for (size_t date = 0; date < n; date++)
            for (size_t y = row[phase]; y < height; y += 2)
                add_rows(&out, flags, date, height, width, y, column[phase]);
        ends[phase] = out.next;
    }
}

/* What magnitudes the coefficients of a plane are expected to have. FORMAT.md 9.5. */
#ifndef TEC_PLANES_H
#define TEC_PLANES_H

#include "arena.h"
#include "model.h"

/* Magnitudes (at most 1023) of the planes of a level, and sums over their eight neighbors; zeros
 * beyond a plane's own rows and columns. */
typedef struct {
    tec_size size;        /* of the largest plane */
    size_t components, orientations;
    int16_t *magnitude, *around; /* (components, orientations, h, w) */
    int16_t *row;         /* scratch */
    int32_t *sums[2];     /* (orientations, h, w): of both, over the components before */
    uint8_t some[TEC_MOST_BANDS][3], some_sums[3]; /* not all zero */
} tec_fields;

int tec_fields_new(tec_fields *fields, tec_arena *arena, tec_size size, size_t components,
                   size_t orientations);
/* Notes integers q (size.h, size.w) of a plane; components come in order. `some`: one is not 0. */
void tec_fields_set(tec_fields *fields, size_t k, size_t o, const int32_t *q, tec_size size,
                    int some);

/* Expected magnitudes (size.h, size.w) before the shift; parent may be NULL. */
void tec_expected(const tec_prior *prior, unsigned octave, int level, size_t k, size_t o,
                  const tec_fields *fields, const tec_fields *parent, tec_size size,
                  int32_t *scale);

static inline size_t tec_blocks(size_t n) { return (n + TEC_BLOCK - 1) / TEC_BLOCK; }

/* Sums over blocks of 8 x 8: (blocks down, blocks across). */
void tec_block_sums(const int32_t *x, tec_size size, int32_t *sums);

static inline unsigned tec_floor_log2(uint32_t x)
{
#if defined(__GNUC__) || defined(__clang__)
    return 31u - (unsigned)__builtin_clz(x);
#else
    unsigned n = 0;
    while (x >>= 1) n++;
    return n;
#endif
}

/* x times 2^(shift / 4); -8 <= shift <= 8. */
static inline int64_t tec_times_power(int64_t x, int shift)
{
    static const int32_t QUARTER[4] = {256, 304, 362, 431};
    return (x * QUARTER[shift & 3]) >> (8 - ((shift - (shift & 3)) / 4));
}

static inline int32_t tec_shifted(int32_t scale, int shift)
{
    if (!shift) return scale;
    const int64_t moved = tec_times_power(scale, shift);
    return moved < TEC_SCALE_LIMIT ? (int32_t)moved : TEC_SCALE_LIMIT - 1;
}

static inline unsigned tec_scale_bin(int32_t scale)
{
    if (scale < 4) return 0;
    const unsigned n = tec_floor_log2((uint32_t)scale);
    return 1 + 4 * (n - 2) + ((uint32_t)scale >> (n - 2) & 3);
}

static inline unsigned tec_raw_bits(int32_t scale)
{
    return scale < 2048 ? 0 : tec_floor_log2((uint32_t)scale) - 10;
}

/* Bin of a flag, from the sum over its block and the plane's shift. */
static inline unsigned tec_flag_bin(int64_t sum, int shift)
{
    int64_t s = tec_times_power(sum, shift);
    s = s < 1 ? 1 : s > 1 << 24 ? 1 << 24 : s;
    const unsigned n = tec_floor_log2((uint32_t)s);
    return 2 * n + (n ? (uint32_t)s >> (n - 1) & 1 : 0);
}

#endif

#include "context.h"

enum { MEAN_LIMIT = 15 * 16, MEANS = 16, SHAPES = 8, OFFSETS = 3, UNIT = 16 };

static inline float floor_of(float x)
{
    const float whole = (float)(int32_t)x;
    return whole > x ? whole - 1 : whole;
}

static inline float clip(float x, float least, float most)
{
    return x < least ? least : x > most ? most : x;
}

int tec_context_shapes(const float *out, size_t outputs, const int16_t *features, size_t stride,
                       const int32_t *old, size_t numbers, const int64_t *own, size_t count,
                       float *mean, float *scale, float *shape)
{
    for (size_t i = 0; i < count; i++, out += outputs, features += stride) {
        mean[i] = clip(floor_of(out[0] * (1.0f / 32) + 0.5f), -MEAN_LIMIT, MEAN_LIMIT);
        scale[i] = floor_of(out[1] * (1.0f / 64) + 0.5f) + (float)features[0];
        shape[i] = floor_of(out[2] * (float)(7.0 / 512) + 0.5f);
        if (!old) continue;
        if (own[i] < 0 || (size_t)own[i] >= numbers) return -1;
        const float gain = clip(floor_of(out[3] * (1.0f / 8) + 0.5f), -64, 64);
        mean[i] += floor_of(gain * (float)old[own[i]] * (1.0f / 32) + 0.5f);
    }
    return 0;
}

void tec_context_choose(const float *mean, const float *scale, const float *shape, size_t count,
                        const int32_t *packed, int least, int most, int32_t *row, int32_t *base,
                        int32_t *raw)
{
    for (size_t i = 0; i < count; i++) {
        const float whole = floor_of((mean[i] + MEANS / 2) * (1.0f / MEANS));
        const int32_t part = (int32_t)(mean[i] - whole * MEANS) + MEANS / 2;
        const int32_t found = packed[(int)clip(scale[i], (float)least, (float)most) - least];
        const int merged = (found >> 16) & 15;
        const int32_t form = (int32_t)clip(shape[i], 0, SHAPES - 1);
        row[i] = (found & 0xFFFF) + form * (MEANS >> merged) + (part >> merged);
        base[i] = (int32_t)whole;
        raw[i] = found >> 20;
    }
}

static inline int64_t in_step(int64_t q, int64_t offset, int64_t step)
{
    return ((q * 64 + offset) * step + 512) >> 10;
}

int64_t tec_context_rescale(const int32_t *q, const int32_t *row, const int32_t *base,
                            const int32_t *raw, size_t count, const int8_t *offsets, size_t rows,
                            int64_t half, int64_t step, int32_t *out)
{
    int64_t peak = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t value = q[i];
        if (step != UNIT) {
            if (row[i] < 0 || (size_t)row[i] >= rows) return -1;
            int64_t symbol = value - base[i];
            symbol = symbol < -OFFSETS ? -OFFSETS : symbol > OFFSETS ? OFFSETS : symbol;
            const int64_t wide = value > 0 ? half : value < 0 ? -half : 0;
            const int64_t offset = raw[i] > 0 ? wide : offsets[row[i] * 7 + symbol + OFFSETS];
            value = in_step(value, offset, step);
        }
        if (value > peak) peak = value;
        if (-value > peak) peak = -value;
        out[i] = (int32_t)value;
    }
    return peak;
}

void tec_pass_rows(tec_pass pass, const int32_t *before, size_t count, const float *mean,
                   const float *scale, const float *shape, const int32_t *packed, int least,
                   int most, int32_t *row)
{
    const int32_t scales = most - least + 1;
    for (size_t i = 0; i < count; i++) {
        const int32_t place = (int32_t)clip(scale[i], (float)least, (float)most) - least;
        const int32_t form = (int32_t)clip(shape[i], 0, SHAPES - 1);
        if (before[i]) {
            const int32_t some = before[i] < -3 || before[i] > 3 ? 3 : before[i];
            const int32_t kind = (some < 0 ? -some : some) - 1;
            row[i] = pass.digits + (kind * scales + place) * SHAPES + form;
        } else {
            const int32_t found = packed[place], merged = (found >> 16) & 15;
            const int32_t part = (int32_t)clip(mean[i], -MEANS / 2, MEANS / 2 - 1) + MEANS / 2;
            row[i] = pass.zeros + (found & 0xFFFF) + form * (MEANS >> merged) + (part >> merged);
        }
    }
}

int tec_pass_refine(const int32_t *before, const int32_t *symbol, size_t count, int32_t *q)
{
    for (size_t i = 0; i < count; i++) {
        const int32_t old = before[i], more = symbol[i];
        if (more > 1 || more < (old ? 0 : -1)) return -1;
        q[i] = old ? 2 * old + (old > 0 ? more : -more) : more;
    }
    return 0;
}

int64_t tec_pass_rescale(tec_pass pass, const int32_t *q, const int32_t *row, size_t count,
                         const int8_t *of_zeros, size_t rows, const int8_t *of_digits,
                         size_t digit_rows, int64_t step, int32_t *out)
{
    int64_t peak = 0;
    for (size_t i = 0; i < count; i++) {
        const int digit = row[i] >= pass.digits;
        const int64_t place = (int64_t)row[i] - (digit ? pass.digits : pass.zeros);
        if (place < 0 || (size_t)place >= (digit ? digit_rows : rows)) return -1;
        if (!digit && (q[i] < -1 || q[i] > 1)) return -1;
        const int64_t offset = digit ? of_digits[place * 2 + (q[i] & 1)] * (q[i] < 0 ? -1 : 1)
                                     : of_zeros[place * 3 + q[i] + 1];
        const int64_t value = in_step(q[i], offset, step);
        if (value > peak) peak = value;
        if (-value > peak) peak = -value;
        out[i] = (int32_t)value;
    }
    return peak;
}

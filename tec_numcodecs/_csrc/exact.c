#include "exact.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "simd.h"

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "double arithmetic must round to double: leave the extension out, the torch twin is exact"
#endif

enum { LEFT_LIMIT = 32639, SCALE_FLOOR = -60, MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };

/* Adding and subtracting 1.5 * 2^52 rounds a double below 2^51 to an integer, ties to even. */
static const double ROUND = 6755399441055744.0;
static const double LOG2_E = 94548 / 65536.0;
static const int32_t POWER_GRID = 256, POWER_END = 31 * 256, DIP_GRID = 512, DIP_END = 8 * 512;

static double power_of_two(int64_t exponent)
{
    const int64_t bits = (exponent + EXPONENT_BIAS) << MANTISSA_BITS;
    double out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* The largest magnitude: of bit patterns, which compilers vectorise; they are in the same order. */
static inline double largest(const double *x, size_t n)
{
    int64_t most = 0;
    double out;
    for (size_t i = 0; i < n; i++) {
        int64_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT64_MAX;
        most = bits > most ? bits : most;
    }
    memcpy(&out, &most, sizeof out);
    return out;
}

/* The smallest exponent e >= -60 with largest <= limit * 2^e. */
static inline int64_t scale_exponent(double most, int32_t limit)
{
    int64_t bits, exponent;
    int width = -1;
    for (int32_t left = limit; left; left >>= 1) width++;
    memcpy(&bits, &most, sizeof bits);
    exponent = (bits >> MANTISSA_BITS) - (EXPONENT_BIAS + width);
    if (exponent < SCALE_FLOOR) exponent = SCALE_FLOOR;
    return exponent + (most * power_of_two(-exponent) > limit);
}

static inline double nearest(double x) { return (x + ROUND) - ROUND; }

TEC_MULTIVERSION
void tec_exact_quantise(const double *x, double *out, double *scale, size_t rows, size_t n,
                        int32_t limit)
{
    for (size_t row = 0; row < rows; row++, x += n, out += n) {
        const int64_t exponent = scale_exponent(largest(x, n), limit);
        const double inverse = power_of_two(-exponent);
        scale[row] = power_of_two(exponent);
        for (size_t i = 0; i < n; i++) out[i] = nearest(x[i] * inverse);
    }
}

/* One piece of a patch to bytes; returns its product with `total`. */
static inline double split(const double *restrict x, const double *restrict total, double inverse,
                           int8_t *restrict high, int8_t *restrict low, size_t n)
{
    double lane[8] = {0}, sum = 0;
    size_t i = 0;
    for (size_t k = 0; k < n; k++) {
        const int32_t whole = (int32_t)nearest(x[k] * inverse);
        const int32_t upper = (whole + 128) >> 8;
        high[k] = (int8_t)upper;
        low[k] = (int8_t)(whole - upper * 256);
    }
    for (; i + 8 <= n; i += 8) /* whole numbers: any order is exact */
        for (size_t k = 0; k < 8; k++) lane[k] += nearest(x[i + k] * inverse) * total[i + k];
    for (; i < n; i++) sum += nearest(x[i] * inverse) * total[i];
    for (size_t k = 0; k < 8; k++) sum += lane[k];
    return sum;
}

/* The largest magnitude in one patch. */
static inline double largest_of(const tec_patches *p, const double *patch)
{
    double most = 0;
    for (size_t s = 0; s < p->segments; s++) {
        const double found = largest(patch + s * p->pitch, p->length);
        most = found > most ? found : most;
    }
    return most;
}

TEC_MULTIVERSION
void tec_exact_split_words(tec_patches p, int16_t *words, double *scale, size_t padded)
{
    const size_t inner = p.segments * p.length;
    for (size_t row = 0; row < p.height; row++) {
        for (size_t column = 0; column < p.width; column++, words += padded) {
            const double *patch = p.x + row * p.pitch + column * p.step;
            const int64_t exponent = scale_exponent(largest_of(&p, patch), LEFT_LIMIT);
            const double inverse = power_of_two(-exponent);
            int16_t *target = words;
            *scale++ = power_of_two(exponent);
            for (size_t s = 0; s < p.segments; s++, target += p.length)
                for (size_t k = 0; k < p.length; k++)
                    target[k] = (int16_t)(int32_t)nearest(patch[s * p.pitch + k] * inverse);
            memset(target, 0, (padded - inner) * sizeof *target);
        }
    }
}

TEC_MULTIVERSION
void tec_exact_split(tec_patches p, const double *total, int8_t *high, int8_t *low, double *scale,
                     double *check)
{
    for (size_t row = 0; row < p.height; row++) {
        for (size_t column = 0; column < p.width; column++) {
            const double *patch = p.x + row * p.pitch + column * p.step;
            double sum = 0;
            const int64_t exponent = scale_exponent(largest_of(&p, patch), LEFT_LIMIT);
            const double inverse = power_of_two(-exponent);
            *scale++ = power_of_two(exponent);
            for (size_t s = 0; s < p.segments; s++, high += p.length, low += p.length)
                sum += split(patch + s * p.pitch, total + s * p.length, inverse, high, low,
                             p.length);
            *check++ = sum;
        }
    }
}

TEC_MULTIVERSION
int tec_exact_join(const int32_t *restrict high_sums, const int32_t *restrict low_sums,
                   const double *restrict scale, const double *restrict check,
                   const double *restrict column, const double *restrict bias,
                   double *restrict out, size_t rows, size_t n)
{
    int wrong = 0;
    for (size_t row = 0; row < rows; row++, high_sums += 2 * n, low_sums += 2 * n, out += n) {
        const int32_t *hh = high_sums, *hl = high_sums + n, *lh = low_sums, *ll = low_sums + n;
        const double factor = scale[row];
        int64_t upper = 0, middle = 0, lower = 0;
        for (size_t i = 0; i < n; i++) {
            const int32_t both = 2 * hl[i] + lh[i];
            const double whole = (double)hh[i] * 32768.0 + (double)both * 128.0 + (double)ll[i];
            out[i] = whole * factor * column[i] + bias[i];
            upper += hh[i];
            middle += both;
            lower += ll[i];
        }
        wrong |= (double)(upper * 32768 + middle * 128 + lower) != check[row];
    }
    return wrong ? -1 : 0;
}

/* table(position) by linear interpolation; 0 <= position < count. */
static inline double interpolate(double position, tec_table table)
{
    const int32_t index = (int32_t)position;
    return table.slope[index] * (position - (double)index) + table.value[index];
}

TEC_MULTIVERSION
void tec_exact_gelu(double *x, size_t count, tec_table dip)
{
    for (size_t i = 0; i < count; i++) {
        const double value = x[i], scaled = fabs(value) * DIP_GRID;
        const double position = scaled < DIP_END ? scaled : DIP_END;
        const double lacking = interpolate(position, dip) * 0x1p-30;
        x[i] = (value > 0 ? value : 0.0) - lacking;
    }
}

TEC_MULTIVERSION
void tec_exact_norm(const double *restrict x, const double *restrict weight,
                    const double *restrict bias, double *restrict out, size_t rows, size_t n,
                    double epsilon)
{
    const double count = (double)n;
    for (size_t row = 0; row < rows; row++, x += n, out += n) {
        const int64_t exponent = scale_exponent(largest(x, n), LEFT_LIMIT);
        const double inverse = power_of_two(-exponent);
        int64_t total = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            const int32_t q = (int32_t)nearest(x[i] * inverse);
            out[i] = (double)q;
            total += q;
            squares += q * q;
        }
        const double mean = (double)total; /* n times the mean */
        double spread = (double)squares * count - mean * mean;
        spread = spread + (inverse * inverse) * (count * count * epsilon);
        const double root = sqrt(spread);
        for (size_t i = 0; i < n; i++)
            out[i] = ((out[i] * count - mean) / root) * weight[i] + bias[i];
    }
}

/* One row of attention: scores to powers, their sum being returned; hidden ones become 0. */
static inline double powers(double *scores, double query, const double *key,
                            const uint8_t *hidden, size_t n, double factor, tec_table power)
{
    double most = -INFINITY;
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double score = ((scores[i] * query) * key[i]) * factor;
        scores[i] = hidden && hidden[i] ? -INFINITY : score;
    }
    for (size_t i = 0; i < n; i++) most = scores[i] > most ? scores[i] : most;
    for (size_t i = 0; i < n; i++) {
        const double fall = (most - scores[i]) * (LOG2_E * POWER_GRID);
        const double position = fall < POWER_END ? fall : POWER_END;
        const int32_t whole = (int32_t)interpolate(position, power);
        scores[i] = (double)whole;
        sum += whole;
    }
    return (double)sum;
}

TEC_MULTIVERSION
void tec_exact_attend(double *scores, double *query, const double *key, const double *value,
                      const uint8_t *hidden, size_t groups, size_t rows, size_t n, double factor,
                      tec_table power)
{
    for (size_t group = 0; group < groups; group++, key += n, value += n) {
        for (size_t row = 0; row < rows; row++, scores += n, query++) {
            const uint8_t *mask = hidden ? hidden + row * n : NULL;
            const double sum = powers(scores, *query, key, mask, n, factor, power);
            for (size_t i = 0; i < n; i++) scores[i] = (scores[i] / sum) * value[i];
            const int64_t exponent = scale_exponent(largest(scores, n), LEFT_LIMIT);
            const double inverse = power_of_two(-exponent);
            *query = power_of_two(exponent);
            for (size_t i = 0; i < n; i++) scores[i] = nearest(scores[i] * inverse);
        }
    }
}

/* Rows of every small size and magnitude: nothing out of bounds, sums that check, weights that fit. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "exact.h"
#include "xorshift.h"

enum { MOST = 40, GELU = 4097 + 1, POWER = 7936 + 1 };

/* Between -1 and 1, times a power of two: rows of zeros, subnormals and huge numbers, too. */
static double number(void) { return ((double)next() / 2147483648.0 - 1.0); }

static double *numbers(size_t count, double spread)
{
    double *out = malloc((count ? count : 1) * sizeof *out);
    for (size_t i = 0; out && i < count; i++) out[i] = number() * spread;
    return out;
}

static int bytes(size_t rows, size_t n, double spread)
{
    double *x = numbers(rows * n, spread), *total = numbers(n, 0), *scale = numbers(rows, 1);
    double *check = numbers(rows, 1), *q = numbers(rows * n, 1), *out = numbers(rows * n, 1);
    double *ones = numbers(n, 0), *zeros = numbers(n, 0);
    int8_t *high = malloc(rows * n + 1), *low = malloc(rows * n + 1);
    int32_t *upper = calloc(2 * rows * n + 1, 4), *lower = calloc(2 * rows * n + 1, 4);
    if (!x || !total || !scale || !check || !q || !out || !ones || !zeros || !high || !low ||
        !upper || !lower)
        return 1;
    int failed = 0;
    for (size_t i = 0; i < n; i++) total[i] = ones[i] = 1;
    tec_exact_quantise(x, q, scale, rows, n, 32639);
    tec_exact_split((tec_patches){x, rows, 1, n, 0, 1, n}, total, high, low, scale, check);
    /* A product with the unit matrix: its high bytes are 0, its low bytes 1. */
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < n; i++) {
            upper[(2 * row + 1) * n + i] = high[row * n + i];
            lower[(2 * row + 1) * n + i] = low[row * n + i];
        }
    failed |= tec_exact_join(upper, lower, scale, check, ones, zeros, out, rows, n);
    for (size_t i = 0; i < rows * n; i++) failed |= out[i] != q[i] * scale[i / n];
    lower[n]++; /* a low byte's column */
    failed |= tec_exact_join(upper, lower, scale, check, ones, zeros, out, rows, n) == 0;
    tec_exact_norm(x, ones, zeros, out, rows, n, 1e-6);
    for (size_t i = 0; i < rows * n; i++) failed |= !isfinite(out[i]);
    void *all[] = {x, total, scale, check, q, out, ones, zeros, high, low, upper, lower};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return failed;
}

/* Rows of the largest numbers and others, times columns of the largest and others. */
static int words(size_t rows, size_t n, size_t inner)
{
    const size_t padded = (inner + TEC_WORD_STEP - 1) / TEC_WORD_STEP * TEC_WORD_STEP;
    const size_t panels = (n + TEC_WORD_COLUMNS - 1) / TEC_WORD_COLUMNS;
    double *x = numbers(rows * inner, 32639), *scale = numbers(rows, 1), *out = numbers(rows * n, 1);
    double *ones = numbers(n, 0), *zeros = numbers(n, 0);
    int16_t *left = malloc(rows * padded * sizeof *left);
    int16_t *right = calloc(panels * TEC_WORD_COLUMNS * padded, sizeof *right);
    if (!x || !scale || !out || !ones || !zeros || !left || !right) return 1;
    int failed = 0;
    for (size_t i = 0; i < n; i++) ones[i] = 1;
    for (size_t row = 0; row < rows; row++)
        for (size_t k = 0; k < inner; k++) {
            double *at = x + row * inner + k;
            *at = row % 3 == 0 ? 32639 : row % 3 == 1 ? -32639 : k ? round(*at) : 32639;
        }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < inner; k++) {
            const int16_t most = i % 3 ? 8127 : (int16_t)(8127 * number());
            right[(i / TEC_WORD_COLUMNS * padded + k / 2 * 2) * TEC_WORD_COLUMNS +
                  i % TEC_WORD_COLUMNS * 2 + k % 2] = (int16_t)(i % 3 == 1 ? -most : most);
        }
    const tec_patches patches = {x, rows, 1, inner, 0, 1, inner};
    tec_exact_split_words(patches, left, scale, padded);
    tec_exact_multiply((tec_words){left, scale, rows, padded}, right, ones, zeros, out, n, 0,
                       panels);
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < n; i++) {
            int64_t sum = 0;
            for (size_t k = 0; k < inner; k++)
                sum += (int64_t)x[row * inner + k] *
                       right[(i / TEC_WORD_COLUMNS * padded + k / 2 * 2) * TEC_WORD_COLUMNS +
                             i % TEC_WORD_COLUMNS * 2 + k % 2];
            failed |= out[row * n + i] != (double)sum;
        }
    void *all[] = {x, scale, out, ones, zeros, left, right};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return failed;
}

static int attention(size_t groups, size_t rows, size_t n, double spread, tec_table power)
{
    double *scores = numbers(groups * rows * n, spread), *query = numbers(groups * rows, 0);
    double *key = numbers(groups * n, 0), *value = numbers(groups * n, 0);
    uint8_t *hidden = calloc(rows * n, 1);
    if (!scores || !query || !key || !value || !hidden) return 1;
    int failed = 0;
    for (size_t i = 0; i < groups * rows; i++) query[i] = 1;
    for (size_t i = 0; i < groups * n; i++) key[i] = value[i] = ldexp(1, (int)(next() % 40) - 20);
    for (size_t i = 0; i < rows * n; i++) hidden[i] = i % n && next() % 2;
    tec_exact_attend(scores, query, key, value, next() % 2 ? hidden : NULL, groups, rows, n, 0.2,
                     power);
    for (size_t i = 0; i < groups * rows * n; i++) failed |= !(fabs(scores[i]) <= 32639);
    free(scores);
    free(query);
    free(key);
    free(value);
    free(hidden);
    return failed;
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    double *value = numbers(GELU + POWER, 0), *slope = numbers(GELU + POWER, 0);
    int failed = !value || !slope;
    for (size_t i = 0; !failed && i < POWER - 1; i++) value[i] = (double)(1 << 30) - 100.0 * (double)i;
    const tec_table power = {value, slope}, dip = {value, slope};
    for (size_t i = 0; !failed && i < rounds; i++) {
        const double spread = i % 5 ? ldexp(1, (int)(next() % 600) - 320) : 0;
        failed |= bytes(1 + next() % 9, 1 + next() % MOST, spread);
        failed |= words(1 + next() % 9, 1 + next() % MOST, 1 + next() % (i % 50 ? MOST : 20000));
        failed |= attention(1 + next() % 3, 1 + next() % 5, 1 + next() % MOST, spread, power);
        double *x = numbers(MOST, spread);
        tec_exact_gelu(x, next() % MOST, dip);
        free(x);
    }
    free(value);
    free(slope);
    return failed;
}

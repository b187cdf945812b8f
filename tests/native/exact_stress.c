/* Rows of every small size and magnitude: nothing out of bounds, sums that check, weights that fit. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "exact.h"

enum { MOST = 40, GELU = 4097 + 1, POWER = 7936 + 1 };

static uint64_t state = 88172645463325252ULL;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

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
        failed |= attention(1 + next() % 3, 1 + next() % 5, 1 + next() % MOST, spread, power);
        double *x = numbers(MOST, spread);
        tec_exact_gelu(x, next() % MOST, dip);
        free(x);
    }
    free(value);
    free(slope);
    return failed;
}

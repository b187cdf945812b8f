#include <math.h>

#include "context.h"

enum { OFFSETS = 3 };

static const double ROUND = 6755399441055744.0; /* see lifting.c */

/* About log2, the same everywhere: linear between powers of two. */
static double octaves(int64_t x)
{
    int exponent;
    const double mantissa = frexp((double)x, &exponent); /* 1/2 to 1 */
    return exponent - 2 + 2 * mantissa;
}

static float bits_of(tec_prices prices, int64_t symbol, int32_t row)
{
    const int64_t place = symbol - prices.minimum[row];
    const int64_t last = prices.starts[row + 1] - prices.starts[row] - 1;
    const int escape = place < 0 || place >= last;
    const float bits = prices.bits[prices.starts[row] + (escape ? last : place)];
    if (!escape) return bits;
    return (float)(bits + (6 + octaves(place < 0 ? -place : place - last + 1)));
}

int tec_price_symbols(tec_prices prices, const int32_t *symbol, const int32_t *row, size_t count,
                      float *out)
{
    for (size_t i = 0; i < count; i++) {
        if (row[i] < 0 || (size_t)row[i] >= prices.rows) return -1;
        out[i] = bits_of(prices, symbol[i], row[i]);
    }
    return 0;
}

/* What a coefficient is coded with. */
typedef struct {
    double exact; /* the coefficient in steps */
    int32_t row, base, raw;
    const int8_t *offsets;
    double lagrangian;
} coefficient;

static float cost_of(tec_prices prices, coefficient own, int32_t q)
{
    const int32_t above = q - own.base;
    const int32_t near = above < -OFFSETS ? -OFFSETS : above > OFFSETS ? OFFSETS : above;
    const double offset = own.raw > 0 ? 0 : own.offsets[near + OFFSETS] / 64.0;
    const double error = own.exact - (q + offset);
    const int32_t high = (above + ((1 << own.raw) >> 1)) >> own.raw;
    const double bits = (double)bits_of(prices, high, own.row) + own.raw;
    return (float)(error * error + own.lagrangian * bits);
}

int tec_price_decide(tec_prices prices, const int8_t *offsets, size_t rows, const int32_t *value,
                     double unit, double lagrangian, const int32_t *row, const int32_t *base,
                     const int32_t *raw, size_t count, int32_t *q)
{
    for (size_t i = 0; i < count; i++) {
        if (row[i] < 0 || (size_t)row[i] >= rows || raw[i] < 0 || raw[i] > 30) return -1;
        const double exact = value[i] * unit;
        const int32_t nearest = (int32_t)((exact + ROUND) - ROUND);
        q[i] = nearest;
        if (!nearest) continue;
        const coefficient own = {exact, row[i], base[i], raw[i], offsets + (size_t)row[i] * 7,
                                 lagrangian};
        const int32_t others[2] = {nearest > 0 ? nearest - 1 : nearest + 1, 0};
        float least = cost_of(prices, own, nearest);
        for (int k = 0; k < 2; k++) {
            const float cost = cost_of(prices, own, others[k]);
            if (cost >= least) continue;
            least = cost;
            q[i] = others[k];
        }
    }
    return 0;
}

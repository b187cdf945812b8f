#include "spectrum_cost.h"

#include <float.h>
#include <string.h>

#include "../simd.h"
#include "spectrum.h"

#if defined(FLT_EVAL_METHOD) && (FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2)
#error "float arithmetic must round to float: leave the extension out"
#endif

/* Samples after which the exponents of products of mantissas below 2 are taken out. */
enum { PRODUCTS = 64 * TEC_LANES, ONE = 127 };

double tec_log2(double value)
{
    uint64_t bits;
    double m;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffff) | (uint64_t)1023 << 52;
    memcpy(&m, &bits, sizeof m); /* [1, 2) */
    if (m > 1.4142135623730951) {
        m /= 2;
        exponent++;
    }
    /* 2 / ln 2 * artanh of (m - 1) / (m + 1), which is below 0.172 */
    const double s = (m - 1) / (m + 1), t = s * s;
    const double series =
        1 + t * (1 / 3.0 + t * (1 / 5.0 + t * (1 / 7.0 + t * (1 / 9.0 + t * (1 / 11.0 + t / 13)))));
    return exponent + 2.8853900817779268 * (s * series);
}

/* Logarithms of products: exponents are added, mantissas multiplied. */
typedef struct {
    int32_t exponent[TEC_LANES];
    float mantissa[TEC_LANES];
} product;

/* Splits a number from 1 on into an exponent and a mantissa in [1, 2). */
static inline int32_t split(float value, float *mantissa)
{
    int32_t bits, rest;
    memcpy(&bits, &value, sizeof bits);
    rest = (bits & 0x7fffff) | ONE << 23;
    memcpy(mantissa, &rest, sizeof rest);
    return (bits >> 23) - ONE;
}

static void begin(product *sum)
{
    for (size_t l = 0; l < TEC_LANES; l++) {
        sum->exponent[l] = 0;
        sum->mantissa[l] = 1;
    }
}

TEC_MULTIVERSION
static void normalize(product *sum)
{
    for (size_t l = 0; l < TEC_LANES; l++)
        sum->exponent[l] += split(sum->mantissa[l], &sum->mantissa[l]);
}

/* Joins the lanes of a normalized product by halves: the mantissa ends below 2^16. */
static double log2_of(product *sum)
{
    for (size_t half = TEC_LANES / 2; half; half /= 2)
        for (size_t l = 0; l < half; l++) {
            sum->mantissa[l] *= sum->mantissa[l + half];
            sum->exponent[l] += sum->exponent[l + half];
        }
    return sum->exponent[0] + tec_log2(sum->mantissa[0]);
}

static inline void project(float *restrict y, const float *w, const float *restrict x, size_t stride,
                           const size_t n, size_t count)
{
    for (size_t p = 0; p < count; p++) {
        float sum = 0;
        for (size_t j = 0; j < n; j++) sum += w[j] * x[j * stride + p];
        y[p] = sum;
    }
}

TEC_MULTIVERSION
void tec_project(float *y, const float *w, const float *x, size_t stride, size_t n, size_t count)
{
    switch (n) {
    case 1: project(y, w, x, stride, 1, count); break;
    case 2: project(y, w, x, stride, 2, count); break;
    case 3: project(y, w, x, stride, 3, count); break;
    case 4: project(y, w, x, stride, 4, count); break;
    case 5: project(y, w, x, stride, 5, count); break;
    case 6: project(y, w, x, stride, 6, count); break;
    case 7: project(y, w, x, stride, 7, count); break;
    case 8: project(y, w, x, stride, 8, count); break;
    case 9: project(y, w, x, stride, 9, count); break;
    case 10: project(y, w, x, stride, 10, count); break;
    case 11: project(y, w, x, stride, 11, count); break;
    case 12: project(y, w, x, stride, 12, count); break;
    default: project(y, w, x, stride, TEC_BANDS, count); break;
    }
}

/* These two loops are all that their functions do: compilers then keep the lanes in registers. */
TEC_MULTIVERSION
static void multiply(product *restrict out, const float *y, size_t count)
{
    product sum = *out;
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (size_t l = 0; l < TEC_LANES; l++) {
            float mantissa;
            sum.exponent[l] += split(1 + y[p + l] * y[p + l], &mantissa);
            sum.mantissa[l] *= mantissa;
        }
    *out = sum;
}

TEC_MULTIVERSION
static void multiply_turned(product *restrict out, const float *a, const float *b, float c, float s,
                            size_t count)
{
    product sum = *out;
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (size_t l = 0; l < TEC_LANES; l++) {
            const float x = c * a[p + l] - s * b[p + l], y = s * a[p + l] + c * b[p + l];
            float mantissa; /* both factors are below 2^60 */
            sum.exponent[l] += split((1 + x * x) * (1 + y * y), &mantissa);
            sum.mantissa[l] *= mantissa;
        }
    *out = sum;
}

static size_t portion(size_t left) { return left < PRODUCTS ? left : PRODUCTS; }

double tec_cost(const float *y, size_t count)
{
    product sum;
    begin(&sum);
    for (size_t at = 0; at < count; at += PRODUCTS) {
        multiply(&sum, y + at, portion(count - at));
        normalize(&sum);
    }
    return log2_of(&sum);
}

double tec_cost_turned(const float *a, const float *b, float c, float s, size_t count)
{
    product sum;
    begin(&sum);
    for (size_t at = 0; at < count; at += PRODUCTS) {
        multiply_turned(&sum, a + at, b + at, c, s, portion(count - at));
        normalize(&sum);
    }
    return log2_of(&sum);
}

TEC_MULTIVERSION
void tec_turn(float *restrict a, float *restrict b, float c, float s, size_t count)
{
    for (size_t p = 0; p < count; p++) {
        const float x = a[p], y = b[p];
        a[p] = c * x - s * y;
        b[p] = s * x + c * y;
    }
}

TEC_MULTIVERSION
void tec_weigh(const float *restrict y, float *restrict w, size_t count)
{
    for (size_t p = 0; p < count; p++) w[p] = 1 / (1 + y[p] * y[p]);
}

/* Joins the lanes by halves. */
static inline float joined(float *lane)
{
    for (size_t half = TEC_LANES / 2; half; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

TEC_MULTIVERSION
void tec_pair_sums(const float *ya, const float *wa, const float *yb, const float *wb, size_t count,
                   double *slope, double *curvature)
{
    float first[TEC_LANES] = {0}, second[TEC_LANES] = {0};
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (size_t l = 0; l < TEC_LANES; l++) {
            const float a = ya[p + l], b = yb[p + l];
            first[l] += a * b * (wb[p + l] - wa[p + l]);
            second[l] += b * b * wa[p + l] + a * a * wb[p + l];
        }
    *slope = joined(first);
    *curvature = joined(second);
}

#include "spectrum_cost.h"

#include <float.h>
#include <string.h>

#include "../simd.h"
#include "spectrum.h"

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float arithmetic must round to float: leave the extension out"
#endif

/* Mantissas below 2 are multiplied so often before their exponent is taken out again. */
enum { PRODUCTS = 64, ONE = 127 };

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

static void begin(product *sum)
{
    for (int l = 0; l < TEC_LANES; l++) {
        sum->exponent[l] = 0;
        sum->mantissa[l] = 1;
    }
}

/* Splits a number from 1 on into an exponent and a mantissa in [1, 2). */
static inline int32_t split(float value, float *mantissa)
{
    int32_t bits, rest;
    memcpy(&bits, &value, sizeof bits);
    rest = (bits & 0x7fffff) | ONE << 23;
    memcpy(mantissa, &rest, sizeof rest);
    return (bits >> 23) - ONE;
}

static void normalize(product *sum)
{
    for (int l = 0; l < TEC_LANES; l++) sum->exponent[l] += split(sum->mantissa[l], &sum->mantissa[l]);
}

/* Joins the lanes by halves. */
static double finish(product *sum)
{
    double m[TEC_LANES];
    normalize(sum);
    for (int l = 0; l < TEC_LANES; l++) m[l] = sum->mantissa[l];
    for (int half = TEC_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) {
            m[l] *= m[l + half]; /* below 2^16 at the end */
            sum->exponent[l] += sum->exponent[l + half];
        }
    return sum->exponent[0] + tec_log2(m[0]);
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

TEC_MULTIVERSION
static void multiply(product *restrict out, const float *y, size_t count)
{
    product sum = *out;
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (int l = 0; l < TEC_LANES; l++) {
            float mantissa;
            sum.exponent[l] += split(1 + y[p + l] * y[p + l], &mantissa);
            sum.mantissa[l] *= mantissa;
        }
    *out = sum;
}

double tec_cost(const float *y, size_t count)
{
    product sum;
    begin(&sum);
    for (size_t at = 0; at < count; at += PRODUCTS * TEC_LANES) {
        const size_t left = count - at, most = PRODUCTS * TEC_LANES;
        multiply(&sum, y + at, left < most ? left : most);
        normalize(&sum);
    }
    return finish(&sum);
}

TEC_MULTIVERSION
static void multiply_turned(product *restrict out, const float *a, const float *b, float c, float s,
                            size_t count)
{
    product sum = *out;
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (int l = 0; l < TEC_LANES; l++) {
            const float x = c * a[p + l] - s * b[p + l], y = s * a[p + l] + c * b[p + l];
            float mantissa; /* both factors are below 2^60 */
            sum.exponent[l] += split((1 + x * x) * (1 + y * y), &mantissa);
            sum.mantissa[l] *= mantissa;
        }
    *out = sum;
}

double tec_cost_turned(const float *a, const float *b, float c, float s, size_t count)
{
    product sum;
    begin(&sum);
    for (size_t at = 0; at < count; at += PRODUCTS * TEC_LANES) {
        const size_t left = count - at, most = PRODUCTS * TEC_LANES;
        multiply_turned(&sum, a + at, b + at, c, s, left < most ? left : most);
        normalize(&sum);
    }
    return finish(&sum);
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
void tec_prepare(const float *restrict y, float *restrict g, float *restrict w, float *restrict e,
                 size_t count)
{
    for (size_t p = 0; p < count; p++) {
        e[p] = y[p] * y[p];
        w[p] = 1 / (1 + e[p]);
        g[p] = y[p] * w[p];
    }
}

/* Joins the lanes by halves. */
static inline float joined(float *lane)
{
    for (int half = TEC_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

TEC_MULTIVERSION
void tec_pair_sums(const tec_slopes *a, const tec_slopes *b, size_t count, double *slope,
                   double *curvature)
{
    float first[TEC_LANES] = {0}, second[TEC_LANES] = {0};
    const float *ay = a->y, *ag = a->g, *aw = a->w, *ae = a->e;
    const float *by = b->y, *bg = b->g, *bw = b->w, *be = b->e;
    for (size_t p = 0; p < count; p += TEC_LANES)
        for (int l = 0; l < TEC_LANES; l++) {
            first[l] += ay[p + l] * bg[p + l] - by[p + l] * ag[p + l];
            second[l] += aw[p + l] * be[p + l] + bw[p + l] * ae[p + l];
        }
    *slope = joined(first);
    *curvature = joined(second);
}

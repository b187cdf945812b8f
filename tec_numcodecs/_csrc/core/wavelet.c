#include "wavelet.h"

#include <float.h>

#include "../simd.h"

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "double arithmetic must round to double"
#endif

/* Lifting coefficients in units of 2^-12. A step adds rint(c (a + b)), ties to even. */
static const int32_t STEP[4] = {-6497, -217, 3616, 1817};
/* Products of sums of two such numbers and a coefficient fit 31 bits, whatever the step. */
enum { SMALL = 60000, LIMIT = 1 << 21 };

static inline int32_t rounded(int32_t product)
{
    return (product + 2047 + (product >> 12 & 1)) >> 12;
}

TEC_MULTIVERSION
static void lift_small(int32_t *restrict target, const int32_t *a, const int32_t *b, size_t n,
                       int32_t c, int32_t sign)
{
    if (sign > 0)
        for (size_t i = 0; i < n; i++) target[i] += rounded(c * (a[i] + b[i]));
    else
        for (size_t i = 0; i < n; i++) target[i] -= rounded(c * (a[i] + b[i]));
}

TEC_MULTIVERSION
static void lift_large(int32_t *restrict target, const int32_t *a, const int32_t *b, size_t n,
                       int32_t c, int32_t sign)
{
    static const double ROUND = 6755399441055744.0; /* 1.5 * 2^52: rounds to an integer */
    const double factor = c / 4096.0;
    for (size_t i = 0; i < n; i++) {
        const double product = factor * (double)(a[i] + b[i]);
        target[i] += sign * (int32_t)((product + ROUND) - ROUND);
    }
}

TEC_MULTIVERSION
static int32_t peak_of(const int32_t *x, size_t n)
{
    int32_t high = 0, low = 0;
    for (size_t i = 0; i < n; i++) {
        high = x[i] > high ? x[i] : high;
        low = x[i] < low ? x[i] : low;
    }
    return high > -low ? high : -low;
}

typedef void (*lift_function)(int32_t *restrict, const int32_t *, const int32_t *, size_t, int32_t,
                              int32_t);

/* A signal of nh + 1 low-pass and nh high-pass elements: single numbers side by side (width 1, a
 * row), or rows of `width` numbers (columns side by side). */
static void lift_all(lift_function lift, int32_t *low, int32_t *high, size_t nh, size_t width,
                     int32_t sign)
{
    for (int k = 0; k < 4; k++) {
        const int step = sign > 0 ? k : 3 - k;
        const int32_t c = STEP[step];
        if (step % 2 == 0) {
            lift(high, low, low + width, nh * width, c, sign);
        } else { /* both ends mirror */
            lift(low, high, high, width, c, sign);
            if (nh > 1) lift(low + width, high, high + width, (nh - 1) * width, c, sign);
            lift(low + nh * width, high + (nh - 1) * width, high + (nh - 1) * width, width, c, sign);
        }
    }
}

/* Columns of a pair of subbands that lie above each other: all rows at once. */
static void columns(int32_t *low, int32_t *high, size_t nh, size_t width, int32_t sign)
{
    if (!nh || !width) return;
    const int32_t a = peak_of(low, (nh + 1) * width), b = peak_of(high, nh * width);
    lift_all(a < SMALL && b < SMALL ? lift_small : lift_large, low, high, nh, width, sign);
}

static void rows(int32_t *low, int32_t *high, tec_size half, int32_t sign)
{
    /* half.h rows of half.w + 1 low-pass and half.w high-pass numbers */
    if (!half.w || !half.h) return;
    const int32_t a = peak_of(low, half.h * (half.w + 1)), b = peak_of(high, half.h * half.w);
    const lift_function lift = a < SMALL && b < SMALL ? lift_small : lift_large;
    for (size_t y = 0; y < half.h; y++)
        lift_all(lift, low + y * (half.w + 1), high + y * half.w, half.w, 1, sign);
}

static inline int32_t clip(int32_t x) { return x > LIMIT ? LIMIT : x < -LIMIT ? -LIMIT : x; }

TEC_MULTIVERSION
static void interleave(const int32_t *restrict low, const int32_t *restrict high, size_t nh,
                       int32_t *restrict out)
{
    for (size_t x = 0; x < nh; x++) {
        out[2 * x] = clip(low[x]);
        out[2 * x + 1] = clip(high[x]);
    }
    out[2 * nh] = clip(low[nh]);
}

TEC_MULTIVERSION
static void separate(const int32_t *restrict in, size_t nh, int32_t *restrict low,
                     int32_t *restrict high)
{
    for (size_t x = 0; x < nh; x++) {
        low[x] = in[2 * x];
        high[x] = in[2 * x + 1];
    }
    low[nh] = in[2 * nh];
}

void tec_wavelet_forward(const int32_t *plane, tec_size size, tec_subbands out)
{
    const size_t nh = size.h / 2, nw = size.w / 2;
    for (size_t y = 0; y < size.h; y++) {
        int32_t *low = y % 2 ? out.detail[TEC_LH] : out.low;
        int32_t *high = y % 2 ? out.detail[TEC_HH] : out.detail[TEC_HL];
        separate(plane + y * size.w, nw, low + y / 2 * (nw + 1), high ? high + y / 2 * nw : NULL);
    }
    rows(out.low, out.detail[TEC_HL], (tec_size){nh + 1, nw}, 1);
    rows(out.detail[TEC_LH], out.detail[TEC_HH], (tec_size){nh, nw}, 1);
    columns(out.low, out.detail[TEC_LH], nh, nw + 1, 1);
    columns(out.detail[TEC_HL], out.detail[TEC_HH], nh, nw, 1);
}

void tec_wavelet_inverse(tec_subbands in, tec_size size, int32_t *plane)
{
    const size_t nh = size.h / 2, nw = size.w / 2;
    columns(in.low, in.detail[TEC_LH], nh, nw + 1, -1);
    columns(in.detail[TEC_HL], in.detail[TEC_HH], nh, nw, -1);
    for (size_t y = 0; y < size.h; y++) { /* row by row, while it is in the first cache */
        int32_t *low = (y % 2 ? in.detail[TEC_LH] : in.low) + y / 2 * (nw + 1);
        int32_t *high = y % 2 ? in.detail[TEC_HH] : in.detail[TEC_HL];
        high = high ? high + y / 2 * nw : low;
        rows(low, high, (tec_size){1, nw}, -1);
        interleave(low, high, nw, plane + y * size.w);
    }
}

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"
#include "transform.h"

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "double arithmetic must round to double: leave the extension out, the NumPy twin is exact"
#endif

/* Adding and subtracting 1.5 * 2^52 rounds a double below 2^51 to an integer, ties to even. */
static const double ROUND = 6755399441055744.0;

static const double STEP[4] = {-6497 / 4096.0, -217 / 4096.0, 3616 / 4096.0, 1817 / 4096.0};

/* target += sign * rint(c * (a + b)), element by element */
TEC_MULTIVERSION
static void lift(int32_t *restrict target, const int32_t *a, const int32_t *b, size_t n, double c,
                 int32_t sign)
{
    for (size_t i = 0; i < n; i++) {
        const double product = c * (double)(a[i] + b[i]);
        target[i] += sign * (int32_t)((product + ROUND) - ROUND);
    }
}

/* A signal is split into low[0..nl) and high[0..nh), nl - nh being 0 or 1. Its elements are either
 * single numbers next to each other (a row: step 1, width 1) or whole rows (columns side by side:
 * step = stride of the rows, width = how many). Ends extend by whole-sample symmetry. */
typedef struct {
    size_t nl, nh, step, width;
} signal;

static void lift_high(int32_t *high, const int32_t *low, signal s, double c, int32_t sign)
{
    const size_t inner = s.nh < s.nl ? s.nh : s.nh - 1; /* those with a low sample to the right */
    if (s.step == 1) { /* elements are neighbours in memory: all at once */
        lift(high, low, low + 1, inner, c, sign);
    } else {
        for (size_t i = 0; i < inner; i++) {
            const int32_t *left = low + i * s.step;
            lift(high + i * s.step, left, left + s.step, s.width, c, sign);
        }
    }
    if (inner < s.nh) {
        const int32_t *left = low + inner * s.step;
        lift(high + inner * s.step, left, left, s.width, c, sign);
    }
}

static void lift_low(int32_t *low, const int32_t *high, signal s, double c, int32_t sign)
{
    lift(low, high, high, s.width, c, sign);
    if (s.step == 1) { /* elements are neighbours in memory: all at once */
        lift(low + 1, high, high + 1, s.nh - 1, c, sign);
    } else {
        for (size_t i = 1; i < s.nh; i++) {
            const int32_t *left = high + (i - 1) * s.step;
            lift(low + i * s.step, left, left + s.step, s.width, c, sign);
        }
    }
    if (s.nl > s.nh) {
        const int32_t *last = high + (s.nh - 1) * s.step;
        lift(low + s.nh * s.step, last, last, s.width, c, sign);
    }
}

static void lift_all(int32_t *low, int32_t *high, signal s, int32_t sign)
{
    if (!s.nh || !s.width) return;
    for (int k = 0; k < 4; k++) {
        const int step = sign > 0 ? k : 3 - k;
        if (step % 2 == 0)
            lift_high(high, low, s, STEP[step], sign);
        else
            lift_low(low, high, s, STEP[step], sign);
    }
}

/* Subbands of a plane, all with rows of lw numbers: [odd row?][high-pass in x?] */
typedef struct {
    int32_t *part[2][2];
    size_t h, w;
    signal along_x, along_left, along_right;
} bands;

static bands bands_of(int32_t *low, int32_t *detail, size_t h, size_t w)
{
    const size_t lh = (h + 1) / 2, lw = (w + 1) / 2, size = lh * lw;
    bands b = {{{low, detail}, {detail + size, detail + 2 * size}}, h, w,
               {lw, w / 2, 1, 1}, {lh, h / 2, lw, lw}, {lh, h / 2, lw, w / 2}};
    return b;
}

static void forward_plane(const int32_t *plane, bands b)
{
    for (size_t y = 0; y < b.h; y++, plane += b.w) {
        int32_t *low = b.part[y % 2][0] + y / 2 * b.along_x.nl;
        int32_t *high = b.part[y % 2][1] + y / 2 * b.along_x.nl;
        for (size_t x = 0; x < b.along_x.nh; x++) {
            low[x] = plane[2 * x];
            high[x] = plane[2 * x + 1];
        }
        if (b.w % 2) low[b.along_x.nh] = plane[b.w - 1];
        lift_all(low, high, b.along_x, 1);
    }
    lift_all(b.part[0][0], b.part[1][0], b.along_left, 1);
    lift_all(b.part[0][1], b.part[1][1], b.along_right, 1);
}

static void inverse_plane(int32_t *plane, bands b)
{
    lift_all(b.part[0][0], b.part[1][0], b.along_left, -1);
    lift_all(b.part[0][1], b.part[1][1], b.along_right, -1);
    for (size_t y = 0; y < b.h; y++, plane += b.w) {
        int32_t *low = b.part[y % 2][0] + y / 2 * b.along_x.nl;
        int32_t *high = b.part[y % 2][1] + y / 2 * b.along_x.nl;
        lift_all(low, high, b.along_x, -1);
        for (size_t x = 0; x < b.along_x.nh; x++) {
            plane[2 * x] = low[x];
            plane[2 * x + 1] = high[x];
        }
        if (b.w % 2) plane[b.w - 1] = low[b.along_x.nh];
    }
}

void tec_dwt97_forward(const int32_t *planes, int32_t *low, int32_t *detail, size_t n, size_t h,
                       size_t w)
{
    const size_t size = ((h + 1) / 2) * ((w + 1) / 2);
    for (size_t i = 0; i < n; i++)
        forward_plane(planes + i * h * w, bands_of(low + i * size, detail + i * 3 * size, h, w));
}

int tec_dwt97_inverse(const int32_t *low, const int32_t *detail, int32_t *planes, size_t n,
                      size_t h, size_t w)
{
    const size_t size = ((h + 1) / 2) * ((w + 1) / 2);
    int32_t *work = malloc(4 * size * sizeof(int32_t)); /* the inputs belong to the caller */
    if (!work) return -1;
    for (size_t i = 0; i < n; i++) {
        memcpy(work, low + i * size, size * sizeof(int32_t));
        memcpy(work + size, detail + i * 3 * size, 3 * size * sizeof(int32_t));
        inverse_plane(planes + i * h * w, bands_of(work, work + size, h, w));
    }
    free(work);
    return 0;
}

/* The transforms on random planes of every small size: exactly reversible, nothing out of bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transform.h"
#include "xorshift.h"

static int32_t *fill(size_t count, int32_t limit)
{
    int32_t *out = malloc((count ? count : 1) * sizeof *out);
    for (size_t i = 0; out && i < count; i++)
        out[i] = (int32_t)(next() % (uint32_t)(2 * limit)) - limit;
    return out;
}

static int wavelet(size_t n, size_t h, size_t w)
{
    const size_t half = n * ((h + 1) / 2) * ((w + 1) / 2), size = n * h * w;
    int32_t *planes = fill(size, 1 << 21), *low = fill(half, 1), *back = fill(size, 1);
    int32_t *detail = calloc(3 * half + 1, sizeof *detail);
    if (!planes || !low || !back || !detail) return 1;
    tec_dwt97_forward(planes, low, detail, n, h, w);
    int failed = tec_dwt97_inverse(low, detail, back, n, h, w);
    failed |= memcmp(planes, back, size * sizeof *planes) != 0;
    free(planes);
    free(low);
    free(back);
    free(detail);
    return failed;
}

static int spectral(size_t n, size_t pixels)
{
    int32_t *rows = fill(n * pixels, 1 << 18), *lifts = fill(3 * n * n, 1 << 15);
    int32_t *copy = malloc(n * pixels * sizeof *copy + 1);
    if (!rows || !lifts || !copy) return 1;
    memcpy(copy, rows, n * pixels * sizeof *copy);
    int failed = tec_klt_forward(rows, lifts, n, pixels);
    failed |= tec_klt_inverse(rows, lifts, n, pixels);
    failed |= memcmp(rows, copy, n * pixels * sizeof *copy) != 0;
    free(rows);
    free(lifts);
    free(copy);
    return failed;
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    for (size_t h = 1; h <= 9; h++)
        for (size_t w = 1; w <= 9; w++)
            if (wavelet(2, h, w)) return 1;
    for (size_t i = 0; i < rounds; i++) {
        if (wavelet(1 + next() % 3, 1 + next() % 70, 1 + next() % 70)) return 2;
        if (spectral(1 + next() % 4, 1 + next() % 1100)) return 3;
    }
    return 0;
}

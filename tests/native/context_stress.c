/* Planes, places and networks of every small size: nothing out of bounds, sums that are right. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "xorshift.h"

enum { TABLE = 9, HUGE = 1 << 20 };

static int32_t between(int32_t least, int32_t most)
{
    return least + (int32_t)(next() % (uint32_t)(most - least + 1));
}

static int32_t *plane(size_t count, int32_t most)
{
    int32_t *x = malloc((count ? count : 1) * sizeof *x);
    for (size_t i = 0; x && i < count; i++) x[i] = between(next() % 4 ? -3 : -most, most);
    return x;
}

/* A plane of n x h x w with some blocks coded: all places, then features of all of them. */
static int features(size_t n, size_t h, size_t w)
{
    const size_t down = (h + 7) / 8, across = (w + 7) / 8, blocks = n * down * across;
    const size_t count = n * (h + 2) * (w + 2), wide = (w + 1) / 2 + 2;
    const size_t above = n * ((h + 1) / 2 + 2) * wide, edged = n * (down + 2) * (across + 2);
    uint8_t *flags = calloc(blocks, 1), *bordered = calloc(edged, 1);
    size_t coded = 0, ends[4];
    for (size_t i = 0; i < blocks; i++) coded += flags[i] = next() % 3 > 0;
    int64_t *list = malloc((4 * 64 * coded + 1) * sizeof *list);
    int64_t *flat = list, *own = flat + 64 * coded, *parent = own + 64 * coded;
    int64_t *block = parent + 64 * coded;
    tec_context_places(flags, n, h, w, flat, own, parent, block, ends);
    int failed = ends[3] > 64 * coded;
    const int32_t *near[TEC_HERE] = {0}, *coarse[TEC_ABOVE], *old[TEC_OLD] = {0};
    for (int i = 0; i < TEC_HERE; i++)
        if (i == TEC_HERE_LOW || next() % 2) near[i] = plane(count, HUGE);
    for (int i = 0; i < TEC_ABOVE; i++) coarse[i] = plane(above, HUGE);
    for (int i = 0; i < TEC_OLD; i++) old[i] = plane(count, HUGE);
    int32_t *scale = plane(ends[3], HUGE);
    int16_t table[TABLE];
    for (int i = 0; i < TABLE; i++) table[i] = (int16_t)between(-127, 127);
    const tec_companding few = {table, TABLE};
    const tec_places places = {own, parent, block, {ends[0], ends[1], ends[2], ends[3]}};
    const size_t stride = TEC_PLANE_FEATURES + TEC_REFERENCE_FEATURES + TEC_OWN_FEATURES;
    int16_t *out = malloc((ends[3] * stride + 1) * sizeof *out);
    for (int pass = 0; pass < 2; pass++) {
        const tec_surroundings around = {few, few, few, {near, count, w + 2},
                                         {next() % 2 ? coarse : NULL, above, wide},
                                         {old, count, w + 2}, scale, bordered, edged,
                                         across + 2, between(-8, 8), pass};
        failed |= tec_context_plane(&around, &places, out, stride);
    }
    failed |= tec_context_own(few, old[0], old[1], count, w + 2, own, ends[3], out, stride);
    /* A place outside is noticed, on either side. */
    if (ends[3]) {
        own[0] = next() % 2 ? -1 : (int64_t)count;
        failed |= !tec_context_own(few, old[0], old[1], count, w + 2, own, 1, out, stride);
    }
    for (int i = 0; i < TEC_HERE; i++) free((void *)near[i]);
    for (int i = 0; i < TEC_ABOVE; i++) free((void *)coarse[i]);
    for (int i = 0; i < TEC_OLD; i++) free((void *)old[i]);
    free(flags), free(bordered), free(list), free(scale), free(out);
    return failed;
}

static size_t rounded(size_t x, size_t unit) { return (x + unit - 1) / unit * unit; }

/* A layer that adds up its inputs, each output times another power of two. */
static tec_layer adding(size_t inputs, size_t outputs)
{
    const size_t wide = rounded(outputs, TEC_LAYER_COLUMNS);
    int16_t *weights = calloc(rounded(inputs, 2) * wide, sizeof *weights);
    float *scale = calloc(wide, sizeof *scale), *bias = calloc(wide, sizeof *bias);
    for (size_t o = 0; o < outputs; o++) {
        int16_t *panel = weights + o / TEC_LAYER_COLUMNS * rounded(inputs, 2) * TEC_LAYER_COLUMNS;
        for (size_t i = 0; i < inputs; i++)
            panel[(i / 2 * TEC_LAYER_COLUMNS + o % TEC_LAYER_COLUMNS) * 2 + i % 2] = 1;
        scale[o] = (float)(1 << (o % 4));
    }
    return (tec_layer){weights, scale, bias, inputs, outputs};
}

static int network(size_t count, size_t inputs, size_t width, size_t outputs)
{
    tec_layer layers[3] = {adding(inputs, width), adding(width, width), adding(width, outputs)};
    int16_t *x = malloc((count * inputs + 1) * sizeof *x);
    float *out = malloc((count * outputs + 1) * sizeof *out);
    int failed = 0;
    for (size_t i = 0; i < count * inputs; i++) x[i] = (int16_t)between(-127, 127);
    tec_context_network(layers, x, count, out);
    for (size_t row = 0; row < count; row++) {
        double sum = 0, hidden = 0, last = 0;
        for (size_t i = 0; i < inputs; i++) sum += x[row * inputs + i];
        for (int layer = 0; layer < 2; layer++) {
            double total = 0;
            for (size_t o = 0; o < width; o++) {
                double y = (layer ? hidden : sum) * (1 << (o % 4)) / 16 + 0.5;
                y = y < 0 ? 0 : y > 255 ? 255 : y;
                total += (double)(int)y;
            }
            hidden = last = total;
        }
        for (size_t o = 0; o < outputs; o++)
            failed |= out[row * outputs + o] != (float)(last * (1 << (o % 4)));
    }
    for (int i = 0; i < 3; i++)
        free((void *)layers[i].weights), free((void *)layers[i].scale), free((void *)layers[i].bias);
    free(x), free(out);
    return failed;
}

static int rows(size_t count)
{
    int32_t packed[5] = {0, 100, 200 | 1 << 16, 300 | 2 << 16, 300 | 2 << 16 | 1 << 20};
    float *real = malloc((4 * count + 1) * sizeof *real);
    int32_t *whole = malloc((4 * count + 1) * sizeof *whole);
    int8_t offsets[7 * 3] = {0};
    int failed = 0;
    for (size_t i = 0; i < 3 * count; i++) real[i] = (float)between(-HUGE, HUGE);
    tec_context_choose(real, real + count, real + 2 * count, count, packed, -2, 2, whole,
                       whole + count, whole + 2 * count);
    for (size_t i = 0; i < count; i++) failed |= whole[i] < 0;
    for (size_t i = 0; i < count; i++) {
        whole[i] = between(0, 2);
        whole[3 * count + i] = between(-HUGE, HUGE);
    }
    failed |= tec_context_rescale(whole + 3 * count, whole, whole + count, whole + 2 * count, count,
                                  offsets, 3, 32, 48, whole + 3 * count) < 0;
    if (count) {
        whole[0] = next() % 2 ? -1 : 3;
        failed |= tec_context_rescale(whole + 3 * count, whole, whole + count, whole + 2 * count,
                                      count, offsets, 3, 32, 48, whole + 3 * count) >= 0;
    }
    free(real), free(whole);
    return failed;
}

static int passes(size_t count)
{
    const tec_pass pass = {100, 1000};
    int32_t packed[3] = {0, 100, 200 | 1 << 16};
    float *real = calloc(3 * count + 1, sizeof *real);
    int32_t *before = calloc(4 * count + 1, sizeof *before), *symbol = before + count;
    int32_t *row = symbol + count, *q = row + count;
    int8_t zeros[3 * 900] = {0}, digits[2 * 3 * 3 * 8] = {0};
    int failed = 0;
    for (size_t i = 0; i < 3 * count; i++) real[i] = (float)between(-HUGE, HUGE);
    for (size_t i = 0; i < count; i++) {
        before[i] = next() % 2 ? 0 : between(-HUGE, HUGE);
        symbol[i] = before[i] ? (int32_t)(next() % 2) : between(-1, 1);
    }
    tec_pass_rows(pass, before, count, real, real + count, real + 2 * count, packed, -1, 1, row);
    failed |= tec_pass_refine(before, symbol, count, q);
    failed |= tec_pass_rescale(pass, q, row, count, zeros, 900, digits, 72, 48, q) < 0;
    if (count) {
        row[0] = next() % 2 ? 99 : 1072;
        failed |= tec_pass_rescale(pass, q, row, count, zeros, 900, digits, 72, 48, q) >= 0;
        symbol[0] = 2;
        failed |= tec_pass_refine(before, symbol, count, q) == 0;
    }
    free(real), free(before);
    return failed;
}

/* Two rows of three and four intervals. */
static int costs(size_t count)
{
    const int64_t starts[3] = {0, 3, 7};
    const int32_t minimum[2] = {-1, -2};
    const float bits[7] = {1, 2, 3, 4, 5, 6, 7};
    const tec_prices prices = {starts, minimum, bits, 2};
    const int8_t offsets[14] = {0};
    int32_t *x = calloc(5 * count + 1, sizeof *x), *row = x + count, *base = row + count;
    int32_t *raw = base + count, *q = raw + count;
    float *out = calloc(count + 1, sizeof *out);
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        x[i] = between(-HUGE, HUGE);
        row[i] = between(0, 1);
        base[i] = between(-9, 9);
        raw[i] = between(0, 3);
    }
    failed |= tec_price_symbols(prices, x, row, count, out);
    failed |= tec_price_decide(prices, offsets, 2, x, 0.25, 0.1, row, base, raw, count, q);
    for (size_t i = 0; i < count; i++) failed |= !(out[i] > 0);
    if (count) {
        row[0] = next() % 2 ? -1 : 2;
        failed |= !tec_price_symbols(prices, x, row, count, out);
        failed |= !tec_price_decide(prices, offsets, 2, x, 0.25, 0.1, row, base, raw, count, q);
    }
    free(x), free(out);
    return failed;
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 100;
    int failed = 0;
    for (int i = 0; i < rounds; i++) {
        failed |= features(1 + next() % 3, 1 + next() % 20, 1 + next() % 20);
        failed |= network(next() % 9, 1 + next() % 60, 1 + next() % 70, 1 + next() % 20);
        failed |= rows(next() % 50);
        failed |= passes(next() % 50);
        failed |= costs(next() % 50);
    }
    return failed;
}

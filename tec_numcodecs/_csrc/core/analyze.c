#include "analyze.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 2048 };

/* ---- planes of the bands ------------------------------------------------------------------ */

/* A band (height, width) without its mean, its last row and column repeated. */
static void enter_band(const int32_t *samples, size_t height, size_t width, int32_t mean,
                       tec_size grid, int32_t *out)
{
    for (size_t y = 0; y < grid.h; y++) {
        const int32_t *row = samples + (y < height ? y : height - 1) * width;
        for (size_t x = 0; x < grid.w; x++)
            out[y * grid.w + x] = row[x < width ? x : width - 1] - mean;
    }
}

/* A pixel inside of each native sample, along an axis of n pixels. */
static size_t source_of(tec_axis axis, size_t i)
{
    const size_t first = axis.factor * i;
    return first > axis.phase ? first - axis.phase : 0;
}

int tec_axis_fits(tec_axis axis, unsigned entry, size_t size)
{
    for (size_t i = 1; i < axis.count; i++)
        if (tec_kept(axis, entry, size, i) <= tec_kept(axis, entry, size, i - 1)) return 0;
    return 1;
}

/* What lies between samples that are kept: a cubic through the four nearest of them, the ends
 * repeated. Along one axis: `size` numbers that are `pitch` apart; known ones stand in place. */
static void spread(double *line, size_t pitch, const size_t *kept, size_t count, size_t size)
{
    size_t next = 0; /* first kept sample at or behind the place */
    for (size_t m = 0; m < size; m++) {
        while (next < count && kept[next] < m) next++;
        if (next < count && kept[next] == m) continue;
        if (next == 0 || next == count) {
            line[m * pitch] = line[kept[next ? count - 1 : 0] * pitch];
            continue;
        }
        size_t first = next >= 2 ? next - 2 : next - 1, last = next + 1 < count ? next + 1 : next;
        double sum = 0;
        for (size_t i = first; i <= last; i++) {
            double weight = 1;
            for (size_t j = first; j <= last; j++)
                if (j != i)
                    weight *= ((double)m - (double)kept[j]) / ((double)kept[i] - (double)kept[j]);
            sum += weight * line[kept[i] * pitch];
        }
        line[m * pitch] = sum;
    }
}

/* The plane that a late band gives to its level of entry. */
static int enter_late(const tec_walk *walk, const int32_t *samples, size_t band, int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const unsigned entry = layout->entry[band];
    const tec_size grid = layout->grid[entry];
    const tec_axis rows = layout->rows[band], columns = layout->columns[band];
    const int32_t mean = walk->coder->bands.mean[band];
    tec_mark mark = tec_arena_mark(walk->arena);
    double *plane = tec_take_zeros(walk->arena, grid.h * grid.w, sizeof *plane);
    size_t *down = tec_take(walk->arena, rows.count, sizeof *down);
    size_t *across = tec_take(walk->arena, columns.count, sizeof *across);
    if (!plane || !down || !across) return 0;
    for (size_t i = 0; i < rows.count; i++) down[i] = tec_kept(rows, entry, grid.h, i);
    for (size_t i = 0; i < columns.count; i++) across[i] = tec_kept(columns, entry, grid.w, i);
    for (size_t i = 0; i < rows.count; i++) {
        const int32_t *row = samples + source_of(rows, i) * layout->width;
        double *line = plane + down[i] * grid.w;
        for (size_t j = 0; j < columns.count; j++)
            line[across[j]] = row[source_of(columns, j)] - mean;
        spread(line, 1, across, columns.count, grid.w);
    }
    for (size_t x = 0; x < grid.w; x++) spread(plane + x, grid.w, down, rows.count, grid.h);
    for (size_t i = 0; i < grid.h * grid.w; i++) {
        const int32_t v = (int32_t)floor(plane[i] + 0.5);
        out[i] = walk->unit ? v : tec_raise(v, entry);
    }
    tec_arena_return(walk->arena, mark);
    return 1;
}

/* Planes (n, grid) that level l splits; `low` are those of the finer level's low-pass. */
static int enter_level(const tec_walk *walk, const int32_t *samples, int level, const int32_t *low,
                       int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const tec_size grid = layout->grid[level];
    const size_t plane = layout->height * layout->width;
    size_t next = 0; /* bands of the finer level */
    for (size_t i = 0; i < layout->count[level]; i++) {
        const size_t band = layout->band[level][i];
        int32_t *own = out + i * grid.h * grid.w;
        if (layout->entry[band] < level) {
            const tec_size from = layout->low[level - 1];
            enter_band(low + next++ * from.h * from.w, from.h, from.w, 0, grid, own);
        } else if (!level) {
            enter_band(samples + band * plane, layout->height, layout->width,
                       walk->coder->bands.mean[band], grid, own);
        } else if (!enter_late(walk, samples + band * plane, band, own)) {
            return 0;
        }
    }
    return 1;
}

/* ---- spectra ------------------------------------------------------------------------------ */

/* Every so many of the coefficients of all bands, (n, count), and how many each stands for. */
static size_t sample(int32_t *const parts[3], const size_t sizes[3], size_t n, double *out,
                     double *each)
{
    size_t total = 0, count = 0;
    for (int o = 0; o < 3; o++) total += sizes[o];
    const size_t stride = total > SAMPLES ? total / SAMPLES : 1;
    count = (total + stride - 1) / stride;
    for (size_t k = 0; k < n; k++) {
        size_t at = 0, next = 0, o = 0;
        for (size_t i = 0; i < total; i += stride) {
            while (i - at >= sizes[o]) at += sizes[o++];
            out[k * count + next++] = parts[o][k * sizes[o] + i - at];
        }
    }
    *each = (double)total / (double)(count ? count : 1);
    return count;
}

static int choose_spectrum(tec_walk *walk, int level, int32_t *const parts[3],
                           const size_t sizes[3], unsigned flags, tec_analysis *out)
{
    const size_t n = walk->layout->count[level];
    const tec_book *book = tec_book_of(walk->coder, walk->layout, level);
    const double step = walk->step[level][0] / 16.0;
    double each;
    size_t entry = 0;
    tec_mark mark = tec_arena_mark(walk->arena);
    double *x = tec_take(walk->arena, n * 2 * SAMPLES, sizeof *x);
    if (!book || !x) return 0;
    const size_t count = sample(parts, sizes, n, x, &each);
    out->list[level].count = 0;
    if (count && n > 1)
        tec_spectrum_choose(book->rows, walk->coder->entries, n, x, count, each, step * step / 12,
                            !!(flags & TEC_ROTATE), level == TEC_LOW ? 1 : 2, &entry,
                            &out->list[level]);
    tec_arena_return(walk->arena, mark);
    out->entry[level] = (uint8_t)entry;
    walk->spectrum = tec_spectrum_of(walk, level, (unsigned)entry, &out->list[level]);
    return walk->spectrum != NULL;
}

static void to_components(const tec_walk *walk, int32_t *planes, size_t n, size_t count)
{
    int32_t *plane[TEC_MOST_BANDS];
    if (!count) return;
    for (size_t i = 0; i < n; i++) plane[i] = planes + i * count;
    tec_spectrum_forward(walk->spectrum, (const int32_t *const *)plane, plane, count,
                         walk->model->kind != TEC_FP);
}

/* ---- weights of errors --------------------------------------------------------------------- */

/* One inverse step of the wavelet along an axis, in numbers: low (n + 1) / 2, high, to n. */
static void synthesize(double *low, double *high, size_t n, double *out)
{
    static const double STEP[4] = {-6497 / 4096.0, -217 / 4096.0, 3616 / 4096.0, 1817 / 4096.0};
    const size_t nh = n / 2;
    for (int k = 3; k >= 0 && nh; k--)
        if (k % 2 == 0)
            for (size_t i = 0; i < nh; i++) high[i] -= STEP[k] * (low[i] + low[i + 1]);
        else
            for (size_t i = 0; i <= nh; i++)
                low[i] -= STEP[k] * (high[i ? i - 1 : 0] + high[i < nh ? i : nh - 1]);
    for (size_t i = 0; i < nh; i++) {
        out[2 * i] = low[i];
        out[2 * i + 1] = high[i];
    }
    out[2 * nh] = low[nh];
}

/* Squared error that a coefficient's error gives to the pixels of the image, those at its edges
 * counting more: they are seen next to another chunk's. */
static double energy_of(const size_t grid[TEC_LEVELS], size_t seen, int level, int high, size_t i,
                        double *memory)
{
    double *low = memory, *up = memory + grid[0] + 2, *out = memory + 2 * grid[0] + 4;
    memset(memory, 0, 3 * (grid[0] + 2) * sizeof *memory);
    (high ? up : low)[i] = 1;
    for (int l = level; l >= 0; l--) {
        if (l < level) {
            memset(low, 0, (grid[0] + 2) * sizeof *low);
            memset(up, 0, (grid[0] + 2) * sizeof *up);
            memcpy(low, out, (grid[l] + 1) / 2 * sizeof *low);
        }
        synthesize(low, up, grid[l], out);
    }
    double sum = 0;
    for (size_t x = 0; x < seen; x++) {
        const size_t edge = x < seen - 1 - x ? x : seen - 1 - x;
        sum += out[x] * out[x] * (edge == 0 ? 2 : edge == 1 ? 1.5 : 1);
    }
    return sum;
}

static int weigh_axis(tec_arena *arena, const size_t grid[TEC_LEVELS], size_t seen,
                      float *out[TEC_LEVELS][2])
{
    enum { EDGE = 6 };
    double *memory = tec_take(arena, 3 * (grid[0] + 2), sizeof *memory);
    if (!memory) return 0;
    for (int l = 0; l < TEC_LEVELS; l++)
        for (int high = 0; high < 2; high++) {
            const size_t count = high ? grid[l] / 2 : (grid[l] + 1) / 2;
            float *own = out[l][high] = tec_take(arena, count, sizeof *own);
            if (!own) return 0;
            const double inner = count ? energy_of(grid, seen, l, high, count / 2, memory) : 1;
            for (size_t i = 0; i < count; i++) {
                const size_t edge = i < count - 1 - i ? i : count - 1 - i;
                own[i] = edge >= EDGE || inner < 1e-12
                             ? 1
                             : (float)(energy_of(grid, seen, l, high, i, memory) / inner);
            }
        }
    return 1;
}

static int weigh(const tec_walk *walk, tec_analysis *out)
{
    const tec_layout *layout = walk->layout;
    size_t rows[TEC_LEVELS], columns[TEC_LEVELS];
    for (int l = 0; l < TEC_LEVELS; l++) {
        rows[l] = layout->grid[l].h;
        columns[l] = layout->grid[l].w;
    }
    return weigh_axis(walk->arena, rows, layout->height, out->rows) &&
           weigh_axis(walk->arena, columns, layout->width, out->columns);
}

/* ---- dates -------------------------------------------------------------------------------- */

static int analyze_low(tec_walk *walk, int32_t *low, unsigned flags, tec_analysis *out)
{
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const size_t n = walk->layout->count[TEC_LOW], plane = size.h * size.w;
    int32_t *residuals = tec_take(walk->arena, n * plane, sizeof *residuals);
    if (!residuals) return 0;
    for (size_t k = 0; k < n; k++)
        tec_low_predict(low + k * plane, size, residuals + k * plane);
    int32_t *const parts[3] = {residuals, NULL, NULL};
    const size_t sizes[3] = {plane, 0, 0};
    if (!choose_spectrum(walk, TEC_LOW, parts, sizes, flags, out)) return 0;
    to_components(walk, low, n, plane);
    out->low = low;
    return 1;
}

int tec_analyze(tec_walk *walk, const int32_t *samples, unsigned flags, tec_analysis *out)
{
    const tec_layout *layout = walk->layout;
    int32_t *low = NULL;
    for (int l = 0; l < TEC_LEVELS; l++) {
        const size_t n = layout->count[l];
        const tec_size grid = layout->grid[l];
        const size_t whole = grid.h * grid.w, half = layout->low[l].h * layout->low[l].w;
        size_t sizes[3];
        for (int o = 0; o < 3; o++) {
            sizes[o] = layout->plane[l][o].h * layout->plane[l][o].w;
            out->detail[l][o] = tec_take(walk->arena, n * sizes[o], sizeof(int32_t));
            if (!out->detail[l][o]) return 0;
        }
        int32_t *next = tec_take(walk->arena, n * half, sizeof *next);
        tec_mark mark = tec_arena_mark(walk->arena);
        int32_t *planes = tec_take(walk->arena, n * whole, sizeof *planes);
        if (!next || !planes || !enter_level(walk, samples, l, low, planes)) return 0;
        for (size_t i = 0; i < n; i++) {
            tec_subbands parts = {next + i * half, {0}};
            for (int o = 0; o < 3; o++)
                if (sizes[o]) parts.detail[o] = out->detail[l][o] + i * sizes[o];
            tec_wavelet_forward(planes + i * whole, grid, parts);
        }
        tec_arena_return(walk->arena, mark);
        low = next;
        if (n && !choose_spectrum(walk, l, out->detail[l], sizes, flags, out)) return 0;
        for (int o = 0; n && o < 3; o++) to_components(walk, out->detail[l][o], n, sizes[o]);
    }
    return analyze_low(walk, low, flags, out) && weigh(walk, out);
}

#include "layout.h"

#include <string.h>

const uint8_t TEC_ENTRY[4] = {0, 1, 1, 2}, TEC_FACTOR[4] = {1, 2, 3, 6};
const int32_t TEC_GAIN[TEC_LEVELS + 1] = {4096, 6196, 9372, 14176, 21442, 32434};

size_t tec_length(size_t n, unsigned level) { return (n + ((size_t)1 << level) - 1) >> level; }

static tec_axis axis_of(size_t n, size_t factor, size_t phase)
{
    return (tec_axis){factor, phase, (n - 1 + phase) / factor + 1};
}

/* Sizes along one axis: grids of all levels and of the low-pass, low-pass samples. */
static void sizes(size_t n, size_t grid[TEC_LEVELS + 1], size_t low[TEC_LEVELS])
{
    grid[0] = n | 1;
    for (int l = 0; l < TEC_LEVELS; l++) {
        low[l] = (grid[l] + 1) / 2;
        grid[l + 1] = l + 1 < TEC_LEVELS ? low[l] | 1 : low[l];
    }
}

void tec_layout_make(tec_layout *layout, size_t height, size_t width, size_t bands,
                     const tec_replication *replication)
{
    size_t rows[TEC_LEVELS + 1], columns[TEC_LEVELS + 1], up[TEC_LEVELS], across[TEC_LEVELS];
    memset(layout, 0, sizeof *layout);
    layout->height = height;
    layout->width = width;
    layout->bands = bands;
    if (replication) layout->replication = *replication;
    sizes(height, rows, up);
    sizes(width, columns, across);
    for (int l = 0; l <= TEC_LEVELS; l++) layout->grid[l] = (tec_size){rows[l], columns[l]};
    for (int l = 0; l < TEC_LEVELS; l++) {
        const tec_size low = {up[l], across[l]};
        const tec_size high = {rows[l] - low.h, columns[l] - low.w};
        layout->low[l] = low;
        layout->plane[l][TEC_HL] = (tec_size){low.h, high.w};
        layout->plane[l][TEC_LH] = (tec_size){high.h, low.w};
        layout->plane[l][TEC_HH] = high;
    }
    layout->plane[TEC_LOW][0] = layout->grid[TEC_LOW];
    for (size_t b = 0; b < bands; b++) {
        const int kind = layout->replication.kind[b];
        layout->entry[b] = TEC_ENTRY[kind];
        layout->rows[b] = axis_of(height, TEC_FACTOR[kind], kind ? layout->replication.row[kind] : 0);
        layout->columns[b] =
            axis_of(width, TEC_FACTOR[kind], kind ? layout->replication.column[kind] : 0);
        for (int l = layout->entry[b]; l <= TEC_LEVELS; l++)
            layout->band[l][layout->count[l]++] = (uint8_t)b;
    }
}

int tec_layout_equal(const tec_layout *a, const tec_layout *b)
{
    for (size_t i = 0; i < a->bands; i++) {
        if (a->replication.kind[i] != b->replication.kind[i]) return 0;
        if (a->rows[i].phase != b->rows[i].phase) return 0;
        if (a->columns[i].phase != b->columns[i].phase) return 0;
    }
    return 1;
}

size_t tec_layout_read(const uint8_t *data, size_t size, size_t bands, tec_replication *out)
{
    size_t used = (bands + 3) / 4;
    int there[4] = {0};
    if (size < used) return 0;
    memset(out, 0, sizeof *out);
    for (size_t b = 0; b < 4 * used; b++) {
        const int kind = data[b / 4] >> (2 * (b % 4)) & 3;
        if (b >= bands && kind) return 0;
        if (b < bands) out->kind[b] = (uint8_t)kind;
        there[kind] = 1;
    }
    for (int kind = 1; kind < 4; kind++) {
        if (!there[kind]) continue;
        if (used == size) return 0;
        const uint8_t phases = data[used++];
        out->row[kind] = phases % 6;
        out->column[kind] = phases / 6;
        if (out->row[kind] >= TEC_FACTOR[kind] || out->column[kind] >= TEC_FACTOR[kind]) return 0;
    }
    return used;
}

size_t tec_layout_write(uint8_t *data, size_t bands, const tec_replication *layout)
{
    size_t used = (bands + 3) / 4;
    int there[4] = {0};
    memset(data, 0, used);
    for (size_t b = 0; b < bands; b++) {
        data[b / 4] |= (uint8_t)(layout->kind[b] << (2 * (b % 4)));
        there[layout->kind[b]] = 1;
    }
    for (int kind = 1; kind < 4; kind++)
        if (there[kind]) data[used++] = (uint8_t)(layout->row[kind] + 6 * layout->column[kind]);
    return used;
}

size_t tec_kept(tec_axis axis, unsigned entry, size_t size, size_t i)
{
    const int64_t center = 2 * ((int64_t)(axis.factor * i) - (int64_t)axis.phase) +
                           (int64_t)axis.factor - 1 + ((int64_t)1 << entry);
    const int64_t at = center >> (entry + 1); /* rounds down, also where it is negative */
    return at < 0 ? 0 : (size_t)at >= size ? size - 1 : (size_t)at;
}

int32_t tec_raise(int32_t v, unsigned entry)
{
    return (int32_t)(((int64_t)v * TEC_GAIN[entry] + 2048) >> 12);
}

#include "reading.h"

#include <string.h>

static tec_status corrupt(tec_walk *walk, const char *what, const char *allowed, int64_t found)
{
    return tec_fail(walk->error, TEC_CORRUPT, what, allowed, found);
}

void tec_note(tec_walk *walk, const int32_t *symbols, size_t count)
{
    walk->crc = tec_crc32c(walk->crc, symbols, count * sizeof *symbols);
}

void tec_note_rotations(tec_walk *walk, const tec_rotations *list)
{
    int32_t seen[1 + 4 * TEC_ROTATIONS];
    size_t count = 0;
    seen[count++] = (int32_t)list->count;
    for (size_t i = 0; i < list->count; i++) {
        seen[count++] = list->list[i].q;
        seen[count++] = list->list[i].p;
        seen[count++] = list->list[i].j;
        seen[count++] = list->list[i].sign;
    }
    tec_note(walk, seen, count);
}

tec_status tec_pull(tec_walk *walk, const tec_rans_tables *tables, const int32_t *rows,
                    int32_t *out, size_t count)
{
    size_t where = 0;
    if (!count) return TEC_OK;
    switch (tec_rans_pull(walk->decoder, tables, rows, out, count, &where)) {
    case TEC_RANS_OK: return TEC_OK;
    case TEC_RANS_NO_MEMORY: return tec_fail(walk->error, TEC_NO_MEMORY, "no memory", NULL, 0);
    default: return corrupt(walk, "a stream that no encoder wrote", NULL, 0);
    }
}

static tec_status pull_one(tec_walk *walk, const tec_rans_tables *tables, int32_t row, int32_t *out)
{
    return tec_pull(walk, tables, &row, out, 1);
}

/* ---- spectra ------------------------------------------------------------------------------ */

tec_status tec_read_spectrum(tec_walk *walk, int level, int lists)
{
    const tec_rans_tables *tables = walk->model->rotations;
    const size_t n = walk->layout->count[level];
    tec_rotations list = {.count = 0};
    int32_t entry;
    const tec_status status = pull_one(walk, tables, TEC_RANS_UNIFORM + 4, &entry);
    if (status) return status;
    if ((size_t)entry >= walk->coder->entries)
        return corrupt(walk, "a codebook entry", "those of the codebook", entry);
    tec_note(walk, &entry, 1);
    if (lists && n > 1) {
        if (tec_rotations_read(walk->decoder, tables, n, &list))
            return corrupt(walk, "a list of rotations that no encoder wrote", NULL, 0);
        tec_note_rotations(walk, &list);
    }
    walk->spectrum = tec_spectrum_of(walk, level, (unsigned)entry, &list);
    return walk->spectrum ? TEC_OK : walk->error->status;
}

/* ---- planes ------------------------------------------------------------------------------- */

/* Shift and flags of a plane whose expected magnitudes are known. */
static tec_status read_outline(tec_walk *walk, tec_plane p, int *shift, size_t *coded)
{
    const tec_prior *prior = &walk->model->prior;
    const size_t group = (size_t)prior->group[walk->octave];
    const int32_t *flag_rows = prior->flag_rows + (group * 6 + (size_t)p.level) * TEC_FLAG_BINS;
    const size_t blocks = tec_blocks(p.size.h) * tec_blocks(p.size.w);
    int32_t symbol;
    const int before = tec_shift_before(walk, p);
    tec_status status = pull_one(
        walk, prior->tables, prior->shift_rows[group * 17 + (size_t)(before + TEC_SHIFT_LIMIT)],
        &symbol);
    if (status) return status;
    if (symbol < -TEC_SHIFT_LIMIT || symbol > TEC_SHIFT_LIMIT)
        return corrupt(walk, "a shift", "-8 to 8", symbol);
    *shift = symbol;
    walk->shift[p.level][p.k][p.o] = (int8_t)symbol;
    tec_note(walk, &symbol, 1);
    for (size_t i = 0; i < blocks; i++)
        walk->rows[i] = flag_rows[tec_flag_bin(walk->sums[i], symbol)];
    if ((status = tec_pull(walk, prior->tables, walk->rows, walk->symbols, blocks))) return status;
    *coded = 0;
    for (size_t i = 0; i < blocks; i++) {
        if (walk->symbols[i] & ~1) return corrupt(walk, "a block flag", "0 or 1", walk->symbols[i]);
        walk->flags[i] = (uint8_t)walk->symbols[i];
        *coded += walk->flags[i];
    }
    return TEC_OK;
}

/* Places of a plane in blocks whose flag is set, raster order, to walk->where; how many. */
static size_t places_of(tec_walk *walk, tec_size size)
{
    const size_t across = tec_blocks(size.w);
    size_t count = 0;
    for (size_t y = 0; y < size.h; y++) {
        const uint8_t *flags = walk->flags + y / TEC_BLOCK * across;
        for (size_t b = 0; b < across; b++) {
            if (!flags[b]) continue;
            const size_t end = (b + 1) * TEC_BLOCK < size.w ? (b + 1) * TEC_BLOCK : size.w;
            for (size_t x = b * TEC_BLOCK; x < end; x++)
                walk->where[count++] = (int32_t)(y * size.w + x);
        }
    }
    return count;
}

/* Integers of the coded blocks of a plane, in walk->symbols at walk->where; their rows are left in
 * walk->rows. The plane itself goes to walk->integers. */
static tec_status read_integers(tec_walk *walk, tec_plane p, int shift, size_t *count)
{
    const tec_prior *prior = &walk->model->prior;
    const size_t group = (size_t)prior->group[walk->octave];
    const int32_t *by_bin =
        prior->coefficient_rows + (group * 6 + (size_t)p.level) * TEC_SCALE_BINS;
    const size_t found = *count = places_of(walk, p.size);
    int32_t *q = walk->integers, *symbols = walk->symbols;
    size_t wide = 0;
    for (size_t i = 0; i < found; i++) {
        const int32_t scale = tec_shifted(walk->scale[walk->where[i]], shift);
        walk->scale[walk->where[i]] = scale;
        walk->rows[i] = by_bin[tec_scale_bin(scale)];
        wide += scale >= 2048;
    }
    tec_status status = tec_pull(walk, prior->tables, walk->rows, symbols, found);
    if (status) return status;
    memset(q, 0, p.size.h * p.size.w * sizeof *q);
    for (size_t i = 0; i < found; i++) {
        const int32_t s = symbols[i];
        if (s > TEC_COEFFICIENT_LIMIT || s < -TEC_COEFFICIENT_LIMIT)
            return corrupt(walk, "a symbol", "up to 2^22", s);
    }
    if (wide) { /* low bits, in the same order; q serves as scratch */
        size_t next = 0;
        int32_t *rows = q, *bits = q + wide;
        int32_t *memory = NULL;
        if (2 * wide > p.size.h * p.size.w) {
            memory = tec_take(walk->arena, 2 * wide, sizeof *memory);
            if (!memory) return tec_fail(walk->error, TEC_NO_MEMORY, "no memory", NULL, 0);
            rows = memory;
            bits = memory + wide;
        }
        for (size_t i = 0; i < found; i++) {
            const unsigned raw = tec_raw_bits(walk->scale[walk->where[i]]);
            if (raw) rows[next++] = TEC_RANS_UNIFORM + (int32_t)raw;
        }
        if ((status = tec_pull(walk, prior->tables, rows, bits, wide))) return status;
        next = 0;
        for (size_t i = 0; i < found; i++) {
            const unsigned raw = tec_raw_bits(walk->scale[walk->where[i]]);
            if (raw) symbols[i] = symbols[i] * (1 << raw) | bits[next++];
        }
        memset(q, 0, p.size.h * p.size.w * sizeof *q);
    }
    for (size_t i = 0; i < found; i++) q[walk->where[i]] = symbols[i];
    if (!walk->quiet) tec_note(walk, symbols, found);
    return TEC_OK;
}

/* Coefficients of details under the rows of `fp`: each at the centroid of its interval. */
static tec_status place(tec_walk *walk, tec_plane p, size_t count)
{
    const int32_t *shrink = walk->model->prior.shrink;
    const int64_t step = walk->step[p.level][p.o];
    int32_t *out = walk->detail[p.o] + p.k * p.size.h * p.size.w;
    for (size_t i = 0; i < count; i++) {
        const int64_t q = walk->symbols[i], size = q < 0 ? -q : q;
        if (!q) continue;
        int64_t value = size;
        if (step != TEC_STEP_UNIT) {
            const int64_t inner = 64 * size - shrink[walk->rows[i] * 3 + (size < 3 ? size : 3) - 1];
            value = tec_in_dn(inner > 0 ? inner : 0, step);
        }
        if (value > TEC_COEFFICIENT_LIMIT)
            return corrupt(walk, "a coefficient in DN", "up to 2^22", value);
        out[walk->where[i]] = (int32_t)(q < 0 ? -value : value);
    }
    return TEC_OK;
}

tec_status tec_read_plane(tec_walk *walk, tec_plane p)
{
    int shift;
    size_t coded, count = 0;
    tec_plane_expect(walk, p);
    tec_status status = read_outline(walk, p, &shift, &coded);
    if (!status && coded) status = read_integers(walk, p, shift, &count);
    if (!status && coded && p.level != TEC_LOW) status = place(walk, p, count);
    if (!status)
        tec_fields_set(&walk->fields[p.level], p.k, p.o, walk->integers, p.size, coded > 0);
    return status;
}

/* ---- details of context models ------------------------------------------------------------ */

/* Reads coefficients under rows of a context model. */
static tec_status choose_by_reading(void *state, const tec_choice *c, int32_t *q)
{
    tec_walk *walk = state;
    const tec_rans_tables *tables = walk->model->context.tables;
    tec_status status = tec_pull(walk, tables, c->row, q, c->count);
    if (status) return status;
    int32_t *rows = walk->rows, *bits = walk->symbols;
    size_t wide = 0, next = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (q[i] > TEC_COEFFICIENT_LIMIT >> 1 || q[i] < -(TEC_COEFFICIENT_LIMIT >> 1))
            return corrupt(walk, "a symbol", "up to 2^21", q[i]);
        if (c->raw[i]) rows[wide++] = TEC_RANS_UNIFORM + c->raw[i];
    }
    if ((status = tec_pull(walk, tables, rows, bits, wide))) return status;
    for (size_t i = 0; i < c->count; i++) {
        if (c->raw[i]) q[i] = q[i] * (1 << c->raw[i]) + bits[next++] - ((1 << c->raw[i]) >> 1);
        q[i] += c->base[i];
    }
    tec_note(walk, q, c->count);
    return TEC_OK;
}

tec_status tec_read_detail(tec_walk *walk, tec_plane p)
{
    int shift;
    size_t coded;
    tec_plane_expect(walk, p);
    tec_status status = read_outline(walk, p, &shift, &coded);
    if (!status && coded)
        status = tec_detail_code(walk, p, shift, walk->flags, choose_by_reading, walk,
                                 walk->integers);
    if (!status)
        tec_fields_set(&walk->fields[p.level], p.k, p.o, walk->integers, p.size, coded > 0);
    return status;
}

/* ---- dates -------------------------------------------------------------------------------- */

static tec_status read_low(tec_walk *walk, int32_t *integers)
{
    const size_t n = walk->layout->count[TEC_LOW];
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    for (size_t k = 0; k < n; k++) {
        const tec_plane plane = {TEC_LOW, k, 0, size};
        const tec_status status = tec_read_plane(walk, plane);
        if (status) return status;
        int32_t *own = integers + k * size.h * size.w;
        if (walk->fields[TEC_LOW].some[k][0])
            memcpy(own, walk->integers, size.h * size.w * sizeof *own);
        else
            memset(own, 0, size.h * size.w * sizeof *own);
        tec_low_restore(own, size);
    }
    return TEC_OK;
}

static tec_status read_level(tec_walk *walk, int level)
{
    for (size_t k = 0; k < walk->layout->count[level]; k++)
        for (size_t o = 0; o < 3; o++) {
            const tec_plane plane = {level, k, o, walk->layout->plane[level][o]};
            if (!plane.size.h || !plane.size.w) continue;
            const tec_status status =
                walk->model->kind == TEC_FP ? tec_read_plane(walk, plane) : tec_read_detail(walk, plane);
            if (status) return status;
        }
    return TEC_OK;
}

static tec_status no_memory(tec_walk *walk)
{
    return tec_fail(walk->error, TEC_NO_MEMORY, "no memory for the planes of a date", NULL, 0);
}

tec_status tec_date_decode(tec_walk *walk, const uint8_t *data, size_t size, int lists,
                           unsigned level, tec_visited *keep, int32_t *out)
{
    const tec_layout *layout = walk->layout;
    const size_t low = layout->plane[TEC_LOW][0].h * layout->plane[TEC_LOW][0].w;
    tec_rans_decoder decoder;
    if (tec_rans_open(&decoder, data, size))
        return corrupt(walk, "a stream that no encoder wrote", NULL, (int64_t)size);
    walk->decoder = &decoder;
    tec_status status = TEC_OK;
    if (walk->pasts) { /* there are candidates: does the date refer to them? */
        int32_t refers;
        if ((status = pull_one(walk, walk->model->rotations, TEC_RANS_UNIFORM + 1, &refers)))
            return status;
        tec_note(walk, &refers, 1);
        if (refers)
            walk->networks = walk->model->context.tt;
        else
            walk->pasts = 0;
    }
    int32_t *integers = tec_take(walk->arena, layout->count[TEC_LOW] * low, sizeof *integers);
    if (!integers || !tec_level_enter(walk, TEC_LOW)) return no_memory(walk);
    if ((status = tec_read_spectrum(walk, TEC_LOW, lists))) return status;
    if ((status = read_low(walk, integers))) return status;
    int32_t *values = tec_low_values(walk, integers);
    if (!values) return walk->error->status;
    tec_low_leave(walk, values);
    if (level == TEC_LOW && out) tec_show(walk, TEC_LOW, walk->under, level, out);
    for (int l = TEC_LEVELS - 1; l >= (int)level && layout->count[l]; l--) {
        walk->error->level = l;
        if ((status = tec_read_spectrum(walk, l, lists))) return status;
        if (!tec_level_enter(walk, l)) return no_memory(walk);
        if ((status = read_level(walk, l))) return status;
        tec_level_bands(walk, l, keep);
        int32_t *planes = tec_level_merge(walk, l);
        if (!planes) return no_memory(walk);
        /* Cut first: showing native samples changes their planes. */
        if (l && !tec_level_cut(walk, l, planes)) return no_memory(walk);
        if (out) tec_show(walk, l, planes, level, out);
    }
    if (level == 0 && tec_rans_close(&decoder))
        return corrupt(walk, "a stream with something behind its symbols", NULL, 0);
    if (keep) memcpy(keep->shift, walk->shift, sizeof keep->shift);
    return TEC_OK;
}

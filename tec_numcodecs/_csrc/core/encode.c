/* Writing a date: decisions, symbols, and the image that the context models look at. */
#include "encode.h"

#include "reading.h"

#include <string.h>

/* Squared steps that a bit is worth: to `fp`, to the choice of blocks under a context model, and to
 * coefficients there. High-resolution theory gives (2 ln 2) / 12 = 0.1155; measured on validation
 * scenes: less, because what is left out is missing in later contexts, too. */
static const double PRICE = 0.1, BLOCK_PRICE = 0.055;
const double TEC_DETAIL_PRICE = 0.085;

static tec_status no_memory(tec_walk *walk)
{
    return tec_fail(walk->error, TEC_NO_MEMORY, "no memory to encode a date", NULL, 0);
}

tec_status tec_push(tec_walk *walk, tec_rans_encoder *to, const tec_rans_tables *tables,
                    const int32_t *symbols, const int32_t *rows, size_t count)
{
    size_t where;
    if (!count || !tec_rans_push(to, tables, symbols, rows, count, &where)) return TEC_OK;
    return no_memory(walk);
}

static tec_status push_one(tec_walk *walk, tec_rans_encoder *to, const tec_rans_tables *tables,
                           int32_t symbol, int32_t row)
{
    return tec_push(walk, to, tables, &symbol, &row, 1);
}

/* ---- spectra ------------------------------------------------------------------------------ */

tec_status tec_write_spectrum(tec_walk *walk, tec_rans_encoder *to, const tec_analysis *analysis,
                              int level, int lists)
{
    const tec_rans_tables *tables = walk->model->rotations;
    const size_t n = walk->layout->count[level];
    const tec_rotations *list = &analysis->list[level];
    const int32_t entry = analysis->entry[level];
    const tec_status status = push_one(walk, to, tables, entry, TEC_RANS_UNIFORM + 4);
    if (status) return status;
    tec_note(walk, &entry, 1);
    if (lists && n > 1) {
        if (tec_rotations_write(to, tables, n, list)) return no_memory(walk);
        tec_note_rotations(walk, list);
    }
    walk->spectrum = tec_spectrum_of(walk, level, (unsigned)entry, list);
    return walk->spectrum ? TEC_OK : walk->error->status;
}

/* ---- planes ------------------------------------------------------------------------------- */

size_t tec_flag_blocks(const int32_t *q, tec_size size, uint8_t *flags)
{
    const size_t down = tec_blocks(size.h), across = tec_blocks(size.w);
    size_t coded = 0;
    memset(flags, 0, down * across);
    for (size_t y = 0; y < size.h; y++) {
        uint8_t *row = flags + y / TEC_BLOCK * across;
        const int32_t *line = q + y * size.w;
        for (size_t b = 0; b < size.w / TEC_BLOCK; b++) {
            int32_t some = 0;
            for (size_t i = 0; i < TEC_BLOCK; i++) some |= line[b * TEC_BLOCK + i];
            row[b] |= some != 0;
        }
        for (size_t x = size.w / TEC_BLOCK * TEC_BLOCK; x < size.w; x++)
            row[x / TEC_BLOCK] |= line[x] != 0;
    }
    for (size_t b = 0; b < down * across; b++) coded += flags[b];
    return coded;
}

tec_status tec_write_outline(tec_walk *walk, tec_rans_encoder *to, tec_plane p, int shift,
                             const uint8_t *flags)
{
    const tec_prior *prior = &walk->model->prior;
    const size_t group = (size_t)prior->group[walk->octave];
    const int32_t *flag_rows = prior->flag_rows + (group * 6 + (size_t)p.level) * TEC_FLAG_BINS;
    const size_t blocks = tec_blocks(p.size.h) * tec_blocks(p.size.w);
    const int before = tec_shift_before(walk, p);
    const int32_t symbol = shift;
    const tec_status status =
        push_one(walk, to, prior->tables, symbol,
                 prior->shift_rows[group * 17 + (size_t)(before + TEC_SHIFT_LIMIT)]);
    if (status) return status;
    walk->shift[p.level][p.k][p.o] = (int8_t)shift;
    tec_note(walk, &symbol, 1);
    for (size_t i = 0; i < blocks; i++) {
        walk->rows[i] = flag_rows[tec_flag_bin(walk->sums[i], shift)];
        walk->symbols[i] = flags[i];
    }
    return tec_push(walk, to, prior->tables, walk->symbols, walk->rows, blocks);
}

/* Integers of the coded blocks of a plane under the rows of `fp`. */
tec_status tec_write_integers(tec_walk *walk, tec_rans_encoder *to, tec_plane p, int shift,
                              const uint8_t *flags, const int32_t *q, int32_t *raw_symbols,
                              int32_t *raw_rows)
{
    const tec_prior *prior = &walk->model->prior;
    const size_t group = (size_t)prior->group[walk->octave], across = tec_blocks(p.size.w);
    const int32_t *by_bin =
        prior->coefficient_rows + (group * 6 + (size_t)p.level) * TEC_SCALE_BINS;
    const int64_t step = walk->step[p.level][p.o];
    int32_t *detail = p.level == TEC_LOW ? NULL : walk->detail[p.o] + p.k * p.size.h * p.size.w;
    size_t count = 0, wide = 0;
    for (size_t y = 0; y < p.size.h; y++)
        for (size_t x = 0; x < p.size.w; x++) {
            if (!flags[y / TEC_BLOCK * across + x / TEC_BLOCK]) {
                x |= TEC_BLOCK - 1;
                continue;
            }
            const size_t at = y * p.size.w + x;
            const int32_t scale = tec_shifted(walk->scale[at], shift), value = q[at];
            const unsigned raw = tec_raw_bits(scale);
            walk->where[count] = value;
            walk->rows[count] = by_bin[tec_scale_bin(scale)];
            walk->symbols[count] = value >> raw;
            if (raw) {
                raw_rows[wide] = TEC_RANS_UNIFORM + (int32_t)raw;
                raw_symbols[wide++] = value & ((1 << raw) - 1);
            }
            if (detail && value) {
                const int64_t size = value < 0 ? -(int64_t)value : value;
                const int64_t inner =
                    64 * size -
                    prior->shrink[walk->rows[count] * 3 + (size < 3 ? size : 3) - 1];
                const int64_t found = step == TEC_STEP_UNIT ? size
                                                            : tec_in_dn(inner > 0 ? inner : 0, step);
                detail[at] = (int32_t)(value < 0 ? -found : found);
            }
            count++;
        }
    if (!walk->quiet) tec_note(walk, walk->where, count);
    const tec_status status = tec_push(walk, to, prior->tables, walk->symbols, walk->rows, count);
    return status ? status : tec_push(walk, to, prior->tables, raw_symbols, raw_rows, wide);
}

static tec_status write_plane(tec_writer *w, tec_plane p, const int32_t *values, const float *rows,
                              const float *columns)
{
    tec_walk *walk = &w->walk;
    int32_t *q = walk->integers;
    tec_plane_expect(walk, p);
    const double price = walk->model->kind == TEC_FP ? PRICE : BLOCK_PRICE;
    const int shift = tec_decide(walk, p, values, rows, columns, price, &w->points, q);
    const size_t coded = tec_flag_blocks(q, p.size, walk->flags);
    tec_status status = tec_write_outline(walk, &w->encoder, p, shift, walk->flags);
    if (!status && coded) status = tec_write_integers(walk, &w->encoder, p, shift, walk->flags, q, w->symbols, w->rows);
    tec_fields_set(&walk->fields[p.level], p.k, p.o, q, p.size, coded > 0);
    return status;
}

/* ---- details of context models ------------------------------------------------------------ */

/* Notes what is coded with what; raw bits of a phase stand behind its symbols. */
static void record(tec_writer *w, const tec_choice *c, const int32_t *q)
{
    for (size_t i = 0; i < c->count; i++) {
        const int32_t middle = q[i] - c->base[i] + ((1 << c->raw[i]) >> 1);
        w->symbols[w->recorded] = middle >> c->raw[i];
        w->rows[w->recorded++] = c->row[i];
    }
    for (size_t i = 0; i < c->count; i++) {
        if (!c->raw[i]) continue;
        const int32_t middle = q[i] - c->base[i] + ((1 << c->raw[i]) >> 1);
        w->symbols[w->recorded] = middle & ((1 << c->raw[i]) - 1);
        w->rows[w->recorded++] = TEC_RANS_UNIFORM + c->raw[i];
    }
    memcpy(w->log + w->seen, q, c->count * sizeof *q);
    w->seen += c->count;
}

static tec_status choose_by_deciding(void *state, const tec_choice *c, int32_t *q)
{
    tec_writer *w = state;
    const tec_context *context = &w->walk.model->context;
    int32_t *values = w->gathered;
    for (size_t i = 0; i < c->count; i++) values[i] = w->values[c->flat[i]];
    if (w->step == TEC_STEP_UNIT)
        memcpy(q, values, c->count * sizeof *q);
    else if (tec_price_decide(context->prices, context->offsets, context->rows, values,
                              (double)TEC_STEP_UNIT / w->step, TEC_DETAIL_PRICE, c->row, c->base,
                              c->raw, c->count, q))
        return tec_fail(w->walk.error, TEC_BAD_WEIGHTS, "a row outside of tables", NULL, 0);
    record(w, c, q);
    return TEC_OK;
}

/* The same integers again, under other flags. */
static tec_status choose_again(void *state, const tec_choice *c, int32_t *q)
{
    tec_writer *w = state;
    for (size_t i = 0; i < c->count; i++) q[i] = w->decided[c->flat[i]];
    record(w, c, q);
    return TEC_OK;
}

static void forget(tec_writer *w)
{
    w->recorded = w->seen = 0;
}

static tec_status write_detail(tec_writer *w, tec_plane p, const int32_t *values,
                               const float *rows, const float *columns)
{
    tec_walk *walk = &w->walk;
    int32_t *q = walk->integers;
    const size_t blocks = tec_blocks(p.size.h) * tec_blocks(p.size.w);
    const size_t plane = p.size.h * p.size.w;
    tec_plane_expect(walk, p);
    const int shift = tec_decide(walk, p, values, rows, columns, BLOCK_PRICE, &w->points, q);
    size_t coded = tec_flag_blocks(q, p.size, walk->flags);
    w->values = values;
    w->step = walk->step[p.level][p.o];
    forget(w);
    tec_status status = TEC_OK;
    if (coded) {
        status = tec_detail_code(walk, p, shift, walk->flags, choose_by_deciding, w, q);
        if (status) return status;
        const size_t kept = tec_flag_blocks(q, p.size, w->flags);
        if (memcmp(w->flags, walk->flags, blocks)) { /* a flag says whether its block is zero */
            memcpy(walk->flags, w->flags, blocks);
            memcpy(w->decided, q, plane * sizeof *q);
            forget(w);
            status = tec_detail_code(walk, p, shift, walk->flags, choose_again, w, q);
            if (status) return status;
        }
        coded = kept;
    }
    if ((status = tec_write_outline(walk, &w->encoder, p, shift, walk->flags))) return status;
    tec_note(walk, w->log, w->seen);
    status = tec_push(walk, &w->encoder, walk->model->context.tables, w->symbols, w->rows,
                      w->recorded);
    tec_fields_set(&walk->fields[p.level], p.k, p.o, q, p.size, coded > 0);
    const int32_t *found = walk->detail[p.o] + p.k * plane;
    const double unit = (double)TEC_STEP_UNIT / w->step;
    double sum = 0;
    for (size_t i = 0; i < plane; i++) {
        const double error = (values[i] - found[i]) * unit;
        sum += error * error;
    }
    w->distortion += sum;
    return status;
}

/* ---- dates -------------------------------------------------------------------------------- */

static tec_status write_low(tec_writer *w)
{
    tec_walk *walk = &w->walk;
    const tec_size size = walk->layout->plane[TEC_LOW][0];
    const size_t n = walk->layout->count[TEC_LOW], plane = size.h * size.w;
    const int64_t step = walk->step[TEC_LOW][0];
    int32_t *integers = tec_take(walk->arena, n * plane, sizeof *integers);
    int32_t *residuals = tec_take(walk->arena, plane, sizeof *residuals);
    if (!integers || !residuals) return no_memory(walk);
    for (size_t i = 0; i < n * plane; i++) { /* plain rounding: its errors reach every pixel */
        const int64_t v = w->analysis.low[i], size_of = v < 0 ? -v : v;
        const int64_t q = (size_of * 2 * TEC_STEP_UNIT + step) / (2 * step);
        integers[i] = (int32_t)(v < 0 ? -q : q);
    }
    for (size_t k = 0; k < n; k++) {
        const tec_plane p = {TEC_LOW, k, 0, size};
        tec_low_predict(integers + k * plane, size, residuals);
        const tec_status status = write_plane(w, p, residuals, NULL, NULL);
        if (status) return status;
    }
    w->low = integers;
    int32_t *values = tec_low_values(walk, integers);
    if (!values) return walk->error->status;
    tec_low_leave(walk, values);
    return TEC_OK;
}

static tec_status write_level(tec_writer *w, int level)
{
    tec_walk *walk = &w->walk;
    const tec_analysis *a = &w->analysis;
    for (size_t k = 0; k < walk->layout->count[level]; k++)
        for (size_t o = 0; o < 3; o++) {
            const tec_plane p = {level, k, o, walk->layout->plane[level][o]};
            const size_t plane = p.size.h * p.size.w;
            if (!plane) continue;
            const int32_t *values = a->detail[level][o] + k * plane;
            const float *rows = a->rows[level][o != TEC_HL], *columns = a->columns[level][o != TEC_LH];
            const tec_status status = walk->model->kind == TEC_FP
                                          ? write_plane(w, p, values, rows, columns)
                                          : write_detail(w, p, values, rows, columns);
            if (status) return status;
        }
    return TEC_OK;
}

int tec_writer_begin(tec_writer *w)
{
    tec_arena *arena = w->walk.arena;
    const tec_layout *layout = w->walk.layout;
    const size_t most = tec_largest_plane(layout);
    w->symbols = tec_take(arena, 2 * most, sizeof *w->symbols);
    w->rows = tec_take(arena, 2 * most, sizeof *w->rows);
    w->log = tec_take(arena, most, sizeof *w->log);
    w->gathered = tec_take(arena, most, sizeof *w->gathered);
    w->decided = tec_take(arena, most, sizeof *w->decided);
    w->flags = tec_take(arena, most / TEC_BLOCK + 2, 1);
    return w->symbols && w->rows && w->log && w->gathered && w->decided && w->flags &&
           tec_points_new(&w->points, arena, most);
}

tec_status tec_date_encode(tec_writer *w, int refers, tec_visited *keep, int32_t *decoded)
{
    tec_walk *walk = &w->walk;
    const tec_layout *layout = walk->layout;
    const int whole = decoded || keep || walk->model->kind != TEC_FP;
    tec_status status;
    if (walk->pasts) {
        const int32_t bit = refers;
        if ((status = push_one(walk, &w->encoder, walk->model->rotations, bit, TEC_RANS_UNIFORM + 1)))
            return status;
        tec_note(walk, &bit, 1);
        if (refers)
            walk->networks = walk->model->context.tt;
        else
            walk->pasts = 0;
    }
    if (!tec_level_enter(walk, TEC_LOW)) return no_memory(walk);
    if ((status = tec_write_spectrum(walk, &w->encoder, &w->analysis, TEC_LOW, w->lists)) || (status = write_low(w))) return status;
    for (int l = TEC_LEVELS - 1; l >= 0 && layout->count[l]; l--) {
        if ((status = tec_write_spectrum(walk, &w->encoder, &w->analysis, l, w->lists))) return status;
        if (!tec_level_enter(walk, l)) return no_memory(walk);
        if ((status = write_level(w, l))) return status;
        if (!whole) continue;
        tec_level_bands(walk, l, keep);
        int32_t *planes = tec_level_merge(walk, l);
        if (!planes || (l && !tec_level_cut(walk, l, planes))) return no_memory(walk);
        if (decoded) tec_show(walk, l, planes, 0, decoded);
    }
    if (keep) memcpy(keep->shift, walk->shift, sizeof keep->shift);
    return TEC_OK;
}

#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tec_status tec_fail(tec_error *error, tec_status status, const char *what, const char *allowed,
                    int64_t found)
{
    *error = (tec_error){status, what, allowed, found, -1, -1};
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static const tec_tensor *find(const tec_model *model, const char *name)
{
    for (size_t i = 0; i < model->count; i++)
        if (!strcmp(model->tensors[i].name, name)) return &model->tensors[i];
    return NULL;
}

/* A tensor of a type and number of elements (0: any); NULL with an error set. */
static const void *wanted(const tec_model *model, const char *name, tec_type type, size_t count,
                          tec_error *error)
{
    const tec_tensor *found = find(model, name);
    if (!found || found->type != type || (count && found->count != count)) {
        tec_fail(error, TEC_BAD_WEIGHTS, "a tensor that is missing, or has another shape or type",
                 NULL, 0);
        return NULL;
    }
    return found->data;
}

static void *keep(tec_model *model, size_t count, size_t size, tec_error *error)
{
    void *memory = model->kept < sizeof model->memory / sizeof *model->memory
                       ? calloc(count ? count : 1, size)
                       : NULL;
    if (memory)
        model->memory[model->kept++] = memory;
    else
        tec_fail(error, TEC_NO_MEMORY, "no memory for the weights", NULL, 0);
    return memory;
}

/* Numbers of int8, int16 or int32 as float, rows padded to a multiple of 16. */
static float *as_floats(tec_model *model, const char *name, size_t *rows, size_t *last,
                        tec_error *error)
{
    const tec_tensor *t = find(model, name);
    if (!t || (t->type != TEC_INT8 && t->type != TEC_INT16 && t->type != TEC_INT32) || !t->last ||
        t->last > TEC_WIDEST) {
        tec_fail(error, TEC_BAD_WEIGHTS, "a tensor of a network that is missing or too wide", NULL,
                 0);
        return NULL;
    }
    const size_t padded = (t->last + 15) / 16 * 16;
    float *out = keep(model, t->rows * padded, sizeof *out, error);
    if (!out) return NULL;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t i = 0; i < t->last; i++) {
            const size_t at = r * t->last + i;
            out[r * padded + i] = t->type == TEC_INT8    ? (float)((const int8_t *)t->data)[at]
                                  : t->type == TEC_INT16 ? (float)((const int16_t *)t->data)[at]
                                                         : (float)((const int32_t *)t->data)[at];
        }
    *rows = t->rows;
    *last = t->last;
    return out;
}

static tec_rans_tables *tables_of(tec_model *model, const char *prefix, tec_error *error)
{
    char name[64];
    const tec_tensor *part[3];
    static const char *const names[3] = {"cdf", "starts", "minimum"};
    static const tec_type types[3] = {TEC_UINT16, TEC_INT64, TEC_INT32};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, names[i]);
        part[i] = find(model, name);
        if (!part[i] || part[i]->type != types[i]) {
            tec_fail(error, TEC_BAD_WEIGHTS, "tables that are missing or of another type", NULL, 0);
            return NULL;
        }
    }
    tec_rans_tables *tables = NULL;
    tec_rans_status status = TEC_RANS_BAD_TABLES;
    if (part[1]->count == part[2]->count + 1)
        status = tec_rans_tables_new(part[0]->data, part[1]->data, part[2]->data, part[0]->count,
                                     part[2]->count, &tables);
    if (status == TEC_RANS_NO_MEMORY)
        tec_fail(error, TEC_NO_MEMORY, "no memory for the weights", NULL, 0);
    else if (status)
        tec_fail(error, TEC_BAD_WEIGHTS, "tables that are no distributions", NULL, 0);
    return tables;
}

/* ---- fp ----------------------------------------------------------------------------------- */

static uint32_t width_of(const tec_rans_tables *t, size_t row, uint32_t interval)
{
    const uint16_t *cdf = t->cdf + t->row[row].cdf + interval;
    const uint32_t width = (uint16_t)(cdf[1] - cdf[0]);
    return width ? width : 65536;
}

static double bits_of_magnitude(const tec_rans_tables *t, size_t row, int32_t magnitude)
{
    double sum = 0;
    for (int32_t sign = 1; sign >= -1; sign -= 2) {
        const int64_t at = (int64_t)sign * magnitude - t->row[row].minimum;
        const int inside = at >= 0 && at < t->row[row].last;
        /* An escape costs its interval and a dozen raw bits or so. */
        sum += 16 - tec_log2(width_of(t, row, inside ? (uint32_t)at : t->row[row].last));
        sum += inside ? 0 : 12;
    }
    return sum / 2;
}

static int in_tables(const int32_t *rows, size_t count, const tec_rans_tables *tables)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i] < 0 || (size_t)rows[i] >= tables->rows) return 0;
    return 1;
}

static tec_status read_prior(tec_model *model, tec_error *error)
{
    tec_prior *p = &model->prior;
    const size_t places = TEC_OCTAVES * 6 * TEC_COMPONENTS * 3;
    p->weights = wanted(model, "prior.weights", TEC_INT32, places * TEC_FEATURES, error);
    p->bias = p->weights ? wanted(model, "prior.bias", TEC_INT32, places, error) : NULL;
    p->group = p->bias ? wanted(model, "prior.group", TEC_INT32, TEC_OCTAVES, error) : NULL;
    if (!p->group) return error->status;
    for (int i = 0; i < TEC_OCTAVES; i++) {
        if (p->group[i] < 0 || p->group[i] > 255)
            return tec_fail(error, TEC_BAD_WEIGHTS, "a group of tables", "0 to 255", p->group[i]);
        if ((size_t)p->group[i] >= p->groups) p->groups = (size_t)p->group[i] + 1;
    }
    for (size_t i = 0; i < places * TEC_FEATURES; i++)
        if (p->weights[i] < 0 || p->weights[i] > INT16_MAX)
            return tec_fail(error, TEC_BAD_WEIGHTS, "a weight of expected magnitudes",
                            "0 to 32767", p->weights[i]);
    p->tables = tables_of(model, "prior.tables", error);
    if (!p->tables) return error->status;
    const size_t g = p->groups, rows = p->tables->rows;
    p->coefficient_rows =
        wanted(model, "prior.coefficient_rows", TEC_INT32, g * 6 * TEC_SCALE_BINS, error);
    if (!p->coefficient_rows) return error->status;
    p->flag_rows = wanted(model, "prior.flag_rows", TEC_INT32, g * 6 * TEC_FLAG_BINS, error);
    if (!p->flag_rows) return error->status;
    p->shift_rows = wanted(model, "prior.shift_rows", TEC_INT32, g * 17, error);
    if (!p->shift_rows) return error->status;
    p->shrink = wanted(model, "prior.shrink", TEC_INT32, rows * 3, error);
    if (!p->shrink) return error->status;
    if (!in_tables(p->coefficient_rows, g * 6 * TEC_SCALE_BINS, p->tables) ||
        !in_tables(p->flag_rows, g * 6 * TEC_FLAG_BINS, p->tables) ||
        !in_tables(p->shift_rows, g * 17, p->tables))
        return tec_fail(error, TEC_BAD_WEIGHTS, "a row that the tables do not have", NULL, 0);
    p->bits = keep(model, rows * TEC_PRICED, sizeof *p->bits, error);
    p->shift_bits = p->bits ? keep(model, g * 17 * 17, sizeof *p->shift_bits, error) : NULL;
    if (!p->shift_bits) return error->status;
    for (size_t r = 0; r < rows; r++)
        for (int32_t m = 0; m < TEC_PRICED; m++)
            p->bits[r * TEC_PRICED + (size_t)m] = (float)bits_of_magnitude(p->tables, r, m);
    for (size_t i = 0; i < g * 17; i++)
        for (int32_t s = 0; s < 17; s++) {
            const size_t row = (size_t)p->shift_rows[i];
            const int64_t at = s - TEC_SHIFT_LIMIT - (int64_t)p->tables->row[row].minimum;
            const int inside = at >= 0 && at < p->tables->row[row].last;
            p->shift_bits[i * 17 + (size_t)s] =
                inside ? 16 - tec_log2(width_of(p->tables, row, (uint32_t)at)) : 30;
        }
    return TEC_OK;
}

/* ---- networks ----------------------------------------------------------------------------- */

/* int8 weights (inputs, outputs) to panels of 16 outputs, inputs in pairs side by side. */
static tec_status read_layer(tec_model *model, const char *name, size_t inputs, tec_layer *out,
                             int bits, tec_error *error)
{
    char shift_name[96];
    snprintf(shift_name, sizeof shift_name, "%s.shift", name);
    const tec_tensor *w = find(model, name), *shift = find(model, shift_name);
    if (!w || !shift || w->type != TEC_INT8 || shift->type != TEC_INT8 || !w->last ||
        w->last > TEC_WIDEST || w->rows > TEC_WIDEST || shift->count != w->last ||
        (inputs && w->rows != inputs))
        return tec_fail(error, TEC_BAD_WEIGHTS, "a layer that is missing or has another shape",
                        NULL, 0);
    const size_t even = w->rows + w->rows % 2, padded = (w->last + 15) / 16 * 16;
    int16_t *packed = keep(model, even * padded, sizeof *packed, error);
    float *scale = packed ? keep(model, padded, sizeof *scale, error) : NULL;
    if (!scale) return error->status;
    const int8_t *weights = w->data;
    for (size_t i = 0; i < w->rows; i++)
        for (size_t o = 0; o < w->last; o++)
            packed[o / 16 * 16 * even + i / 2 * 32 + o % 16 * 2 + i % 2] = weights[i * w->last + o];
    for (size_t o = 0; o < w->last; o++)
        scale[o] = (float)ldexp(1.0, 9 - bits - ((const int8_t *)shift->data)[o]);
    *out = (tec_layer){packed, scale, NULL, w->rows, w->last};
    return TEC_OK;
}

static tec_status read_network(tec_model *model, const char *name, size_t inputs, size_t outputs,
                               size_t phases, tec_network *out, tec_error *error)
{
    char part[96];
    size_t rows, last, width;
    tec_status status;
    snprintf(part, sizeof part, "%s.first", name);
    if ((status = read_layer(model, part, inputs, &out->layers[0], 4, error))) return status;
    width = out->layers[0].outputs;
    snprintf(part, sizeof part, "%s.second", name);
    if ((status = read_layer(model, part, width, &out->layers[1], 5, error))) return status;
    snprintf(part, sizeof part, "%s.out", name);
    if ((status = read_layer(model, part, out->layers[1].outputs, &out->layers[2], 5, error)))
        return status;
    static const char *const biases[2] = {"second.bias", "out.bias"};
    for (int i = 0; i < 2; i++) {
        snprintf(part, sizeof part, "%s.%s", name, biases[i]);
        if (!(out->layers[1 + i].bias = as_floats(model, part, &rows, &last, error)))
            return error->status;
        if (last != out->layers[1 + i].outputs) break;
    }
    if (last != out->layers[2].outputs || out->layers[2].outputs != outputs)
        return tec_fail(error, TEC_BAD_WEIGHTS, "a network of another shape", NULL, 0);
    static const char *const names[3] = {"component", "phase", "rate"};
    float **const parts[3] = {&out->component, &out->phase, &out->rate};
    const size_t counts[3] = {13, phases, TEC_MOST_RATE + 1};
    for (int i = 0; i < 3; i++) {
        snprintf(part, sizeof part, "%s.%s", name, names[i]);
        if (!(*parts[i] = as_floats(model, part, &rows, &last, error))) return error->status;
        if (last != width || rows != counts[i])
            return tec_fail(error, TEC_BAD_WEIGHTS, "a network of another shape", NULL, 0);
    }
    out->padded = (width + 15) / 16 * 16;
    return TEC_OK;
}

static tec_status read_networks(tec_model *model, const char *prefix, size_t inputs,
                                size_t outputs, size_t phases, tec_network out[TEC_LEVELS][3],
                                tec_error *error)
{
    char name[64];
    for (int level = 0; level < TEC_LEVELS; level++)
        for (int o = 0; o < 3; o++) {
            snprintf(name, sizeof name, "%s.%d.%d", prefix, level, o);
            const tec_status status =
                read_network(model, name, inputs, outputs, phases, &out[level][o], error);
            if (status) return status;
        }
    return TEC_OK;
}

void tec_network_run(const tec_network *network, size_t component, unsigned rate, int phase,
                     const int16_t *features, size_t count, float *out)
{
    float bias[TEC_WIDEST];
    tec_layer layers[3] = {network->layers[0], network->layers[1], network->layers[2]};
    if (component > 12) component = 12;
    const float *a = network->component + component * network->padded;
    const float *b = network->rate + rate * network->padded;
    const float *c = network->phase + (size_t)phase * network->padded;
    for (size_t i = 0; i < network->padded; i++) bias[i] = a[i] + b[i] + c[i];
    layers[0].bias = bias;
    tec_context_network(layers, features, count, out);
}

/* ---- context models ----------------------------------------------------------------------- */

static tec_status read_companding(tec_model *model, tec_error *error)
{
    tec_context *c = &model->context;
    static const char *const names[2] = {"features.integers", "features.eighths"};
    tec_companding *const tables[2] = {&c->integers, &c->eighths};
    for (int i = 0; i < 2; i++) {
        const tec_tensor *t = find(model, names[i]);
        if (!t || t->type != TEC_INT8 || !t->count)
            return tec_fail(error, TEC_BAD_WEIGHTS, "no companding table", NULL, 0);
        int16_t *values = keep(model, t->count, sizeof *values, error);
        if (!values) return error->status;
        for (size_t k = 0; k < t->count; k++) values[k] = ((const int8_t *)t->data)[k];
        *tables[i] = (tec_companding){values, t->count};
    }
    const tec_tensor *edges = find(model, "features.scales");
    if (!edges || edges->type != TEC_INT32)
        return tec_fail(error, TEC_BAD_WEIGHTS, "no scales of features", NULL, 0);
    int16_t *scales = keep(model, TEC_SCALE_LIMIT, sizeof *scales, error);
    if (!scales) return error->status;
    size_t below = 0;
    for (int32_t e = 0; e < TEC_SCALE_LIMIT; e++) {
        while (below < edges->count && ((const int32_t *)edges->data)[below] <= e) below++;
        scales[e] = (int16_t)((int)below - 64);
    }
    c->scales = (tec_companding){scales, TEC_SCALE_LIMIT};
    return TEC_OK;
}

/* What every interval costs. */
static tec_status price(tec_model *model, const char *prefix, tec_error *error)
{
    char name[64];
    tec_context *c = &model->context;
    snprintf(name, sizeof name, "%s.starts", prefix);
    const tec_tensor *starts = find(model, name);
    snprintf(name, sizeof name, "%s.minimum", prefix);
    const tec_tensor *minimum = find(model, name);
    snprintf(name, sizeof name, "%s.cdf", prefix);
    const tec_tensor *cdf = find(model, name);
    float *bits = keep(model, cdf->count, sizeof *bits, error);
    if (!bits) return error->status;
    for (size_t r = 0; r < c->tables->rows; r++)
        for (uint32_t k = 0; k <= c->tables->row[r].last; k++)
            bits[c->tables->row[r].cdf + k] = (float)(16 - tec_log2(width_of(c->tables, r, k)));
    c->prices = (tec_prices){starts->data, minimum->data, bits, minimum->count};
    return TEC_OK;
}

static tec_status read_context(tec_model *model, tec_error *error)
{
    tec_context *c = &model->context;
    const size_t plain = TEC_PLANE_FEATURES + TEC_OWN_FEATURES;
    tec_status status = read_companding(model, error);
    if (status) return status;
    if (!(c->tables = tables_of(model, "tables", error))) return error->status;
    if ((status = price(model, "tables", error))) return status;
    const tec_tensor *offsets = find(model, "offsets");
    if (!offsets || offsets->type != TEC_INT8 || offsets->last != 7 ||
        offsets->rows > c->tables->rows)
        return tec_fail(error, TEC_BAD_WEIGHTS, "no reconstruction offsets", NULL, 0);
    c->offsets = offsets->data;
    c->rows = offsets->rows;
    if ((status = read_networks(model, "elic", plain, 3, 4, c->elic, error))) return status;
    if (model->kind == TEC_TT)
        return read_networks(model, "tt", plain + TEC_REFERENCE_FEATURES, 4, 4, c->tt, error);
    if (model->kind != TEC_FLEXTEC) return TEC_OK;
    for (int pass = 0; pass < TEC_PASSES; pass++) {
        char name[16];
        snprintf(name, sizeof name, "flex.%d", pass);
        status = read_networks(model, name, pass ? plain + TEC_REFERENCE_FEATURES : plain,
                               pass ? 4 : 3, 4, c->pass[pass], error);
        if (status) return status;
    }
    if ((status = read_networks(model, "flex.flags", 11, 1, 3, c->flags, error))) return status;
    const tec_tensor *first = find(model, "flex.offsets.first"),
                     *zeros = find(model, "flex.offsets.zeros"),
                     *digits = find(model, "flex.offsets.digits");
    if (!first || !zeros || !digits || first->type != TEC_INT8 || zeros->type != TEC_INT8 ||
        digits->type != TEC_INT8 || first->count != c->rows * 7 || zeros->count != 9 * c->rows ||
        digits->count % 6)
        return tec_fail(error, TEC_BAD_WEIGHTS, "no reconstruction offsets of passes", NULL, 0);
    c->first_offsets = first->data;
    c->zero_offsets = zeros->data;
    c->digit_offsets = digits->data;
    c->digit_rows = digits->count / 6;
    return TEC_OK;
}

/* ---- models and coders -------------------------------------------------------------------- */

tec_status tec_model_new(tec_kind kind, const tec_tensor *tensors, size_t count, tec_model **out,
                         tec_error *error)
{
    *out = NULL;
    *error = (tec_error){TEC_OK, NULL, NULL, 0, -1, -1};
    tec_rans_init();
    tec_model *model = calloc(1, sizeof *model);
    if (!model) return tec_fail(error, TEC_NO_MEMORY, "no memory for the weights", NULL, 0);
    model->kind = kind;
    model->tensors = tensors;
    model->count = count;
    tec_status status = read_prior(model, error);
    if (!status && kind != TEC_FP) status = read_context(model, error);
    if (!status && tec_rotations_tables(&model->rotations))
        status = tec_fail(error, TEC_NO_MEMORY, "no memory for tables", NULL, 0);
    if (status)
        tec_model_free(model);
    else
        *out = model;
    return status;
}

void tec_model_free(tec_model *model)
{
    if (!model) return;
    for (size_t i = 0; i < model->kept; i++) free(model->memory[i]);
    tec_rans_tables_free(model->prior.tables);
    tec_rans_tables_free(model->context.tables);
    tec_rans_tables_free(model->rotations);
    free(model);
}

tec_status tec_coder_new(const tec_model *model, tec_bands bands, tec_coder **out,
                         tec_error *error)
{
    *out = NULL;
    *error = (tec_error){TEC_OK, NULL, NULL, 0, -1, -1};
    const size_t all = bands.sensor_bands, matrix = (TEC_LEVELS + 1) * all * all;
    const tec_tensor *book = find(model, bands.codebook);
    if (!all || all > TEC_MOST_BANDS || !bands.bands || bands.bands > all)
        return tec_fail(error, TEC_BAD_ARGUMENT, "a number of bands", "1 to those of the sensor",
                        (int64_t)bands.bands);
    for (size_t i = 0; i < bands.bands; i++)
        if (bands.index[i] >= all || (i && bands.index[i] <= bands.index[i - 1]))
            return tec_fail(error, TEC_BAD_ARGUMENT, "a band", "the sensor's, rising",
                            bands.index[i]);
    if (!book || book->type != TEC_FLOAT32 || book->count % matrix || book->count / matrix < 1 ||
        book->count / matrix > 16)
        return tec_fail(error, TEC_BAD_WEIGHTS, "no codebook of the sensor", NULL, 0);
    tec_coder *coder = calloc(1, sizeof *coder);
    if (!coder) return tec_fail(error, TEC_NO_MEMORY, "no memory for a coder", NULL, 0);
    coder->model = model;
    coder->bands = bands;
    coder->codebook = book->data;
    coder->entries = book->count / matrix;
    *out = coder;
    return TEC_OK;
}

size_t tec_coder_bands(const tec_coder *coder) { return coder->bands.bands; }

static void free_book(tec_book *book)
{
    if (!book) return;
    free(book->rows);
    free(book->spectrum);
    free(book);
}

void tec_coder_free(tec_coder *coder)
{
    if (!coder) return;
    for (tec_book *book = atomic_load(&coder->books); book;) {
        tec_book *next = book->next;
        free_book(book);
        book = next;
    }
    free(coder);
}

static tec_book *make_book(const tec_coder *coder, const tec_layout *layout, int level,
                           uint32_t mask)
{
    const size_t n = layout->count[level], all = coder->bands.sensor_bands;
    tec_book *book = calloc(1, sizeof *book);
    if (!book) return NULL;
    book->level = level;
    book->mask = mask;
    book->n = n;
    book->rows = calloc(coder->entries * n * n, sizeof *book->rows);
    book->spectrum = calloc(coder->entries, sizeof *book->spectrum);
    if (!book->rows || !book->spectrum) {
        free_book(book);
        return NULL;
    }
    int32_t wavelength[TEC_MOST_BANDS];
    for (size_t i = 0; i < n; i++) wavelength[i] = coder->bands.wavelength[layout->band[level][i]];
    for (size_t e = 0; e < coder->entries; e++) {
        const float *from = coder->codebook + (e * (TEC_LEVELS + 1) + (size_t)level) * all * all;
        double a[TEC_MOST_BANDS * TEC_MOST_BANDS];
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                a[i * n + j] = from[coder->bands.index[layout->band[level][i]] * all +
                                    coder->bands.index[layout->band[level][j]]];
        tec_spectrum_eigen(a, n, book->rows + e * n * n);
        tec_spectrum_make(book->rows + e * n * n, n, wavelength, &book->spectrum[e]);
    }
    return book;
}

const tec_book *tec_book_of(const tec_coder *coder, const tec_layout *layout, int level)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < layout->count[level]; i++)
        mask |= (uint32_t)1 << layout->band[level][i];
    tec_coder *own = (tec_coder *)coder; /* a cache: what is found never depends on it */
    tec_book *first = atomic_load(&own->books);
    for (tec_book *book = first; book; book = book->next)
        if (book->level == level && book->mask == mask) return book;
    tec_book *book = make_book(coder, layout, level, mask);
    if (!book) return NULL;
    book->next = first;
    while (!atomic_compare_exchange_weak(&own->books, &book->next, book)) {
        for (tec_book *other = book->next; other; other = other->next)
            if (other->level == level && other->mask == mask) {
                free_book(book); /* another thread was faster */
                return other;
            }
    }
    return book;
}

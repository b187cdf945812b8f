/* The spectral transform on random and hostile matrices and lists: reversible, within bounds. Every
 * buffer is a heap block of exactly the size that the core is told. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/spectrum.h"
#include "xorshift.h"

static const int32_t WAVELENGTHS[TEC_BANDS] = {443, 492, 560, 665, 704,  740, 783,
                                               833, 865, 945, 1374, 1614, 2202};

static void *block(size_t size)
{
    void *found = malloc(size ? size : 1);
    if (!found) abort();
    return found;
}

static double uniform(void) { return next() / 2147483648.0 - 1; }

/* A covariance of some random rows of very different sizes. */
static double *covariance(size_t n)
{
    double f[TEC_BANDS * TEC_BANDS], *a = block(n * n * sizeof *a);
    for (size_t i = 0; i < n * n; i++) f[i] = ldexp(uniform(), (int)(next() % 20));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            a[i * n + j] = 0;
            for (size_t k = 0; k < n; k++) a[i * n + j] += f[i * n + k] * f[j * n + k];
        }
    return a;
}

static void draw_list(tec_rotations *list, size_t n)
{
    list->count = n > 1 ? next() % (TEC_ROTATIONS + 1) : 0;
    for (size_t i = 0; i < list->count; i++) {
        const uint8_t q = (uint8_t)(1 + next() % (n - 1)), p = (uint8_t)(next() % q);
        list->list[i] = (tec_rotation){q, p, (uint8_t)(1 + next() % TEC_ANGLES),
                                       (int8_t)(next() % 2 ? 1 : -1)};
    }
}

static int32_t *planes(size_t n, size_t count, int32_t limit, int32_t **out)
{
    int32_t *x = block(n * count * sizeof *x);
    for (size_t i = 0; i < n * count; i++)
        x[i] = (int32_t)(next() % (2 * (uint32_t)limit)) - limit;
    for (size_t i = 0; i < n; i++) out[i] = x + i * count;
    return x;
}

/* Forward and back, in place; then components that nothing made. */
static int reversible(const tec_spectrum *s, size_t count)
{
    int32_t *plane[TEC_BANDS], *wild_plane[TEC_BANDS];
    const int aligned = next() % 2;
    int32_t *x = planes(s->n, count, 1 << 16, plane);
    int32_t *wild = planes(s->n, count, 1 << 29, wild_plane);
    int32_t *copy = block(s->n * count * sizeof *copy);
    memcpy(copy, x, s->n * count * sizeof *copy);
    tec_spectrum_forward(s, (const int32_t *const *)plane, plane, count, aligned);
    tec_spectrum_inverse(s, (const int32_t *const *)plane, plane, count, aligned);
    int failed = memcmp(x, copy, s->n * count * sizeof *copy) != 0;
    tec_spectrum_inverse(s, (const int32_t *const *)wild_plane, wild_plane, count, aligned);
    for (size_t i = 0; i < s->n * count; i++) failed |= abs(wild[i]) > 1 << 21;
    free(x);
    free(wild);
    free(copy);
    return failed;
}

static int derive(size_t n)
{
    tec_spectrum *s = block(sizeof *s);
    tec_rotations list;
    double *a = covariance(n), *rows = block(n * n * sizeof *rows);
    tec_spectrum_eigen(a, n, rows);
    draw_list(&list, n);
    tec_spectrum_turn(rows, n, &list);
    tec_spectrum_make(rows, n, WAVELENGTHS, s);
    int failed = reversible(s, next() % 700);
    /* What is no covariance must not do harm. */
    static const double strange[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 0};
    for (size_t i = next() % 4; i--;) a[next() % (n * n)] = strange[next() % 6];
    tec_spectrum_eigen(a, n, rows);
    tec_spectrum_make(rows, n, WAVELENGTHS, s);
    reversible(s, 40);
    free(s);
    free(a);
    free(rows);
    return failed;
}

static int valid(const tec_rotations *list, size_t n)
{
    if (list->count > TEC_ROTATIONS || (n < 2 && list->count)) return 0;
    for (size_t i = 0; i < list->count; i++) {
        const tec_rotation r = list->list[i];
        if (r.p >= r.q || r.q >= n || r.j < 1 || r.j > TEC_ANGLES || abs(r.sign) != 1) return 0;
    }
    return 1;
}

static int same(const tec_rotations *a, const tec_rotations *b)
{
    return a->count == b->count && !memcmp(a->list, b->list, a->count * sizeof *a->list);
}

/* Reads a list from a block of its own. */
static tec_rans_status read(const tec_rans_tables *t, const uint8_t *data, size_t size, size_t n,
                            tec_rotations *out)
{
    tec_rans_decoder decoder;
    uint8_t *copy = block(size);
    if (size) memcpy(copy, data, size);
    tec_rans_status status = tec_rans_open(&decoder, copy, size);
    if (!status) status = tec_rotations_read(&decoder, t, n, out);
    if (!status) status = tec_rans_close(&decoder);
    free(copy);
    return status;
}

static int lists(const tec_rans_tables *t, size_t n)
{
    tec_rotations list, found;
    tec_rans_encoder encoder = {0};
    tec_rans_stream stream;
    uint8_t data[4096];
    draw_list(&list, n);
    if (tec_rotations_write(&encoder, t, n, &list)) return 1;
    tec_rans_finish(&encoder, &stream);
    const size_t size = stream.header_size + stream.words_size;
    memcpy(data, stream.header, stream.header_size);
    if (stream.words_size) memcpy(data + stream.header_size, stream.words, stream.words_size);
    tec_rans_encoder_clear(&encoder);
    if (read(t, data, size, n, &found) || !same(&list, &found)) return 1;
    for (int i = 0; i < 40 && size; i++) {
        const size_t length = next() % 2 ? size : next() % size;
        data[next() % size] ^= (uint8_t)(1 << next() % 8);
        const tec_rans_status status = read(t, data, length, n, &found);
        if (status ? status != TEC_RANS_CORRUPT : !valid(&found, n)) return 1;
    }
    return 0;
}

/* Few entries and samples of any size; what is chosen can be used. */
static int choose(size_t n)
{
    const size_t entries = 1 + next() % 3, count = next() % 1100;
    double *book = block(entries * n * n * sizeof *book), *x = block(n * count * sizeof *x);
    size_t entry = 99;
    tec_rotations list;
    for (size_t e = 0; e < entries; e++) {
        double *a = covariance(n);
        tec_spectrum_eigen(a, n, book + e * n * n);
        free(a);
    }
    const double size = ldexp(1, (int)(next() % 30));
    for (size_t i = 0; i < n * count; i++) x[i] = uniform() * size;
    if (count && next() % 8 == 0) x[next() % (n * count)] = next() % 2 ? NAN : 1e300;
    int failed = tec_spectrum_choose(book, entries, n, x, count, 3, ldexp(1, (int)(next() % 20)),
                                     next() % 4 > 0, next() % 4, &entry, &list) != 0;
    failed |= entry >= entries || !valid(&list, n);
    free(book);
    free(x);
    return failed;
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    tec_rans_tables *tables;
    tec_rans_init();
    if (tec_rotations_tables(&tables)) return 1;
    for (size_t i = 0; i < rounds; i++) {
        const size_t n = 1 + i % TEC_BANDS;
        if (derive(n)) return 2;
        if (lists(tables, n)) return 3;
        if (choose(n)) return 4;
    }
    tec_rans_tables_free(tables);
    return 0;
}

/* Prints one number for all that the core reads and writes of a file, however it was compiled.
 *
 *     core_same FILE THREADS
 */
#include <pthread.h>

#include "core_load.h"

static uint32_t code(const bench *b)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < b->sections; i++) {
        const section *s = &b->section[i];
        const tec_coder *coder = b->coder[s->coder];
        const size_t count = s->dates * tec_coder_bands(coder) * s->height * s->width;
        int32_t *out = block(count * sizeof *out);
        uint8_t *has_data = block(s->dates);
        tec_error error;
        tec_bytes written;
        uint32_t symbols;
        memset(out, 0, count * sizeof *out);
        if (tec_decode(coder, chunk_of(s), s->data, s->size, s->symbols, NULL, 0, 0, out, has_data,
                       &error))
            abort();
        all = tec_crc32c(all, out, count * sizeof *out);
        if (all == 0 || tec_crc32c(0, out, count * sizeof *out) != s->decoded) abort();
        for (size_t k = 0; k < count; k++)
            out[k] = out[k] < 0 ? 0 : out[k] > 65535 ? 65535 : out[k];
        if (tec_encode(coder, chunk_of(s), out, NULL, NULL, TEC_ROTATE, &written, &symbols, NULL,
                       &error))
            abort();
        all = tec_crc32c(all, written.data, written.size);
        all = tec_crc32c(all, out, count * sizeof *out);
        tec_bytes_free(&written);
        free(out);
        free(has_data);
    }
    return all;
}

static bench shared;

static void *run(void *found)
{
    *(uint32_t *)found = code(&shared);
    return NULL;
}

int main(int argc, char **argv)
{
    enum { MOST = 16 };
    const int threads = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t thread[MOST];
    uint32_t found[MOST];
    if (argc < 2 || threads < 1 || threads > MOST) return 1;
    load(argv[1], &shared);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, run, &found[i])) return 2;
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    for (int i = 1; i < threads; i++)
        if (found[i] != found[0]) return 3;
    printf("%08x\n", found[0]);
    drop(&shared);
    return 0;
}

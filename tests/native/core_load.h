/* Models, coders and sections from a file that tests/helpers/core_dump.py wrote. */
#ifndef TEC_CORE_LOAD_H
#define TEC_CORE_LOAD_H

#undef malloc
#undef calloc
#undef realloc
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/tec.h"

typedef struct {
    uint32_t coder, rate, tokens, symbols, decoded;
    size_t dates, height, width, size;
    uint8_t *data;
} section;

typedef struct {
    uint32_t models, coders, sections;
    tec_tensor **tensors;
    uint32_t *tensor_count;
    tec_kind *kind;
    tec_model **model;
    tec_coder **coder;
    char **book;
    section *section;
} bench;

/* A block of exactly that size. */
static void *block(size_t size)
{
    void *found = malloc(size ? size : 1);
    if (!found) abort();
    return found;
}

static void *bytes(FILE *file, size_t size)
{
    void *found = block(size);
    if (size && fread(found, size, 1, file) != 1) abort();
    return found;
}

static uint32_t number(FILE *file)
{
    uint32_t found;
    if (fread(&found, sizeof found, 1, file) != 1) abort();
    return found;
}

static void load_model(FILE *file, bench *b, uint32_t i)
{
    tec_error error;
    const tec_kind kind = b->kind[i] = (tec_kind)number(file);
    const uint32_t count = b->tensor_count[i] = number(file);
    tec_tensor *t = b->tensors[i] = block(count * sizeof *t);
    for (uint32_t k = 0; k < count; k++) {
        t[k].name = bytes(file, number(file));
        t[k].type = (tec_type)number(file);
        t[k].last = number(file);
        t[k].count = number(file);
        t[k].rows = t[k].count / t[k].last;
        t[k].data = bytes(file, number(file));
    }
    if (tec_model_new(kind, t, count, &b->model[i], &error)) abort();
}

static void load_coder(FILE *file, bench *b, uint32_t i)
{
    tec_error error;
    tec_bands bands;
    const uint32_t model = number(file);
    bands.sensor_bands = number(file);
    bands.bands = number(file);
    for (size_t k = 0; k < bands.bands; k++) {
        bands.index[k] = (uint8_t)number(file);
        bands.mean[k] = (int32_t)number(file);
        bands.wavelength[k] = (int32_t)number(file);
    }
    bands.codebook = b->book[i] = bytes(file, number(file));
    if (tec_coder_new(b->model[model], bands, &b->coder[i], &error)) abort();
}

static void load_section(FILE *file, section *s)
{
    s->coder = number(file);
    s->dates = number(file);
    s->height = number(file);
    s->width = number(file);
    s->rate = number(file);
    s->tokens = number(file);
    s->symbols = number(file);
    s->decoded = number(file);
    s->size = number(file);
    s->data = bytes(file, s->size);
}

static void load(const char *path, bench *b)
{
    FILE *file = fopen(path, "rb");
    if (!file) abort();
    b->models = number(file);
    b->tensors = block(b->models * sizeof *b->tensors);
    b->tensor_count = block(b->models * sizeof *b->tensor_count);
    b->kind = block(b->models * sizeof *b->kind);
    b->model = block(b->models * sizeof *b->model);
    for (uint32_t i = 0; i < b->models; i++) load_model(file, b, i);
    b->coders = number(file);
    b->coder = block(b->coders * sizeof *b->coder);
    b->book = block(b->coders * sizeof *b->book);
    for (uint32_t i = 0; i < b->coders; i++) load_coder(file, b, i);
    b->sections = number(file);
    b->section = block(b->sections * sizeof *b->section);
    for (uint32_t i = 0; i < b->sections; i++) load_section(file, &b->section[i]);
    fclose(file);
}

static void drop(bench *b)
{
    for (uint32_t i = 0; i < b->sections; i++) free(b->section[i].data);
    for (uint32_t i = 0; i < b->coders; i++) {
        tec_coder_free(b->coder[i]);
        free(b->book[i]);
    }
    for (uint32_t i = 0; i < b->models; i++) {
        tec_model_free(b->model[i]);
        for (uint32_t k = 0; k < b->tensor_count[i]; k++) {
            free((void *)b->tensors[i][k].name);
            free((void *)b->tensors[i][k].data);
        }
        free(b->tensors[i]);
    }
    free(b->section);
    free(b->coder);
    free(b->book);
    free(b->model);
    free(b->tensors);
    free(b->tensor_count);
    free(b->kind);
}

static tec_chunk chunk_of(const section *s)
{
    return (tec_chunk){s->dates, s->height, s->width, s->rate, s->tokens};
}

#endif

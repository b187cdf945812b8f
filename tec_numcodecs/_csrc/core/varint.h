/* Lengths in a section: LEB128 in its shortest form. FORMAT.md 2. */
#ifndef TEC_VARINT_H
#define TEC_VARINT_H

#include <stdint.h>

typedef struct {
    const uint8_t *at, *end;
} tec_bytes_reader;

/* A varint up to `most`; -1 if there is none. */
static inline int64_t tec_read_varint(tec_bytes_reader *r, uint64_t most)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        const uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte & 128) continue;
        if (shift && !byte) return -1;
        return value <= most ? (int64_t)value : -1;
    }
    return -1;
}

#endif

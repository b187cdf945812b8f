#include "tec.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(TEC_CRC_PORTABLE)
#include <nmmintrin.h>
#define TEC_CRC_SSE42
#endif

/* Four bits at a time: small enough for a table that is written out. */
static const uint32_t NIBBLE[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t plain(uint32_t crc, const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ NIBBLE[crc & 15];
        crc = crc >> 4 ^ NIBBLE[crc & 15];
    }
    return crc;
}

#ifdef TEC_CRC_SSE42
__attribute__((target("sse4.2"))) static uint32_t fast(uint32_t crc, const uint8_t *p, size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t eight;
        __builtin_memcpy(&eight, p, 8);
        wide = _mm_crc32_u64(wide, eight);
    }
    crc = (uint32_t)wide;
    for (; size; p++, size--) crc = _mm_crc32_u8(crc, *p);
    return crc;
}
#endif

uint32_t tec_crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef TEC_CRC_SSE42
    if (__builtin_cpu_supports("sse4.2")) return ~fast(~crc, data, size);
#endif
    return ~plain(~crc, data, size);
}

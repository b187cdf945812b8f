/* Random numbers of our own, so that a run means the same everywhere: Marsaglia, 2003. */
#ifndef TEC_XORSHIFT_H
#define TEC_XORSHIFT_H

#include <stdint.h>

static uint64_t state = 88172645463325252ULL;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

#endif

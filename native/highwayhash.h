/* HighwayHash with 256 bits (Alakuijala, Cox, Wassenberg: "Fast keyed hash/pseudo-random function using SIMD multiply and
 * permute", arXiv 1612.06257). The implementations give the same digests; which of them run is for the processor to say. */

#ifndef STOREHOUSE_HIGHWAYHASH_H
#define STOREHOUSE_HIGHWAYHASH_H

#include <stddef.h>
#include <stdint.h>

enum { HH_KEY_SIZE = 32, HH_DIGEST_SIZE = 32 };

typedef void (*hh_digest)(const uint8_t key[HH_KEY_SIZE], const uint8_t *data, size_t size,
                          uint8_t digest[HH_DIGEST_SIZE]);

typedef struct {
    const char *name;
    hh_digest digest;
} hh_implementation;

/* Those that this processor runs, the fastest first; the portable one is always among them. The last has no name. */
const hh_implementation *hh_implementations(void);

#endif

/* CRC32C (Castagnoli), as iSCSI and the append log have it. */

#ifndef STOREHOUSE_CRC32C_H
#define STOREHOUSE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t crc32c_function(uint32_t crc, const uint8_t *data, size_t size);

/* One way to compute it. */
typedef struct {
    const char *name;
    crc32c_function *update;
} crc32c_implementation;

/* The implementations for this machine, the fastest first and "portable" last, and then one without a name. The first call
 * is not thread-safe. */
const crc32c_implementation *crc32c_implementations(void);

#endif

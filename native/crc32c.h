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

/* Those that this machine has, the fastest first; ends with one without a name. The last real one is "portable". Not
 * thread-safe at its first call. */
const crc32c_implementation *crc32c_implementations(void);

#endif

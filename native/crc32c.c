#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#define CRC_X86 1
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#define CRC_ARM 1
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

/* The polynomial 0x1EDC6F41, bits reversed. */
enum { SLICES = 8 };
static const uint32_t POLYNOMIAL = 0x82f63b78u;

static uint32_t table[SLICES][256];

static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (int byte = 0; byte < 256; byte++)
            table[slice][byte] = table[slice - 1][byte] >> 8 ^ table[0][table[slice - 1][byte] & 255];
}

static uint32_t load32(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint32_t update_portable(uint32_t crc, const uint8_t *data, size_t size) {
    crc = ~crc;
    for (; size >= SLICES; data += SLICES, size -= SLICES) {
        const uint32_t low = crc ^ load32(data), high = load32(data + 4);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
              table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    while (size--) crc = crc >> 8 ^ table[0][(crc ^ *data++) & 255];
    return ~crc;
}

#ifdef CRC_X86
__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const uint8_t *data, size_t size) {
    uint64_t wide = ~crc, word;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    while (size--) crc = _mm_crc32_u8(crc, *data++);
    return ~crc;
}
#endif

#ifdef CRC_ARM
__attribute__((target("arch=armv8-a+crc"))) static uint32_t update_arm(uint32_t crc, const uint8_t *data, size_t size) {
    uint64_t word;
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        crc = __crc32cd(crc, word);
    }
    while (size--) crc = __crc32cb(crc, *data++);
    return ~crc;
}
#endif

const crc32c_implementation *crc32c_implementations(void) {
    static crc32c_implementation found[3];
    int count = 0;
    if (found[0].name != NULL) return found;
    fill_table();
#ifdef CRC_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        found[count].update = update_sse42;
        found[count++].name = "sse4.2";
    }
#endif
#ifdef CRC_ARM
    if (getauxval(AT_HWCAP) & 1UL << 7) { /* HWCAP_CRC32 */
        found[count].update = update_arm;
        found[count++].name = "crc";
    }
#endif
    found[count].update = update_portable;
    found[count].name = "portable";
    return found;
}

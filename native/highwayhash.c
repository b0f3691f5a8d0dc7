#include "highwayhash.h"

#include <string.h>

/* The state is four vectors of four 64-bit lanes. An implementation is a type for two or four lanes and a few operations on
 * it; HH_IMPLEMENT puts the algorithm around them, once for all. */

#if defined(__x86_64__) || defined(__i386__)
#define HH_X86 1
#include <immintrin.h>
#elif defined(__aarch64__) && (!defined(__BYTE_ORDER__) || __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#define HH_NEON 1
#include <arm_neon.h>
#endif

enum { PACKET = 32, LANES = 4, FINAL_ROUNDS = 10 };

static const uint64_t INIT0[LANES] = {0xdbe6d5d5fe4cce2fULL, 0xa4093822299f31d0ULL, 0x13198a2e03707344ULL,
                                      0x243f6a8885a308d3ULL};
static const uint64_t INIT1[LANES] = {0x3bd39e10cb0ef593ULL, 0xc0acf169b5f18a8cULL, 0xbe5466cf34e90c6cULL,
                                      0x452821e638d01377ULL};

typedef struct {
    uint64_t v0[LANES], v1[LANES], mul0[LANES], mul1[LANES];
} state;

static uint64_t load64(const uint8_t *from) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | from[i];
    return value;
}

static void store64(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 8; i++, value >>= 8) to[i] = (uint8_t)value;
}

static uint64_t halves_swapped(uint64_t value) { return value << 32 | value >> 32; }

static void begin(state *s, const uint8_t key[HH_KEY_SIZE]) {
    for (int i = 0; i < LANES; i++) {
        uint64_t k = load64(key + 8 * i);
        s->mul0[i] = INIT0[i];
        s->mul1[i] = INIT1[i];
        s->v0[i] = INIT0[i] ^ k;
        s->v1[i] = INIT1[i] ^ halves_swapped(k);
    }
}

/* What is done with the last, incomplete packet of 1 to 31 bytes before it is taken like the others: its size goes into the
 * state, its bytes into a packet of their own. */
static void pad(state *s, const uint8_t *rest, size_t size, uint8_t packet[PACKET]) {
    const size_t words = size & ~(size_t)3, more = size & 3;
    for (int i = 0; i < LANES; i++) {
        uint32_t low = (uint32_t)s->v1[i], high = (uint32_t)(s->v1[i] >> 32);
        s->v0[i] += ((uint64_t)size << 32) + size;
        low = low << size | low >> (32 - size);
        high = high << size | high >> (32 - size);
        s->v1[i] = (uint64_t)high << 32 | low;
    }
    memset(packet, 0, PACKET);
    memcpy(packet, rest, words);
    if (size & 16) {
        memcpy(packet + 28, rest + size - 4, 4);
    } else if (more) {
        packet[16] = rest[words];
        packet[17] = rest[words + (more >> 1)];
        packet[18] = rest[words + more - 1];
    }
}

static void reduce(uint64_t a3, uint64_t a2, uint64_t a1, uint64_t a0, uint8_t to[16]) {
    a3 &= 0x3fffffffffffffffULL;
    store64(to + 8, a1 ^ (a3 << 1 | a2 >> 63) ^ (a3 << 2 | a2 >> 62));
    store64(to, a0 ^ a2 << 1 ^ a2 << 2);
}

static void end(const state *s, uint8_t digest[HH_DIGEST_SIZE]) {
    for (int half = 0; half < 2; half++) {
        const int i = 2 * half;
        reduce(s->v1[i + 1] + s->mul1[i + 1], s->v1[i] + s->mul1[i], s->v0[i + 1] + s->mul0[i + 1],
               s->v0[i] + s->mul0[i], digest + 16 * half);
    }
}

/* TARGET     attributes of the functions, for the compiler to use the instructions
 * VECTOR     a type that holds all lanes of one vector
 * LOAD       from a pointer to 32 bytes, little-endian
 * GET        from a pointer to 4 lanes
 * PUT        to a pointer to 4 lanes
 * ADD, XOR   lane by lane
 * MUL        product of the low halves of lanes
 * HIGH       the high halves of lanes, as low ones
 * ZIP        the bytes of each pair of lanes mixed, as the paper has it
 * TURN       lanes 0 and 2, 1 and 3 exchanged, and the halves within each */
#define HH_IMPLEMENT(NAME, TARGET, VECTOR, LOAD, GET, PUT, ADD, XOR, MUL, HIGH, ZIP, TURN)                            \
    typedef struct {                                                                                                 \
        VECTOR v0, v1, mul0, mul1;                                                                                   \
    } NAME##_state;                                                                                                  \
                                                                                                                     \
    TARGET static inline void NAME##_take(NAME##_state *s, VECTOR packet) {                                          \
        s->v1 = ADD(s->v1, ADD(packet, s->mul0));                                                                    \
        s->mul0 = XOR(s->mul0, MUL(s->v1, HIGH(s->v0)));                                                             \
        s->v0 = ADD(s->v0, s->mul1);                                                                                 \
        s->mul1 = XOR(s->mul1, MUL(s->v0, HIGH(s->v1)));                                                             \
        s->v0 = ADD(s->v0, ZIP(s->v1));                                                                              \
        s->v1 = ADD(s->v1, ZIP(s->v0));                                                                              \
    }                                                                                                                \
                                                                                                                     \
    TARGET static inline NAME##_state NAME##_loaded(const state *s) {                                                \
        NAME##_state now = {GET(s->v0), GET(s->v1), GET(s->mul0), GET(s->mul1)};                                     \
        return now;                                                                                                  \
    }                                                                                                                \
                                                                                                                     \
    TARGET static inline void NAME##_stored(const NAME##_state *now, state *s) {                                     \
        PUT(s->v0, now->v0);                                                                                         \
        PUT(s->v1, now->v1);                                                                                         \
        PUT(s->mul0, now->mul0);                                                                                     \
        PUT(s->mul1, now->mul1);                                                                                     \
    }                                                                                                                \
                                                                                                                     \
    TARGET static void NAME##_digest(const uint8_t key[HH_KEY_SIZE], const uint8_t *data, size_t size,               \
                                     uint8_t digest[HH_DIGEST_SIZE]) {                                               \
        state s;                                                                                                     \
        begin(&s, key);                                                                                              \
        NAME##_state now = NAME##_loaded(&s);                                                                        \
        for (; size >= PACKET; data += PACKET, size -= PACKET) NAME##_take(&now, LOAD(data));                        \
        if (size) {                                                                                                  \
            uint8_t packet[PACKET];                                                                                  \
            NAME##_stored(&now, &s);                                                                                 \
            pad(&s, data, size, packet);                                                                             \
            now = NAME##_loaded(&s);                                                                                 \
            NAME##_take(&now, LOAD(packet));                                                                         \
        }                                                                                                            \
        for (int round = 0; round < FINAL_ROUNDS; round++) NAME##_take(&now, TURN(now.v0));                          \
        NAME##_stored(&now, &s);                                                                                     \
        end(&s, digest);                                                                                             \
    }

/* -- portable ------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t lane[LANES];
} lanes;

static inline lanes portable_load(const uint8_t *from) {
    lanes v;
    for (int i = 0; i < LANES; i++) v.lane[i] = load64(from + 8 * i);
    return v;
}

static inline lanes portable_get(const uint64_t *from) {
    lanes v;
    memcpy(v.lane, from, sizeof v.lane);
    return v;
}

static inline void portable_put(uint64_t *to, lanes v) { memcpy(to, v.lane, sizeof v.lane); }

#define PER_LANE(NAME, EXPRESSION)                                                                                   \
    static inline lanes NAME(lanes a, lanes b) {                                                                     \
        lanes v;                                                                                                     \
        for (int i = 0; i < LANES; i++) v.lane[i] = EXPRESSION;                                                      \
        return v;                                                                                                    \
    }

PER_LANE(portable_add, a.lane[i] + b.lane[i])
PER_LANE(portable_xor, a.lane[i] ^ b.lane[i])
PER_LANE(portable_mul, (a.lane[i] & 0xffffffffU) * (b.lane[i] & 0xffffffffU))

static inline lanes portable_high(lanes a) {
    for (int i = 0; i < LANES; i++) a.lane[i] >>= 32;
    return a;
}

#define BYTE(VALUE, FROM, TO) ((VALUE) >> 8 * (FROM) << 56 >> 8 * (7 - (TO)))

/* Bytes of a pair of lanes, taken as 16: 3 12 2 5 14 1 15 0 and 11 4 10 13 9 6 8 7. */
static inline lanes portable_zip(lanes a) {
    lanes v;
    for (int i = 0; i < LANES; i += 2) {
        const uint64_t x = a.lane[i], y = a.lane[i + 1];
        v.lane[i] = BYTE(x, 3, 0) | BYTE(y, 4, 1) | BYTE(x, 2, 2) | BYTE(x, 5, 3) | BYTE(y, 6, 4) | BYTE(x, 1, 5) |
                    BYTE(y, 7, 6) | BYTE(x, 0, 7);
        v.lane[i + 1] = BYTE(y, 3, 0) | BYTE(x, 4, 1) | BYTE(y, 2, 2) | BYTE(y, 5, 3) | BYTE(y, 1, 4) | BYTE(x, 6, 5) |
                        BYTE(y, 0, 6) | BYTE(x, 7, 7);
    }
    return v;
}

static inline lanes portable_turn(lanes a) {
    lanes v;
    for (int i = 0; i < LANES; i++) v.lane[i] = halves_swapped(a.lane[i ^ 2]);
    return v;
}

HH_IMPLEMENT(portable, , lanes, portable_load, portable_get, portable_put, portable_add, portable_xor, portable_mul,
             portable_high, portable_zip, portable_turn)

#if defined(HH_X86)

#define ZIP_LOW 0x000f010e05020c03LL
#define ZIP_HIGH 0x070806090d0a040bLL

/* -- AVX2: all four lanes in one register --------------------------------------------------------------------------- */

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i avx2_load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

AVX2 static inline void avx2_put(uint64_t *to, __m256i v) { _mm256_storeu_si256((__m256i *)to, v); }

AVX2 static inline __m256i avx2_high(__m256i v) { return _mm256_srli_epi64(v, 32); }

AVX2 static inline __m256i avx2_zip(__m256i v) {
    return _mm256_shuffle_epi8(v, _mm256_set_epi64x(ZIP_HIGH, ZIP_LOW, ZIP_HIGH, ZIP_LOW));
}

AVX2 static inline __m256i avx2_turn(__m256i v) {
    return _mm256_shuffle_epi32(_mm256_permute4x64_epi64(v, _MM_SHUFFLE(1, 0, 3, 2)), _MM_SHUFFLE(2, 3, 0, 1));
}

HH_IMPLEMENT(avx2, AVX2, __m256i, avx2_load, avx2_load, avx2_put, _mm256_add_epi64, _mm256_xor_si256,
             _mm256_mul_epu32, avx2_high, avx2_zip, avx2_turn)

/* -- SSE4.1: two registers of two lanes ------------------------------------------------------------------------------ */

#define SSE41 __attribute__((target("sse4.1")))

typedef struct {
    __m128i low, high;
} sse_pair;

SSE41 static inline sse_pair sse_load(const void *from) {
    const __m128i *at = (const __m128i *)from;
    sse_pair v = {_mm_loadu_si128(at), _mm_loadu_si128(at + 1)};
    return v;
}

SSE41 static inline void sse_put(uint64_t *to, sse_pair v) {
    _mm_storeu_si128((__m128i *)to, v.low);
    _mm_storeu_si128((__m128i *)to + 1, v.high);
}

#define SSE_BOTH(NAME, OPERATION)                                                                                    \
    SSE41 static inline sse_pair NAME(sse_pair a, sse_pair b) {                                                      \
        sse_pair v = {OPERATION(a.low, b.low), OPERATION(a.high, b.high)};                                           \
        return v;                                                                                                    \
    }

SSE_BOTH(sse_add, _mm_add_epi64)
SSE_BOTH(sse_xor, _mm_xor_si128)
SSE_BOTH(sse_mul, _mm_mul_epu32)

SSE41 static inline sse_pair sse_high(sse_pair a) {
    sse_pair v = {_mm_srli_epi64(a.low, 32), _mm_srli_epi64(a.high, 32)};
    return v;
}

SSE41 static inline sse_pair sse_zip(sse_pair a) {
    const __m128i order = _mm_set_epi64x(ZIP_HIGH, ZIP_LOW);
    sse_pair v = {_mm_shuffle_epi8(a.low, order), _mm_shuffle_epi8(a.high, order)};
    return v;
}

SSE41 static inline sse_pair sse_turn(sse_pair a) {
    sse_pair v = {_mm_shuffle_epi32(a.high, _MM_SHUFFLE(2, 3, 0, 1)), _mm_shuffle_epi32(a.low, _MM_SHUFFLE(2, 3, 0, 1))};
    return v;
}

HH_IMPLEMENT(sse41, SSE41, sse_pair, sse_load, sse_load, sse_put, sse_add, sse_xor, sse_mul, sse_high, sse_zip, sse_turn)

#elif defined(HH_NEON)

/* -- NEON: two registers of two lanes -------------------------------------------------------------------------------- */

typedef struct {
    uint64x2_t low, high;
} neon_pair;

static inline neon_pair neon_load(const uint8_t *from) {
    neon_pair v = {vreinterpretq_u64_u8(vld1q_u8(from)), vreinterpretq_u64_u8(vld1q_u8(from + 16))};
    return v;
}

static inline neon_pair neon_get(const uint64_t *from) {
    neon_pair v = {vld1q_u64(from), vld1q_u64(from + 2)};
    return v;
}

static inline void neon_put(uint64_t *to, neon_pair v) {
    vst1q_u64(to, v.low);
    vst1q_u64(to + 2, v.high);
}

static inline uint64x2_t neon_mul1(uint64x2_t a, uint64x2_t b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }

#define NEON_BOTH(NAME, OPERATION)                                                                                   \
    static inline neon_pair NAME(neon_pair a, neon_pair b) {                                                         \
        neon_pair v = {OPERATION(a.low, b.low), OPERATION(a.high, b.high)};                                          \
        return v;                                                                                                    \
    }

NEON_BOTH(neon_add, vaddq_u64)
NEON_BOTH(neon_xor, veorq_u64)
NEON_BOTH(neon_mul, neon_mul1)

static inline neon_pair neon_high(neon_pair a) {
    neon_pair v = {vshrq_n_u64(a.low, 32), vshrq_n_u64(a.high, 32)};
    return v;
}

static inline uint64x2_t neon_zip1(uint64x2_t a) {
    static const uint8_t order[16] = {3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7};
    return vreinterpretq_u64_u8(vqtbl1q_u8(vreinterpretq_u8_u64(a), vld1q_u8(order)));
}

static inline neon_pair neon_zip(neon_pair a) {
    neon_pair v = {neon_zip1(a.low), neon_zip1(a.high)};
    return v;
}

static inline uint64x2_t neon_swapped(uint64x2_t a) {
    return vreinterpretq_u64_u32(vrev64q_u32(vreinterpretq_u32_u64(a)));
}

static inline neon_pair neon_turn(neon_pair a) {
    neon_pair v = {neon_swapped(a.high), neon_swapped(a.low)};
    return v;
}

HH_IMPLEMENT(neon, , neon_pair, neon_load, neon_get, neon_put, neon_add, neon_xor, neon_mul, neon_high, neon_zip,
             neon_turn)

#endif

const hh_implementation *hh_implementations(void) {
    static hh_implementation found[4];
    int count = 0;
#if defined(HH_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) found[count++] = (hh_implementation){"avx2", avx2_digest};
    if (__builtin_cpu_supports("sse4.1")) found[count++] = (hh_implementation){"sse4.1", sse41_digest};
#elif defined(HH_NEON)
    found[count++] = (hh_implementation){"neon", neon_digest};
#endif
    found[count++] = (hh_implementation){"portable", portable_digest};
    found[count] = (hh_implementation){NULL, NULL};
    return found;
}

// What the units of the CPU window attention share: the problem, and the function that solves it for one window and
// head, one per instruction set.
#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace gsasr {
namespace cpu {

// The upper half of a float's bits.
struct BFloat16 {
    uint16_t bits;
};

// The tokens of all windows and heads; the elements of a token are neighbours.
template <class E>
struct Tokens {
    const E* data;
    int64_t window, head, token;  // strides, in elements
};

// M windows of T queries and S keys, D elements per head.
template <class E>
struct Attention {
    Tokens<E> q, k, v;
    const float* bias;  // (heads, T, S), nullptr: none
    float scale;        // of the products of queries and keys
    int64_t M, heads, T, S, D;
    E* output;  // (M, T, heads * D)
};

// Rows of scratch are padded to the widest vector. The functions are static, as units of all instruction sets have them.
constexpr int64_t kRowPadding = 16;
static constexpr int64_t padded(int64_t length) { return (length + kRowPadding - 1) / kRowPadding * kRowPadding; }

// At most so many queries are worked on together.
constexpr int kMaxQueries = 6;

// Floats of scratch of one thread: keys (D + 1 rows) and logits of S; values (S rows), queries (T) and results of D.
static constexpr int64_t attention_scratch(int64_t T, int64_t S, int64_t D) {
    return (D + 1 + kMaxQueries) * padded(S) + (S + T + kMaxQueries) * padded(D);
}

// One window and head. `scratch` lies on a multiple of 64 bytes.
template <class E>
using AttendHead = void (*)(const Attention<E>&, int64_t window, int64_t head, float* scratch);

struct AttentionKernels {
    AttendHead<float> of_float;
    AttendHead<BFloat16> of_bfloat16;
};

namespace portable {
AttentionKernels attention_kernels();
}  // namespace portable
#if defined(GSASR_DISPATCH_X86)
namespace avx2 {
AttentionKernels attention_kernels();
}  // namespace avx2
namespace avx512 {
AttentionKernels attention_kernels();
}  // namespace avx512
#endif

}  // namespace cpu
}  // namespace gsasr

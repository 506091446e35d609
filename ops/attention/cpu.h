// The window attention on CPUs: the problem, what the binding calls, and what the units of all instruction sets share.
#pragma once

#include <cstdint>

#include "../common/bfloat16.h"
#include "../common/instruction_set.h"

namespace gsasr {
namespace cpu {

struct Threads;

// The tokens of all windows and heads; the elements of a token are neighbours.
template <class E>
struct Tokens {
    const E* data;
    int64_t window, head, token;  // strides, in elements
    // For each window the numbers of its tokens, nullptr: 0, 1, ...
    const int64_t* numbers;
};

// M windows of T queries and S keys, D elements per head.
template <class E>
struct Attention {
    Tokens<E> q, k, v;
    const float* bias;  // (heads, T, S), nullptr: none
    // (heads, positions, D / 2) complex numbers as (real, imaginary), by which the channel pairs of query t and key t
    // are multiplied: those of position t. nullptr: none.
    const float* rotations;
    int64_t positions;
    float scale;  // of the products of queries and keys
    int64_t M, heads, T, S, D;
    E* output;  // (M, T, heads * D), or (tokens, heads * D) where those of q are numbered
};

// output = softmax(scale * q k^T + bias) v for every window and head; arithmetic in float. The result is the same, bit
// for bit, whatever the number of threads. Scratch per thread: see attention_scratch.
void attend(const Attention<float>& problem, const Threads& threads);
void attend(const Attention<BFloat16>& problem, const Threads& threads);

// At most so many queries are worked on together.
constexpr int kMaxQueries = 6;

// Floats of scratch of one thread: keys (D + 1 rows) and logits of S; values (S rows), queries (T), results and two
// rows of one token of D. Static, as units of all instruction sets have it.
static constexpr int64_t attention_scratch(int64_t T, int64_t S, int64_t D) {
    return (D + 1 + kMaxQueries) * padded(S) + (S + T + kMaxQueries + 2) * padded(D);
}

// One window and head. `scratch` lies on a multiple of 64 bytes.
template <class E>
using AttendHead = void (*)(const Attention<E>&, int64_t window, int64_t head, float* scratch);

struct AttentionKernels {
    AttendHead<float> of_float;
    AttendHead<BFloat16> of_bfloat16;
};

GSASR_DECLARE_KERNELS(AttentionKernels, attention_kernels)

}  // namespace cpu
}  // namespace gsasr

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

// The gradients, from that of the output.
template <class E>
struct AttentionGradient {
    Attention<E> forward;  // without rotations and output
    const E* v_output;     // as the output lies
    float *v_q, *v_k, *v_v;  // (tokens, heads, D), windows one after the other where tokens have no numbers
    float* v_bias;           // (heads, T, S), nullptr where there is none
};

// Adds to the gradients, likewise. Each head is the work of one thread, for windows may share keys.
void differentiate_attention(const AttentionGradient<float>& problem, const Threads& threads);
void differentiate_attention(const AttentionGradient<BFloat16>& problem, const Threads& threads);

// At most so many queries are worked on together.
constexpr int kMaxQueries = 6;

// Floats of scratch of one thread: keys (D + 1 rows) and logits of S; values (S rows), queries (T), results and two
// rows of one token of D. Static, as units of all instruction sets have it.
static constexpr int64_t attention_scratch(int64_t T, int64_t S, int64_t D) {
    return (D + 1 + kMaxQueries) * padded(S) + (S + T + kMaxQueries + 2) * padded(D);
}

// For the gradient: keys and values, transposed; queries, gradients of results and what is across tokens of them and of keys;
// logits and the gradients of weights of a few queries; four times the numbers of all pairs, one with a tile's rows; results.
static constexpr int64_t attention_gradient_scratch(int64_t T, int64_t S, int64_t D) {
    return 2 * (D + 1 + kMaxQueries) * padded(S) + (4 * T + S + 2) * padded(D) +
           (3 * T + whole_tiles(T)) * padded(S) + 2 * kRowPadding + (whole_tiles(T) + 2 * whole_tiles(S)) * padded(D);
}

// One window and head. `scratch` lies on a multiple of 64 bytes.
template <class E>
using AttendHead = void (*)(const Attention<E>&, int64_t window, int64_t head, float* scratch);

template <class E>
using DifferentiateHead = void (*)(const AttentionGradient<E>&, int64_t window, int64_t head, float* scratch);

struct AttentionKernels {
    AttendHead<float> of_float;
    AttendHead<BFloat16> of_bfloat16;
    DifferentiateHead<float> gradient_of_float;
    DifferentiateHead<BFloat16> gradient_of_bfloat16;
};

GSASR_DECLARE_KERNELS(AttentionKernels, attention_kernels)

}  // namespace cpu
}  // namespace gsasr

// The CPU perceptrons: packs the weights, then shares blocks of rows out to threads.
#include "perceptron.h"

#include <algorithm>

#include "scratch.h"

namespace gsasr {
namespace cpu {
namespace {

PerceptronKernels chosen_kernels() {
#if defined(GSASR_DISPATCH_BF16)
    if (chosen_isa() == Isa::avx512bf16) return avx512bf16::perceptron_kernels();
#endif
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() == Isa::avx512) return avx512::perceptron_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::perceptron_kernels();
#endif
    return portable::perceptron_kernels();
}

void pad_rows(const float* from, int64_t rows, int64_t length, float* to) {
    for (int64_t r = 0; r < rows; ++r, to += padded(length))
        std::fill(std::copy_n(from + r * length, length, to), to + padded(length), 0.0f);
}

}  // namespace

void apply_perceptron(const Perceptron& problem, const Threads& threads) {
    const PerceptronKernels kernels = chosen_kernels();
    const int64_t K = problem.K, N = problem.N, scratch_size = perceptron_scratch(K, problem.outs);
    const std::shared_ptr<float> memory = aligned_floats(packed_words(K, N) + (1 + problem.outs) * padded(N));
    float* const words = memory.get();
    float* const bias = words + packed_words(K, N);
    const PackedWeights packed = {words, bias, bias + padded(N)};
    kernels.pack_weights(problem, packed.words, aligned_floats(scratch_size).get());
    pad_rows(problem.bias, 1, N, packed.bias);
    pad_rows(problem.out_weight, problem.outs, N, packed.out_weight);
    for_each((problem.n + kBlockRows - 1) / kBlockRows, threads, [&] {
        const std::shared_ptr<float> scratch = aligned_floats(scratch_size);
        return [&, scratch](int64_t block) { kernels.apply(problem, packed, block * kBlockRows, scratch.get()); };
    });
}

}  // namespace cpu
}  // namespace gsasr

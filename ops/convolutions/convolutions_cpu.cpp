// The CPU convolutions: share a weight that is packed, and blocks of squares, out to threads.
#include "../common/packed.h"
#include "../common/scratch.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace {

ConvolutionKernels kernels(bool in_bfloat16) {
    const AllConvolutionKernels all = GSASR_CALL_CHOSEN(convolution_kernels);
    return in_bfloat16 ? all.of_bfloat16 : all.of_float;
}

}  // namespace

void pack_convolution(const float* weight, const float* bias, int64_t C, int64_t outs, bool in_bfloat16, float* packed,
                      const Threads& threads) {
    float* const words = start_packing(packed_header(PackedKind::convolution, in_bfloat16, C, outs), bias,
                                       convolution_words(C, outs), packed);
    const auto pack_weight = kernels(in_bfloat16).pack_weight;
    for_each_with_scratch(padded(outs) / kRowPadding, packing_scratch(C), threads, [&](int64_t part, float* scratch) {
        pack_weight(weight, C, outs, part * kRowPadding, (part + 1) * kRowPadding, words, scratch);
    });
}

void convolve(const Convolution& problem, bool in_bfloat16, const Threads& threads) {
    const auto apply = kernels(in_bfloat16).apply;
    for_each_with_scratch((problem.squares() + kBlockSquares - 1) / kBlockSquares, convolution_scratch(problem),
                          threads, [&](int64_t block, float* scratch) { apply(problem, block * kBlockSquares, scratch); });
}

}  // namespace cpu
}  // namespace gsasr

// The CPU convolutions: transforms and packs the weight, then shares blocks of squares out to threads.
#include "convolution.h"

#include "scratch.h"

namespace gsasr {
namespace cpu {

void convolve(const Convolution& problem, bool operands_in_bfloat16, const Threads& threads) {
    const AllConvolutionKernels all = GSASR_CALL_CHOSEN(convolution_kernels);
    const ConvolutionKernels kernels = operands_in_bfloat16 ? all.of_bfloat16 : all.of_float;
    const std::shared_ptr<float> words = aligned_floats(packed_words(problem));
    const PaddedRows bias(problem.bias, 1, problem.outs);
    for_each_with_scratch(padded(problem.outs) / kRowPadding, packing_scratch(problem), threads,
                          [&](int64_t part, float* scratch) {
                              kernels.pack_weight(problem, part * kRowPadding, (part + 1) * kRowPadding, words.get(),
                                                  scratch);
                          });
    for_each_with_scratch((problem.squares() + kBlockSquares - 1) / kBlockSquares, convolution_scratch(problem),
                          threads, [&](int64_t block, float* scratch) {
                              kernels.apply(problem, words.get(), bias.get(), block * kBlockSquares, scratch);
                          });
}

}  // namespace cpu
}  // namespace gsasr

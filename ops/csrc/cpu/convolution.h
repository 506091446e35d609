// The CPU convolutions as the binding sees them.
#pragma once

#include "convolution_interface.h"
#include "packed.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// Packs a weight (outs, C, 3, 3) and a bias (outs) for products of floats, or of operands rounded to bfloat16, as
// packed_floats(convolution_words(C, outs), outs) floats on a multiple of 64 bytes; all are written.
void pack_convolution(const float* weight, const float* bias, int64_t C, int64_t outs, bool in_bfloat16, float* packed,
                      const Threads& threads);

// Solves the problem, which is packed for products of floats, or of operands rounded to bfloat16. The result is the same,
// bit for bit, whatever the number of threads.
void convolve(const Convolution& problem, bool in_bfloat16, const Threads& threads);

}  // namespace cpu
}  // namespace gsasr

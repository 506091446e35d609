// The CPU perceptrons as the binding sees them.
#pragma once

#include "perceptron_interface.h"
#include "packed.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// Packs a weight (outs, ins) and a bias (outs) for products of floats, or of operands rounded to bfloat16, as
// packed_floats(linear_words(ins, outs), outs) floats on a multiple of 64 bytes; all are written.
void pack_linear(const Rows& weight, const float* bias, int64_t ins, int64_t outs, bool in_bfloat16, float* packed,
                 const Threads& threads);

// Solves the problem, whose layers are packed for products of floats, or of operands rounded to bfloat16. The result is
// the same, bit for bit, whatever the number of threads.
void apply_perceptron(const Perceptron& problem, bool in_bfloat16, const Threads& threads);

}  // namespace cpu
}  // namespace gsasr

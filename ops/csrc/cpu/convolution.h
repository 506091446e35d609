// The CPU convolutions as the binding sees them.
#pragma once

#include "convolution_interface.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// Solves the problem with products of floats, or of operands rounded to bfloat16. The result is the same, bit for bit,
// whatever the number of threads.
void convolve(const Convolution& problem, bool operands_in_bfloat16, const Threads& threads);

}  // namespace cpu
}  // namespace gsasr

// The CPU perceptrons as the binding sees them.
#pragma once

#include "perceptron_interface.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// output = max(x weight^T + bias, 0) out_weight^T + out_bias. The result is the same, bit for bit, whatever the number
// of threads.
void apply_perceptron(const Perceptron& problem, const Threads& threads);


}  // namespace cpu
}  // namespace gsasr

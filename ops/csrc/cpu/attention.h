// The CPU window attention as the binding sees it.
#pragma once

#include "attention_interface.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// output = softmax(scale * q k^T + bias) v for every window and head; arithmetic in float. The result is the same, bit
// for bit, whatever the number of threads. Scratch per thread: see attention_scratch.
void attend(const Attention<float>& problem, const Threads& threads);
void attend(const Attention<BFloat16>& problem, const Threads& threads);

}  // namespace cpu
}  // namespace gsasr

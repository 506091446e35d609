// The CPU window attention: shares windows and heads out to threads.
#include "../common/scratch.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace {

template <class E>
void attend_with(AttendHead<E> attend_head, const Attention<E>& problem, const Threads& threads) {
    for_each_with_scratch(problem.M * problem.heads, attention_scratch(problem.T, problem.S, problem.D), threads,
                          [&](int64_t i, float* scratch) {
                              attend_head(problem, i / problem.heads, i % problem.heads, scratch);
                          });
}

}  // namespace

void attend(const Attention<float>& problem, const Threads& threads) {
    attend_with(GSASR_CALL_CHOSEN(attention_kernels).of_float, problem, threads);
}
void attend(const Attention<BFloat16>& problem, const Threads& threads) {
    attend_with(GSASR_CALL_CHOSEN(attention_kernels).of_bfloat16, problem, threads);
}

}  // namespace cpu
}  // namespace gsasr

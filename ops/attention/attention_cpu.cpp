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

template <class E>
void differentiate_with(DifferentiateHead<E> differentiate_head, const AttentionGradient<E>& problem,
                        const Threads& threads) {
    const Attention<E>& forward = problem.forward;
    for_each_with_scratch(forward.heads, attention_gradient_scratch(forward.T, forward.S, forward.D), threads,
                          [&](int64_t head, float* scratch) {
                              for (int64_t window = 0; window < forward.M; ++window)
                                  differentiate_head(problem, window, head, scratch);
                          });
}

}  // namespace

void attend(const Attention<float>& problem, const Threads& threads) {
    attend_with(GSASR_CALL_CHOSEN(attention_kernels).of_float, problem, threads);
}
void attend(const Attention<BFloat16>& problem, const Threads& threads) {
    attend_with(GSASR_CALL_CHOSEN(attention_kernels).of_bfloat16, problem, threads);
}

void differentiate_attention(const AttentionGradient<float>& problem, const Threads& threads) {
    differentiate_with(GSASR_CALL_CHOSEN(attention_kernels).gradient_of_float, problem, threads);
}
void differentiate_attention(const AttentionGradient<BFloat16>& problem, const Threads& threads) {
    differentiate_with(GSASR_CALL_CHOSEN(attention_kernels).gradient_of_bfloat16, problem, threads);
}

}  // namespace cpu
}  // namespace gsasr

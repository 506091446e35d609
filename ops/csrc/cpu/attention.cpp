// The CPU window attention: shares windows and heads out to threads.
#include "attention.h"

#include "scratch.h"

namespace gsasr {
namespace cpu {
namespace {

AttentionKernels chosen_kernels() {
#if defined(GSASR_DISPATCH_BF16)
    if (chosen_isa() == Isa::avx512bf16) return avx512bf16::attention_kernels();
#endif
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() == Isa::avx512) return avx512::attention_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::attention_kernels();
#endif
    return portable::attention_kernels();
}

template <class E>
void attend_with(AttendHead<E> attend_head, const Attention<E>& problem, const Threads& threads) {
    for_each(problem.M * problem.heads, threads, [&] {
        const std::shared_ptr<float> scratch = aligned_floats(attention_scratch(problem.T, problem.S, problem.D));
        return [&, scratch](int64_t i) {
            attend_head(problem, i / problem.heads, i % problem.heads, scratch.get());
        };
    });
}

}  // namespace

void attend(const Attention<float>& problem, const Threads& threads) {
    attend_with(chosen_kernels().of_float, problem, threads);
}
void attend(const Attention<BFloat16>& problem, const Threads& threads) {
    attend_with(chosen_kernels().of_bfloat16, problem, threads);
}

}  // namespace cpu
}  // namespace gsasr

// Chooses the instruction set, once per process.
#include "instruction_set.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

namespace gsasr {
namespace cpu {
namespace {

#if defined(GSASR_DISPATCH_BF16)
// Asked of the processor: __builtin_cpu_supports learnt the name later than compilers learnt the instructions.
bool has_bfloat16() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
}
#endif

Isa best_isa() {
#if defined(GSASR_DISPATCH_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma")) {
#if defined(GSASR_DISPATCH_BF16)
        if (has_bfloat16()) return Isa::avx512bf16;
#endif
        return Isa::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
    return Isa::portable;
}

}  // namespace

Isa chosen_isa() {
    static const Isa chosen = [] {
        const Isa best = best_isa();
        const char* wanted = std::getenv("GSASR_CPU");
        if (!wanted) return best;
        if (!std::strcmp(wanted, "portable")) return Isa::portable;
        if (!std::strcmp(wanted, "avx2") && best >= Isa::avx2) return Isa::avx2;
        if (!std::strcmp(wanted, "avx512") && best >= Isa::avx512) return Isa::avx512;
        return best;
    }();
    return chosen;
}

const char* name_of(Isa isa) {
    switch (isa) {
        case Isa::avx512bf16: return "avx512bf16";
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        case Isa::portable: return "portable";
    }
    return "an unknown instruction set";
}

const char* instruction_sets() {
    switch (chosen_isa()) {
        case Isa::avx512bf16: return "avx512bf16 avx512 avx2 portable";
        case Isa::avx512: return "avx512 avx2 portable";
        case Isa::avx2: return "avx2 portable";
        case Isa::portable: break;
    }
    return "portable";
}

}  // namespace cpu
}  // namespace gsasr

// Chooses the instruction set, once per process.
#include "instruction_set.h"

#include <cstdlib>
#include <cstring>

namespace gsasr {
namespace cpu {
namespace {

Isa best_isa() {
#if defined(GSASR_DISPATCH_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        return Isa::avx512;
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
        return best;
    }();
    return chosen;
}

const char* instruction_sets() {
    switch (chosen_isa()) {
        case Isa::avx512: return "avx512 avx2 portable";
        case Isa::avx2: return "avx2 portable";
        case Isa::portable: break;
    }
    return "portable";
}

}  // namespace cpu
}  // namespace gsasr

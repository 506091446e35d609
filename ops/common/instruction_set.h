// Which of the instruction sets that the kernels are compiled for is used.
#pragma once

#include <cstdint>

// Compiled for AVX2 and AVX-512 too, beside the portable kernels.
#if defined(__x86_64__) && defined(__GNUC__)
#define GSASR_DISPATCH_X86
#endif
// And for products in bfloat16, which older compilers do not know.
#if defined(GSASR_DISPATCH_X86) && (defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)
#define GSASR_DISPATCH_BF16
#endif

// Calls a function of the unit for the instruction set that is chosen.
#if defined(GSASR_DISPATCH_BF16)
#define GSASR_CALL_BF16(function) chosen_isa() == Isa::avx512bf16 ? avx512bf16::function() :
#else
#define GSASR_CALL_BF16(function)
#endif
#if defined(GSASR_DISPATCH_X86)
#define GSASR_CALL_CHOSEN(function)                             \
    (GSASR_CALL_BF16(function)                                  \
     chosen_isa() == Isa::avx512 ? avx512::function()           \
     : chosen_isa() == Isa::avx2 ? avx2::function()             \
                                 : portable::function())
#else
#define GSASR_CALL_CHOSEN(function) portable::function()
#endif

// Declares a function of the units for all instruction sets, in their namespaces.
#define GSASR_DECLARE_IN(unit, type, function) \
    namespace unit {                           \
    type function();                           \
    }
#if defined(GSASR_DISPATCH_X86)
#define GSASR_DECLARE_X86(type, function)    \
    GSASR_DECLARE_IN(avx2, type, function)   \
    GSASR_DECLARE_IN(avx512, type, function)
#else
#define GSASR_DECLARE_X86(type, function)
#endif
#if defined(GSASR_DISPATCH_BF16)
#define GSASR_DECLARE_BF16(type, function) GSASR_DECLARE_IN(avx512bf16, type, function)
#else
#define GSASR_DECLARE_BF16(type, function)
#endif
#define GSASR_DECLARE_KERNELS(type, function)  \
    GSASR_DECLARE_IN(portable, type, function) \
    GSASR_DECLARE_X86(type, function)          \
    GSASR_DECLARE_BF16(type, function)

namespace gsasr {
namespace cpu {

// Each has what those before it have.
enum class Isa : int32_t { portable, avx2, avx512, avx512bf16 };

// The best that this machine has, or the one that the environment variable GSASR_CPU names.
Isa chosen_isa();

const char* name_of(Isa isa);

// The instruction sets that this library was compiled for and this machine has, best first, separated by spaces. The
// environment variable GSASR_CPU names another one than the best.
const char* instruction_sets();

}  // namespace cpu
}  // namespace gsasr

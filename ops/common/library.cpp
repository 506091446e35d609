// What this library is, for gsasr_ops.backend(); read through ctypes.
#include "instruction_set.h"

#if defined(_WIN32)
#define GSASR_EXPORT extern "C" __declspec(dllexport)
#else
#define GSASR_EXPORT extern "C" __attribute__((visibility("default")))
#endif
GSASR_EXPORT const char* gsasr_instruction_sets() { return gsasr::cpu::instruction_sets(); }
// The architectures with _ between them: quotes and semicolons do not survive all build systems.
#define GSASR_TEXT_OF(macro) #macro
#define GSASR_TEXT(macro) GSASR_TEXT_OF(macro)
GSASR_EXPORT const char* gsasr_cuda_architectures() {
#if defined(GSASR_WITH_CUDA)
    return GSASR_TEXT(GSASR_CUDA_ARCHITECTURES);
#else
    return "";
#endif
}
GSASR_EXPORT const char* gsasr_compiler() {
#if defined(__clang__)
    return "Clang " __clang_version__;
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#else
    return "MSVC";
#endif
}

// What this library is, for gsasr_ops.backend(); read through ctypes.
#include "export.h"
#include "instruction_set.h"

GSASR_EXPORT_FACTS
GSASR_EXPORT const char* gsasr_instruction_sets() { return gsasr::cpu::instruction_sets(); }
GSASR_EXPORT const char* gsasr_compiler() {
#if defined(__clang__)
    return "Clang " __clang_version__;
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#else
    return "MSVC";
#endif
}

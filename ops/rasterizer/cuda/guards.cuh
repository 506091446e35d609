// Between the parts of the scratch memory of a debug build (nvcc -DGSASR_GUARDS) lie zones that nobody may touch: the
// scratch memory is one allocation, so that no tool sees a kernel that leaves its part.
//
// The zones hold a byte that the environment variable GSASR_GUARD_BYTE chooses (255 where it is not set). What was
// written into one stops the process by an assertion that names this file. What is read from one, and matters, shows as
// other results with another byte.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "device.cuh"

namespace gsasr {
namespace cuda {

struct Guard {
    char* begin;
    int64_t bytes;
};

#if defined(GSASR_GUARDS)

constexpr size_t kGuardBytes = 1024;
constexpr int kGuardThreads = 256;

inline int guard_byte() {
    const char* chosen = std::getenv("GSASR_GUARD_BYTE");
    return chosen == nullptr ? 255 : std::atoi(chosen);
}

__global__ void check_guard_kernel(Guard guard, int expected) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kGuardThreads + threadIdx.x;
    if (i < guard.bytes) {
        const int found = static_cast<unsigned char>(guard.begin[i]);
        assert(found == expected && "a kernel wrote behind its part of the memory");
    }
}

#else

constexpr size_t kGuardBytes = 0;

#endif

}  // namespace cuda
}  // namespace gsasr

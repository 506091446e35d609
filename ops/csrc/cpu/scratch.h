// Memory for vectors, freed by its last owner.
#pragma once

#include <cstdint>
#include <memory>

namespace gsasr {
namespace cpu {

// `elements` floats on a multiple of 64 bytes.
inline std::shared_ptr<float> aligned_floats(int64_t elements) {
    constexpr size_t kAlignment = 64 / sizeof(float);
    std::shared_ptr<float[]> memory(new float[static_cast<size_t>(elements) + kAlignment]);
    const size_t beyond = reinterpret_cast<uintptr_t>(memory.get()) / sizeof(float) % kAlignment;
    return {memory, memory.get() + (kAlignment - beyond)};
}

}  // namespace cpu
}  // namespace gsasr

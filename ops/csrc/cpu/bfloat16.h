// Elements in bfloat16, and how rows of floats are padded.
#pragma once

#include <cstdint>

namespace gsasr {

// The upper half of a float's bits.
struct BFloat16 {
    uint16_t bits;
};

// Rows of scratch are padded to the widest vector. The function is static, as units of all instruction sets have it.
constexpr int64_t kRowPadding = 16;
static constexpr int64_t padded(int64_t length) { return (length + kRowPadding - 1) / kRowPadding * kRowPadding; }

}  // namespace gsasr

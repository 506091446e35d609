// Elements in bfloat16, how rows of floats are padded, and where those of a weight lie.
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

// Rows of sums are a multiple of what any instruction set works on together.
constexpr int64_t kSumRows = 8;
static constexpr int64_t whole_tiles(int64_t rows) { return (rows + kSumRows - 1) / kSumRows * kSumRows; }

namespace cpu {

// A weight as it is read for every block, on multiples of 64 bytes (packed.h).
struct PackedWeight {
    const float* bias;   // padded(outs), zeros beyond the end
    const float* words;  // see the layer's pack_weight
};

}  // namespace cpu
}  // namespace gsasr

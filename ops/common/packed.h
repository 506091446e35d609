// Weights as the CPU kernels read them, packed once for all calls: a header that says for whom, the bias, the words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "bfloat16.h"
#include "instruction_set.h"

namespace gsasr {
namespace cpu {

// The layouts of two layers have nothing in common, nor have those of two instruction sets or types of operands.
enum class PackedKind : int32_t { linear = 1, convolution = 2 };

struct PackedHeader {
    char magic[8];  // of this layout: another one gets another name
    PackedKind kind;
    Isa isa;
    int64_t in_bfloat16;  // operands of the products
    int64_t ins, outs;
};

constexpr int64_t kHeaderFloats = 16;  // what follows lies on a multiple of 64 bytes, as the header does
static_assert(sizeof(PackedHeader) <= kHeaderFloats * sizeof(float), "the header must have room");

// A header for the kernels of this process.
inline PackedHeader packed_header(PackedKind kind, bool in_bfloat16, int64_t ins, int64_t outs) {
    return {{'G', 'S', 'A', 'S', 'R', ' ', 'p', '1'}, kind, chosen_isa(), in_bfloat16, ins, outs};
}

static constexpr int64_t packed_floats(int64_t words, int64_t outs) { return kHeaderFloats + padded(outs) + words; }

inline PackedWeight packed_weight(const float* packed, int64_t outs) {
    return {packed + kHeaderFloats, packed + kHeaderFloats + padded(outs)};
}

// Writes the header and the bias, and zeros to where the words go; returns that place.
inline float* start_packing(const PackedHeader& header, const float* bias, int64_t words, float* packed) {
    std::fill_n(packed, packed_floats(words, header.outs), 0.0f);
    std::memcpy(packed, &header, sizeof header);
    std::copy_n(bias, header.outs, packed + kHeaderFloats);
    return packed + kHeaderFloats + padded(header.outs);
}

}  // namespace cpu
}  // namespace gsasr

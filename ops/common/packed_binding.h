// Packed weights as the bindings see them: tensors of bytes.
#pragma once

#include <cstring>

#include "binding.h"
#include "packed.h"

namespace gsasr {
namespace binding {

// A packed weight of so many floats, owned by the result. RuntimeError where it is none for such a weight, for such
// operands and for the kernels of this process.
inline Tensor checked_packed(const char* name, const Tensor& packed, const cpu::PackedHeader& expected, int64_t floats) {
    const char* layer = expected.kind == cpu::PackedKind::linear ? "pack_linear" : "pack_convolution";
    const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
    GSASR_CHECK(is_byte(packed) && packed.dim() == 1 && packed.size(0) >= static_cast<int64_t>(sizeof expected), name,
                " must be what ", layer, " returned, got a tensor of the shape ", shape_of(packed));
    Tensor owned = make_contiguous(packed);
    cpu::PackedHeader found;
    std::memcpy(&found, data<uint8_t>(owned), sizeof found);
    GSASR_CHECK(!std::memcmp(found.magic, expected.magic, sizeof found.magic) && found.kind == expected.kind, name,
                " must be what ", layer, " returned, got something else");
    GSASR_CHECK(found.isa == expected.isa, name, " was packed by the kernels of ", cpu::name_of(found.isa),
                ", here are those of ", cpu::name_of(expected.isa), ": pack the weight again");
    GSASR_CHECK(found.in_bfloat16 == expected.in_bfloat16, name, " was packed for other operands than those in ",
                expected.in_bfloat16 ? "bfloat16" : "float32", ": pack the weight again");
    GSASR_CHECK(found.ins == expected.ins && found.outs == expected.outs && owned.size(0) == bytes, name,
                " was packed of another weight, with ", found.ins, " inputs and ", found.outs, " results, got one with ",
                expected.ins, " and ", expected.outs);
    if (reinterpret_cast<uintptr_t>(data<uint8_t>(owned)) % 64 == 0) return owned;
    Tensor aligned = empty_bytes(owned, bytes);  // a part of a larger tensor may lie anywhere
    std::memcpy(mutable_data<uint8_t>(aligned), data<uint8_t>(owned), static_cast<size_t>(bytes));
    return aligned;
}

inline const float* floats_of(const Tensor& packed) { return reinterpret_cast<const float*>(data<uint8_t>(packed)); }

// Where a packed weight of so many floats goes.
inline Tensor empty_packed(const Tensor& like, int64_t floats) {
    return empty_bytes(like, floats * static_cast<int64_t>(sizeof(float)));
}
inline float* mutable_floats_of(const Tensor& packed) { return reinterpret_cast<float*>(mutable_data<uint8_t>(packed)); }

}  // namespace binding
}  // namespace gsasr

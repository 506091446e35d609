// Memory for vectors, freed by its last owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "bfloat16.h"
#include "threads.h"

namespace gsasr {
namespace cpu {

// `elements` floats on a multiple of 64 bytes.
inline std::shared_ptr<float> aligned_floats(int64_t elements) {
    constexpr size_t kAlignment = 64 / sizeof(float);
    std::shared_ptr<float[]> memory(new float[static_cast<size_t>(elements) + kAlignment]);
    const size_t beyond = reinterpret_cast<uintptr_t>(memory.get()) / sizeof(float) % kAlignment;
    return {memory, memory.get() + (kAlignment - beyond)};
}

// Rows with zeros beyond the end, up to a multiple of kRowPadding.
class PaddedRows {
public:
    PaddedRows(const float* from, int64_t rows, int64_t length)
        : memory_(from ? aligned_floats(rows * padded(length)) : nullptr) {
        float* to = memory_.get();
        for (int64_t r = 0; from && r < rows; ++r, to += padded(length))
            std::fill(std::copy_n(from + r * length, length, to), to + padded(length), 0.0f);
    }
    const float* get() const { return memory_.get(); }  // nullptr where there were none

private:
    std::shared_ptr<float> memory_;
};

// body(index, scratch) for every index, on several threads, each with so many floats of scratch.
template <class F>
void for_each_with_scratch(int64_t count, int64_t floats, const Threads& threads, const F& body) {
    for_each(count, threads, [&] {
        const std::shared_ptr<float> scratch = aligned_floats(floats);
        return [&body, scratch](int64_t i) { body(i, scratch.get()); };
    });
}

// Adds the sums of all parts to those of the first, in their order.
inline void add_parts(float* sums, int64_t parts, int64_t size) {
    for (int64_t part = 1; part < parts; ++part)
        for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
}

}  // namespace cpu
}  // namespace gsasr

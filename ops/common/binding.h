// What the bindings of all operators share: torch, checks of arguments, threads.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "bfloat16.h"
#include "threads.h"
#include "torch_stable.h"

// Where Python defined the operators already (GSASR_KERNELS_ONLY, see gsasr_ops/extension.py), a library brings kernels
// only. In either case the schemas are those of the lines m.def("...") of the bindings, which Python reads too.

namespace gsasr {
namespace binding {

inline std::string shape_of(const Tensor& tensor) {
    std::string text = "(";
    for (int64_t axis = 0; axis < tensor.dim(); ++axis)
        text += (axis ? ", " : "") + std::to_string(tensor.size(axis));
    return text + ")";
}

inline void check_shape(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape) {
    bool equal = tensor.dim() == static_cast<int64_t>(shape.size());
    std::string wanted = "(";
    int64_t axis = 0;
    for (const int64_t length : shape) {
        equal = equal && tensor.size(axis) == length;
        wanted += (axis++ ? ", " : "") + std::to_string(length);
    }
    GSASR_CHECK(equal, name, " must have the shape ", wanted, "), got ", shape_of(tensor));
}

inline void check_floats(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape, const Tensor& x) {
    check_shape(name, tensor, shape);
    GSASR_CHECK(is_float(tensor) && device_index(tensor) == device_index(x), name,
                " must be of dtype float32, on the device of the others");
}

// Contiguous floats of this shape, owned by the result.
inline Tensor checked_floats(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape,
                             const Tensor& x) {
    check_floats(name, tensor, shape, x);
    return make_contiguous(tensor);
}

// Tokens of a head are runs of memory: copied where they are not.
inline Tensor with_contiguous_tokens(const Tensor& tensor) {
    const int64_t last = tensor.dim() - 1;
    return last >= 0 && tensor.stride(last) != 1 ? make_contiguous(tensor) : tensor;
}

inline cpu::Threads threads() {
    cpu::Threads result;
    result.count = thread_count();
    result.parallel_for = [](int64_t count, int64_t grain, cpu::Body body, void* context) {
        parallel_for(count, grain, [&](int64_t begin, int64_t end) { body(begin, end, context); });
    };
    return result;
}

}  // namespace binding
}  // namespace gsasr

// The same as torch_stable.h for torch 2.6 to 2.9, whose stable ABI lacks lists and threads.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>
#if defined(GSASR_WITH_CUDA)
// Not ATen/cuda/CUDAContext.h: that one needs headers that small toolkits lack.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#define GSASR_CHECK TORCH_CHECK
#define GSASR_LIBRARY TORCH_LIBRARY_FRAGMENT
#define GSASR_LIBRARY_IMPL TORCH_LIBRARY_IMPL
#define GSASR_KERNEL(function) TORCH_FN(function)

namespace gsasr {
namespace binding {

using Tensor = at::Tensor;
using Tensors = at::TensorList;
using Sizes = at::IntArrayRef;
using Scales = at::ArrayRef<double>;

inline bool is_float(const Tensor& tensor) { return tensor.scalar_type() == at::kFloat; }
inline bool is_double(const Tensor& tensor) { return tensor.scalar_type() == at::kDouble; }
inline bool is_bfloat16(const Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }
inline bool is_int64(const Tensor& tensor) { return tensor.scalar_type() == at::kLong; }
inline bool is_byte(const Tensor& tensor) { return tensor.scalar_type() == at::kByte; }
inline bool same_kind(const Tensor& a, const Tensor& b) {
    return a.scalar_type() == b.scalar_type() && a.device() == b.device();
}
inline int device_index(const Tensor& tensor) { return tensor.get_device(); }
inline Tensor make_contiguous(const Tensor& tensor) { return tensor.contiguous(); }
inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> shape) {
    return at::empty(at::IntArrayRef(shape.begin(), shape.size()), like.options());
}
inline Tensor empty_in(bool in_bfloat16, const Tensor& like, std::initializer_list<int64_t> shape) {
    return at::empty(at::IntArrayRef(shape.begin(), shape.size()),
                     like.options().dtype(in_bfloat16 ? at::kBFloat16 : at::kFloat));
}
inline Tensor empty_bytes(const Tensor& like, int64_t bytes) {
    return at::empty({bytes}, like.options().dtype(at::kByte));
}
template <class T>
const T* data(const Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
}
inline int thread_count() { return at::get_num_threads(); }
template <class F>
void parallel_for(int64_t count, int64_t grain, const F& body) {
    at::parallel_for(0, count, grain, body);
}
#if defined(GSASR_WITH_CUDA)
using DeviceGuard = c10::cuda::CUDAGuard;
inline void* current_stream(int device) {
    return c10::cuda::getCurrentCUDAStream(static_cast<int8_t>(device)).stream();
}
#endif

}  // namespace binding
}  // namespace gsasr

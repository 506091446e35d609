// The few things that the bindings need from torch, through the stable ABI of LibTorch (torch 2.10 and later): a library
// built this way loads in later versions too, and compiles in seconds because no header of ATen is read.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#define GSASR_CHECK STD_TORCH_CHECK
#define GSASR_LIBRARY STABLE_TORCH_LIBRARY_FRAGMENT
#define GSASR_LIBRARY_IMPL STABLE_TORCH_LIBRARY_IMPL
#define GSASR_KERNEL(function) TORCH_BOX(&function)

namespace gsasr {
namespace binding {

using Tensor = torch::stable::Tensor;
using Tensors = std::vector<Tensor>;
using Sizes = std::vector<int64_t>;
using Scales = std::vector<double>;
using DeviceGuard = torch::stable::accelerator::DeviceGuard;
using torch::headeronly::ScalarType;

inline bool is_float(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Float; }
inline bool is_double(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Double; }
inline bool is_bfloat16(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::BFloat16; }
inline bool is_int64(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Long; }
inline bool is_byte(const Tensor& tensor) { return tensor.scalar_type() == ScalarType::Byte; }
inline bool same_kind(const Tensor& a, const Tensor& b) {
    return a.scalar_type() == b.scalar_type() && a.is_cuda() == b.is_cuda() &&
           a.get_device_index() == b.get_device_index();
}
inline int device_index(const Tensor& tensor) { return tensor.get_device_index(); }
inline Tensor make_contiguous(const Tensor& tensor) { return torch::stable::contiguous(tensor); }
inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> shape) {
    return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(shape.begin(), shape.size()));
}
inline Tensor empty_in(bool in_bfloat16, const Tensor& like, std::initializer_list<int64_t> shape) {
    return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(shape.begin(), shape.size()),
                                    in_bfloat16 ? ScalarType::BFloat16 : ScalarType::Float);
}
inline Tensor empty_bytes(const Tensor& like, int64_t bytes) {
    return torch::stable::new_empty(like, {bytes}, ScalarType::Byte);
}
template <class T>
const T* data(const Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
}
inline int thread_count() { return static_cast<int>(torch::stable::get_num_threads()); }
template <class F>
void parallel_for(int64_t count, int64_t grain, const F& body) {
    torch::stable::parallel_for(0, count, grain, body);
}
#if defined(GSASR_WITH_CUDA)
inline void* current_stream(int device) {
    void* stream = nullptr;
    GSASR_CHECK(aoti_torch_get_current_cuda_stream(device, &stream) == 0, "there is no current CUDA stream");
    return stream;
}
#endif

}  // namespace binding
}  // namespace gsasr

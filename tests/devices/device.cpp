// A device for tests, "small": CPU memory, no kernel of its own for anything that computes, and no float64, like Apple's
// GPUs. Everything that PyTorch computes there goes through the CPU; copies between devices are counted.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>

namespace {

using at::Tensor;
using OptionalDtype = std::optional<at::ScalarType>;
using OptionalLayout = std::optional<at::Layout>;
using OptionalDevice = std::optional<at::Device>;

struct Memory final : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
        void* data = std::malloc(bytes);
        return {data, data, &std::free, c10::Device(c10::DeviceType::PrivateUse1, 0)};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
    void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory)

// One device with one stream, on which everything is done at once.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
    static c10::Device device() { return {c10::DeviceType::PrivateUse1, 0}; }
    static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, device()); }
    c10::Device exchangeDevice(c10::Device) const override { return device(); }
    c10::Device getDevice() const override { return device(); }
    c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
    c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
    c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
    void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
    void block(void*, const c10::Stream&) const override {}
    bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isAvailable() const override { return true; }
    bool isBuilt() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};
const int registered = [] {
    at::RegisterPrivateUse1HooksInterface(new Hooks);
    return 0;
}();

at::ScalarType accepted(OptionalDtype dtype) {
    const at::ScalarType type = c10::dtype_or_default(dtype);
    TORCH_CHECK_TYPE(type != at::kDouble, "this device has no float64");
    return type;
}

const c10::DispatchKeySet kKey(c10::DispatchKey::PrivateUse1);

Tensor empty(c10::SymIntArrayRef size, OptionalDtype dtype, OptionalLayout, OptionalDevice, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
    return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory, kKey, accepted(dtype), format);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, OptionalDtype dtype, OptionalLayout,
                     OptionalDevice, std::optional<bool>) {
    return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory,
                                             kKey, accepted(dtype));
}

int64_t copies = 0;

// The same memory as a tensor of the CPU.
Tensor on_cpu(const Tensor& tensor) {
    return at::from_blob(const_cast<void*>(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                         tensor.options().device(at::kCPU));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
    copies += from.device() != to.device();
    on_cpu(to).copy_(on_cpu(from));
    return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
    to.resize_(from.sizes());
    return copy_from(from, to, false);
}

const Tensor& resize(const Tensor& tensor, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
    at::native::resize_impl_cpu_(tensor.unsafeGetTensorImpl(), C10_AS_INTARRAYREF_SLOW(size), std::nullopt);
    return tensor;
}

Tensor to_device(const Tensor& tensor) { return tensor.defined() ? tensor.to(Guard::device()) : tensor; }

Tensor convolution(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, c10::SymIntArrayRef stride,
                   c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
                   c10::SymIntArrayRef output_padding, c10::SymInt groups) {
    const auto bias_there = bias && bias->defined() ? std::make_optional(on_cpu(*bias)) : std::nullopt;
    return to_device(at::convolution_symint(on_cpu(x), on_cpu(weight), bias_there, stride, padding, dilation,
                                            transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& v_y, const Tensor& x, const Tensor& weight,
                                                        c10::SymIntArrayRef stride, c10::SymIntArrayRef padding,
                                                        c10::SymIntArrayRef dilation, bool transposed,
                                                        c10::SymIntArrayRef output_padding, c10::SymInt groups,
                                                        std::array<bool, 3> wanted) {
    const std::vector<c10::SymInt> bias_size = {weight.sym_size(0)};
    auto [v_x, v_weight, v_bias] = at::convolution_backward_symint(
        on_cpu(v_y), on_cpu(x), on_cpu(weight), c10::SymIntArrayRef(bias_size), stride, padding, dilation, transposed,
        output_padding, groups, wanted);
    return {to_device(v_x), to_device(v_weight), to_device(v_bias)};
}

void through_the_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
    at::native::cpu_fallback(operation, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
    m.impl("empty.memory_format", empty);
    m.impl("empty_strided", empty_strided);
    m.impl("_copy_from", copy_from);
    m.impl("_copy_from_and_resize", copy_from_and_resize);
    m.impl("resize_", resize);
    m.impl("convolution_overrideable", convolution);
    m.impl("convolution_backward_overrideable", convolution_backward);
    m.impl("view", [](const Tensor& tensor, c10::SymIntArrayRef size) {
        return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(size));
    });
    m.impl("as_strided", [](const Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                            std::optional<c10::SymInt> offset) {
        return at::native::as_strided_tensorimpl(
            tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
            offset ? std::make_optional(offset->expect_int()) : std::nullopt);
    });
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&through_the_cpu>()); }

}  // namespace

extern "C" __attribute__((visibility("default"))) int64_t copies_between_devices() { return copies; }

// The perceptron as torch sees it: schemas, checks, and the way to the kernels, which know nothing of torch.
//
// x (n, K); the weights (N_i, N_(i - 1)) with N_0 = K, the biases (N_i); added (B, K), B a divisor of n; norm_weight and
// norm_bias (K); residual (n, N_last); the result is (n, N_last), in bfloat16 or float32. packed: of each layer what
// pack_linear made of its weight and bias for the same type of operands; empty: they are packed for this call. The fake
// kernels live in __init__.py.
#include "../common/packed_binding.h"

#include <cmath>
#include <tuple>

#include "cpu.h"

namespace gsasr {
namespace binding {
namespace {

void check_matrix(const char* name, const Tensor& tensor, const Tensor& x) {
    GSASR_CHECK(tensor.dim() == 2, name, " must be a matrix, got ", shape_of(tensor));
    GSASR_CHECK((is_float(tensor) || is_bfloat16(tensor)) && device_index(tensor) == device_index(x), name,
                " must be of dtype float32 or bfloat16, on the device of the others");
}

// A matrix whose rows are runs of memory: copied where they are not.
Tensor checked_matrix(const char* name, const Tensor& tensor, const Tensor& x) {
    check_matrix(name, tensor, x);
    return tensor.stride(1) == 1 ? tensor : make_contiguous(tensor);
}

cpu::Rows rows(const Tensor& matrix) {
    return {is_float(matrix) ? static_cast<const void*>(data<float>(matrix)) : data<BFloat16>(matrix),
            is_bfloat16(matrix), matrix.stride(0)};
}

Tensor pack_linear_cpu(Tensor weight_, Tensor bias_, bool in_bfloat16) {
    const Tensor weight = checked_matrix("weight", weight_, weight_);
    const int64_t outs = weight.size(0), ins = weight.size(1);
    GSASR_CHECK(outs >= 1 && ins >= 1, "weight must have at least one row and one column, got ", shape_of(weight));
    const Tensor bias = checked_floats("bias", bias_, {outs}, weight);
    const Tensor packed = empty_packed(weight, cpu::packed_floats(cpu::linear_words(ins, outs), outs));
    cpu::pack_linear(rows(weight), data<float>(bias), ins, outs, in_bfloat16, mutable_floats_of(packed), threads());
    return packed;
}

// The layers, packed now where they are not; `read` owns what they point to.
std::vector<cpu::Layer> packed_layers(const Tensor& x, const Tensors& weights, const Tensors& biases,
                                      const Tensors& packed, bool in_bfloat16, std::vector<Tensor>& read) {
    const size_t count = weights.size();
    GSASR_CHECK(count >= 1 && biases.size() == count,
                "weights and biases must hold one tensor for each layer, from one on, got ", count, " and ",
                biases.size());
    GSASR_CHECK(packed.size() == 0 || packed.size() == count,
                "packed must hold one tensor for each layer or none, got ", packed.size(), " for ", count, " layers");
    std::vector<cpu::Layer> layers;
    int64_t ins = x.size(1);
    for (size_t i = 0; i < count; ++i) {
        const std::string number = "[" + std::to_string(i) + "]", weight = "weights" + number, bias = "biases" + number;
        check_matrix(weight.c_str(), weights[i], x);
        const int64_t outs = weights[i].size(0);
        GSASR_CHECK(outs >= 1, weight, " must have at least one row, got ", shape_of(weights[i]));
        check_shape(weight.c_str(), weights[i], {outs, ins});
        check_floats(bias.c_str(), biases[i], {outs}, x);
        read.push_back(packed.size() > 0
                           ? checked_packed(("packed" + number).c_str(), packed[i],
                                            cpu::packed_header(cpu::PackedKind::linear, in_bfloat16, ins, outs),
                                            cpu::packed_floats(cpu::linear_words(ins, outs), outs))
                           : pack_linear_cpu(weights[i], biases[i], in_bfloat16));
        layers.push_back({ins, outs, cpu::packed_weight(floats_of(read.back()), outs)});
        ins = outs;
    }
    return layers;
}

// Checks what is done to x first; the arguments own what is read.
void check_addends(const Tensor& x, std::optional<Tensor>& added, std::optional<Tensor>& norm_weight,
                   std::optional<Tensor>& norm_bias, double eps) {
    const int64_t n = x.size(0), K = x.size(1);
    if (added) {
        const bool divides = added->dim() == 2 && added->size(0) >= 1 && n % added->size(0) == 0;
        GSASR_CHECK(divides, "added must have the shape (B, ", K, ") with B a divisor of ", n, ", got ",
                    shape_of(*added));
        added = checked_floats("added", *added, {added->size(0), K}, x);
    }
    GSASR_CHECK(norm_weight.has_value() == norm_bias.has_value(),
                "norm_weight and norm_bias must both be given or neither");
    if (norm_weight) {
        norm_weight = checked_floats("norm_weight", *norm_weight, {K}, x);
        norm_bias = checked_floats("norm_bias", *norm_bias, {K}, x);
        GSASR_CHECK(std::isfinite(eps) && eps >= 0, "eps must be finite and not negative, got ", eps);
    }
}

const float* pointer(const std::optional<Tensor>& tensor) { return tensor ? data<float>(*tensor) : nullptr; }

Tensor perceptron_cpu(Tensor x_, Tensors weights, Tensors biases, Tensors packed, std::optional<Tensor> added,
                      std::optional<Tensor> norm_weight, std::optional<Tensor> norm_bias, double eps, bool adds_x,
                      std::optional<Tensor> residual, bool in_bfloat16, bool output_in_bfloat16) {
    const Tensor x = checked_matrix("x", x_, x_);
    const int64_t n = x.size(0), K = x.size(1);
    GSASR_CHECK(K >= 1, "x must have at least one column, got ", shape_of(x));
    std::vector<Tensor> read;
    const std::vector<cpu::Layer> layers = packed_layers(x, weights, biases, packed, in_bfloat16, read);
    const int64_t outs = layers.back().outs;
    check_addends(x, added, norm_weight, norm_bias, eps);
    GSASR_CHECK(!adds_x || (is_float(x) && outs == K), "x is added to the result: it must be of dtype float32, with ",
                outs, " columns, got ", K);
    if (residual) residual = checked_floats("residual", *residual, {n, outs}, x);
    Tensor output = empty_in(output_in_bfloat16, x, {n, outs});
    if (n > 0) {
        void* to =
            output_in_bfloat16 ? static_cast<void*>(mutable_data<BFloat16>(output)) : mutable_data<float>(output);
        const int64_t rows_per_added = added ? n / added->size(0) : n;
        cpu::apply_perceptron({rows(x), n, K, pointer(added), rows_per_added, pointer(norm_weight), pointer(norm_bias),
                               static_cast<float>(eps), layers.data(), static_cast<int64_t>(layers.size()), adds_x,
                               pointer(residual), to, output_in_bfloat16},
                              in_bfloat16, threads());
    }
    return output;
}

// The layers of the transposed weights without biases; `read` owns what they point to.
std::vector<cpu::Layer> turned_layers(const std::vector<cpu::Layer>& layers, const Tensors& weights, bool in_bfloat16,
                                      std::vector<Tensor>& read) {
    std::vector<cpu::Layer> turned;
    for (size_t i = 0; i < layers.size(); ++i) {
        const int64_t ins = layers[i].ins, outs = layers[i].outs;
        const Tensor weight = checked_matrix("weights", weights[i], weights[i]);
        const cpu::Rows from = rows(weight);
        std::vector<float> transposed(static_cast<size_t>(ins * outs)), zeros(static_cast<size_t>(ins));
        for (int64_t o = 0; o < outs; ++o)
            for (int64_t k = 0; k < ins; ++k)
                transposed[static_cast<size_t>(k * outs + o)] = cpu::element(from, o, k);
        read.push_back(empty_packed(weight, cpu::packed_floats(cpu::linear_words(outs, ins), ins)));
        float* const packed = mutable_floats_of(read.back());
        cpu::pack_linear({transposed.data(), false, outs}, zeros.data(), outs, ins, in_bfloat16, packed, threads());
        turned.push_back({outs, ins, cpu::packed_weight(packed, ins)});
    }
    return turned;
}

std::tuple<Tensor, Tensor> perceptron_backward_cpu(Tensor v_output_, Tensor x_, Tensors weights, Tensors biases,
                                                   std::optional<Tensor> added, std::optional<Tensor> norm_weight,
                                                   std::optional<Tensor> norm_bias, double eps, bool adds_x,
                                                   bool in_bfloat16) {
    const Tensor x = checked_matrix("x", x_, x_), v_output = checked_matrix("v_output", v_output_, x);
    const int64_t n = x.size(0), K = x.size(1);
    GSASR_CHECK(K >= 1, "x must have at least one column, got ", shape_of(x));
    std::vector<Tensor> read;
    const std::vector<cpu::Layer> layers = packed_layers(x, weights, biases, {}, in_bfloat16, read);
    const std::vector<cpu::Layer> turned = turned_layers(layers, weights, in_bfloat16, read);
    const int64_t outs = layers.back().outs;
    check_shape("v_output", v_output, {n, outs});
    GSASR_CHECK(!adds_x || outs == K, "x is added to the result, with ", outs, " columns, got ", K);
    check_addends(x, added, norm_weight, norm_bias, eps);
    int64_t parameters = norm_weight ? 2 * K : 0;
    for (const cpu::Layer& layer : layers) parameters += layer.outs * (layer.ins + 1);
    Tensor v_x = empty(x, {n, K}), v_parameters = empty_in(false, x, {parameters});
    void* const to = is_float(x) ? static_cast<void*>(mutable_data<float>(v_x)) : mutable_data<BFloat16>(v_x);
    const cpu::Perceptron forward = {rows(x), n, K, pointer(added), added && n ? n / added->size(0) : 1,
                                     pointer(norm_weight), pointer(norm_bias), static_cast<float>(eps), layers.data(),
                                     static_cast<int64_t>(layers.size()), adds_x, nullptr, nullptr, false};
    cpu::differentiate_perceptron(
        {forward, turned.data(), rows(v_output), to, is_bfloat16(x), mutable_data<float>(v_parameters)}, in_bfloat16,
        threads());
    return {v_x, v_parameters};
}

}  // namespace
}  // namespace binding
}  // namespace gsasr

#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def("pack_linear(Tensor weight, Tensor bias, bool in_bfloat16) -> Tensor");
    m.def("perceptron(Tensor x, Tensor[] weights, Tensor[] biases, Tensor[] packed, Tensor? added, Tensor? norm_weight, Tensor? norm_bias, float eps, bool adds_x, Tensor? residual, bool in_bfloat16, bool output_in_bfloat16) -> Tensor");
    m.def("perceptron_backward(Tensor v_output, Tensor x, Tensor[] weights, Tensor[] biases, Tensor? added, Tensor? norm_weight, Tensor? norm_bias, float eps, bool adds_x, bool in_bfloat16) -> (Tensor v_x, Tensor v_parameters)");
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("pack_linear", GSASR_KERNEL(gsasr::binding::pack_linear_cpu));
    m.impl("perceptron", GSASR_KERNEL(gsasr::binding::perceptron_cpu));
    m.impl("perceptron_backward", GSASR_KERNEL(gsasr::binding::perceptron_backward_cpu));
}

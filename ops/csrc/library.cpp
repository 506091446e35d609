// The operators of this library as torch sees them: schemas, checks, and the way to the kernels.
//
// Shapes: means (B, N, 2), sigmas (B, N, 2), rhos (B, N), opacities (B, N), colors (B, N, C); the images flat, planar
// (C, H_i, W_i) one after the other; those of the others are in schema.h. Derivatives, fake kernels and autocast live in
// Python (gsasr_ops/rasterize.py, attention.py, perceptrons.py). The kernels below know nothing of torch.
#if defined(GSASR_STABLE_ABI)
#include "torch_stable.h"
#else
#include "torch_classic.h"
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/attention.h"
#include "cpu/convolution.h"
#include "cpu/perceptron.h"
#include "cpu/rasterize.h"
#include "problem.h"
#include "schema.h"
#if defined(GSASR_WITH_CUDA)
#include "cuda/launch.h"
#endif

namespace gsasr {
namespace binding {
namespace {

std::string shape_of(const Tensor& tensor) {
    std::string text = "(";
    for (int64_t axis = 0; axis < tensor.dim(); ++axis)
        text += (axis ? ", " : "") + std::to_string(tensor.size(axis));
    return text + ")";
}

void check_shape(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape) {
    bool equal = tensor.dim() == static_cast<int64_t>(shape.size());
    std::string wanted = "(";
    int64_t axis = 0;
    for (const int64_t length : shape) {
        equal = equal && tensor.size(axis) == length;
        wanted += (axis++ ? ", " : "") + std::to_string(length);
    }
    GSASR_CHECK(equal, name, " must have the shape ", wanted, "), got ", shape_of(tensor));
}

// Inputs that were checked and made contiguous; they own what the kernels read.
struct Inputs {
    Tensor means, sigmas, rhos, opacities, colors;
    int64_t B, N, C;

    Inputs(const Tensor& means_, const Tensor& sigmas_, const Tensor& rhos_, const Tensor& opacities_,
           const Tensor& colors_)
        : means(make_contiguous(means_)),
          sigmas(make_contiguous(sigmas_)),
          rhos(make_contiguous(rhos_)),
          opacities(make_contiguous(opacities_)),
          colors(make_contiguous(colors_)) {
        GSASR_CHECK(means.dim() == 3 && means.size(2) == 2, "means must have the shape (B, N, 2), got ",
                    shape_of(means));
        B = means.size(0);
        N = means.size(1);
        check_shape("sigmas", sigmas, {B, N, 2});
        check_shape("rhos", rhos, {B, N});
        check_shape("opacities", opacities, {B, N});
        GSASR_CHECK(colors.dim() == 3 && colors.size(2) >= 1 && colors.size(2) <= kMaxChannels,
                    "colors must have the shape (B, N, C) with C from 1 to ", kMaxChannels, ", got ", shape_of(colors));
        C = colors.size(2);
        check_shape("colors", colors, {B, N, C});
        const Tensor* others[] = {&sigmas, &rhos, &opacities, &colors};
        const char* names[] = {"sigmas", "rhos", "opacities", "colors"};
        for (int k = 0; k < 4; ++k)
            GSASR_CHECK(same_kind(*others[k], means), names[k], " must have the dtype and the device of means");
        GSASR_CHECK(N <= std::numeric_limits<int32_t>::max(),
                    "means may hold at most 2^31 - 1 Gaussians per image, got ", N);
    }

    template <class T>
    Gaussians<T> view() const {
        return {data<T>(means), data<T>(sigmas), data<T>(rhos), data<T>(opacities), data<T>(colors),
                B, N, static_cast<int>(C)};
    }
};

// The table of images; `elements` receives the length of the flat output.
template <class T>
std::vector<Image<T>> make_images(const Inputs& inputs, const Sizes& sizes, const Scales& scales, double support,
                                  const std::optional<double>& window, int64_t& elements) {
    const size_t expected = 2 * static_cast<size_t>(inputs.B);
    GSASR_CHECK(sizes.size() == expected, "sizes must hold H and W for each of the ", inputs.B, " images, got ",
                sizes.size(), " numbers");
    GSASR_CHECK(scales.size() == expected, "scales must hold two numbers for each of the ", inputs.B, " images, got ",
                scales.size());
    GSASR_CHECK(std::isfinite(support) && support > 0, "support must be positive and finite, got ", support);
    GSASR_CHECK(!window || (std::isfinite(*window) && *window > 0), "window must be positive and finite or None, got ",
                window.value_or(0));
    std::vector<Image<T>> images;
    elements = 0;
    for (int64_t b = 0; b < inputs.B; ++b) {
        const int64_t H = sizes[2 * b], W = sizes[2 * b + 1];
        const double scale_y = scales[2 * b], scale_x = scales[2 * b + 1];
        GSASR_CHECK(H >= 1 && H <= kMaxSide && W >= 1 && W <= kMaxSide, "sizes must be from 1 to ", kMaxSide,
                    " along each side, got ", H, " x ", W, " for image ", b);
        GSASR_CHECK(std::isfinite(scale_y) && scale_y > 0 && std::isfinite(scale_x) && scale_x > 0,
                    "scales must be positive and finite, got ", scale_y, " and ", scale_x, " for image ", b);
        images.push_back(make_image<T>(elements, H, W, scale_y, scale_x, window.value_or(0)));
        elements += inputs.C * H * W;
    }
    return images;
}

cpu::Threads threads() {
    cpu::Threads result;
    result.count = thread_count();
    result.parallel_for = [](int64_t count, int64_t grain, cpu::Body body, void* context) {
        parallel_for(count, grain, [&](int64_t begin, int64_t end) { body(begin, end, context); });
    };
    return result;
}

template <class T>
Tensor forward_cpu_as(const Inputs& inputs, const Sizes& sizes, const Scales& scales, double support,
                      const std::optional<double>& window) {
    int64_t elements = 0;
    const auto images = make_images<T>(inputs, sizes, scales, support, window, elements);
    Tensor output = empty(inputs.means, {elements});
    if (elements > 0)
        cpu::rasterize_forward<T>(inputs.view<T>(), images.data(), static_cast<T>(support), mutable_data<T>(output),
                                  threads());
    return output;
}

using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Outputs {
    Tensor means, sigmas, rhos, opacities, colors;

    explicit Outputs(const Inputs& in)
        : means(empty(in.means, {in.B, in.N, 2})),
          sigmas(empty(in.means, {in.B, in.N, 2})),
          rhos(empty(in.means, {in.B, in.N})),
          opacities(empty(in.means, {in.B, in.N})),
          colors(empty(in.means, {in.B, in.N, in.C})) {}

    template <class T>
    Gradients<T> view() const {
        return {mutable_data<T>(means), mutable_data<T>(sigmas), mutable_data<T>(rhos), mutable_data<T>(opacities),
                mutable_data<T>(colors)};
    }

    FiveTensors all() const { return {means, sigmas, rhos, opacities, colors}; }
};

Tensor check_v_images(const Tensor& v_images, const Inputs& inputs, int64_t elements) {
    check_shape("v_images", v_images, {elements});
    GSASR_CHECK(same_kind(v_images, inputs.means), "v_images must have the dtype and the device of means");
    return make_contiguous(v_images);
}

template <class T>
FiveTensors backward_cpu_as(const Tensor& v_images, const Inputs& inputs, const Sizes& sizes, const Scales& scales,
                            double support, const std::optional<double>& window) {
    int64_t elements = 0;
    const auto images = make_images<T>(inputs, sizes, scales, support, window, elements);
    const Tensor v_contiguous = check_v_images(v_images, inputs, elements);
    const Outputs outputs(inputs);
    if (inputs.B * inputs.N > 0)
        cpu::rasterize_backward<T>(inputs.view<T>(), images.data(), static_cast<T>(support), data<T>(v_contiguous),
                                   outputs.view<T>(), threads());
    return outputs.all();
}

void check_dtype(const Inputs& inputs) {
    GSASR_CHECK(is_float(inputs.means) || is_double(inputs.means),
                "means must be of dtype float32 or float64 on the CPU");
}

Tensor forward_cpu(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, Sizes sizes,
                   Scales scales, double support, std::optional<double> window) {
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_dtype(inputs);
    return is_float(inputs.means) ? forward_cpu_as<float>(inputs, sizes, scales, support, window)
                                  : forward_cpu_as<double>(inputs, sizes, scales, support, window);
}

FiveTensors backward_cpu(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors,
                         Sizes sizes, Scales scales, double support, std::optional<double> window) {
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_dtype(inputs);
    return is_float(inputs.means) ? backward_cpu_as<float>(v_images, inputs, sizes, scales, support, window)
                                  : backward_cpu_as<double>(v_images, inputs, sizes, scales, support, window);
}

void check_floats(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape, const Tensor& x) {
    check_shape(name, tensor, shape);
    GSASR_CHECK(is_float(tensor) && device_index(tensor) == device_index(x), name,
                " must be of dtype float32, on the device of the others");
}

// Contiguous floats of this shape, owned by the result.
Tensor checked_floats(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape, const Tensor& x) {
    check_floats(name, tensor, shape, x);
    return make_contiguous(tensor);
}

// Tokens of a head are runs of memory: copied where they are not.
Tensor with_contiguous_tokens(const Tensor& tensor) {
    const int64_t last = tensor.dim() - 1;
    return last >= 0 && tensor.stride(last) != 1 ? make_contiguous(tensor) : tensor;
}

// (M, heads, T, D), or (R, heads, D) and the numbers of the windows' tokens.
template <class E>
cpu::Tokens<E> tokens(const Tensor& tensor, const std::optional<Tensor>& windows) {
    if (windows) return {data<E>(tensor), 0, tensor.stride(1), tensor.stride(0), data<int64_t>(*windows)};
    return {data<E>(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2), nullptr};
}

// Numbers of rows below `limit`, (M, any), owned by the result. `once`: each of the rows is there exactly once.
Tensor checked_windows(const char* name, const Tensor& windows_, const Tensor& q, int64_t limit, bool once) {
    GSASR_CHECK(windows_.dim() == 2, name, " must be a matrix, got ", shape_of(windows_));
    GSASR_CHECK(is_int64(windows_) && device_index(windows_) == device_index(q), name,
                " must be of dtype int64, on the device of the others");
    const Tensor windows = make_contiguous(windows_);
    const int64_t count = windows.size(0) * windows.size(1);
    GSASR_CHECK(!once || count == limit, name, " must hold all numbers from 0 to ", limit - 1, ", got ", count);
    std::vector<bool> seen(once ? static_cast<size_t>(limit) : 0);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t number = data<int64_t>(windows)[i];
        GSASR_CHECK(number >= 0 && number < limit, name, " must hold numbers from 0 to ", limit - 1, ", got ", number);
        if (!once) continue;
        GSASR_CHECK(!seen[static_cast<size_t>(number)], name, " must hold each number once, got ", number, " again");
        seen[static_cast<size_t>(number)] = true;
    }
    return windows;
}

Tensor window_attention_cpu(Tensor q_, Tensor k_, Tensor v_, std::optional<Tensor> bias_,
                            std::optional<Tensor> rotations_, std::optional<Tensor> windows,
                            std::optional<Tensor> context_windows, double scale) {
    const Tensor q = with_contiguous_tokens(q_), k = with_contiguous_tokens(k_), v = with_contiguous_tokens(v_);
    GSASR_CHECK(windows.has_value() == context_windows.has_value(),
                "windows and context_windows must both be given or neither");
    const char* layout = windows ? "(R, heads, D)" : "(M, heads, T, D)";
    GSASR_CHECK(q.dim() == (windows ? 3 : 4), "q must have the shape ", layout, ", got ", shape_of(q));
    GSASR_CHECK(k.dim() == q.dim(), "k must have the shape ", layout, ", got ", shape_of(k));
    GSASR_CHECK(is_float(q) || is_bfloat16(q), "q must be of dtype float32 or bfloat16");
    const int64_t heads = q.size(1), D = q.size(q.dim() - 1);
    int64_t M = q.size(0), T = q.size(2), S = k.size(2);
    if (windows) {
        windows = checked_windows("windows", *windows, q, q.size(0), true);
        context_windows = checked_windows("context_windows", *context_windows, q, k.size(0), false);
        M = windows->size(0);
        T = windows->size(1);
        S = context_windows->size(1);
        check_shape("context_windows", *context_windows, {M, S});
        check_shape("k", k, {k.size(0), heads, D});
        check_shape("v", v, {k.size(0), heads, D});
    } else {
        check_shape("k", k, {M, heads, S, D});
        check_shape("v", v, {M, heads, S, D});
    }
    GSASR_CHECK(S >= 1, "there must be at least one key, got none");
    GSASR_CHECK(same_kind(k, q) && same_kind(v, q), "k and v must have the dtype and the device of q");
    GSASR_CHECK(std::isfinite(scale), "scale must be finite, got ", scale);
    std::optional<Tensor> bias, rotations;  // own what the kernel reads
    if (bias_) bias = checked_floats("bias", *bias_, {heads, T, S}, q);
    if (rotations_) {
        const bool enough = rotations_->dim() == 4 && rotations_->size(1) >= std::max(T, S);
        GSASR_CHECK(enough && D % 2 == 0, "rotations must have the shape (heads, P, D / 2, 2) with P from ",
                    std::max(T, S), " and D even, got ", shape_of(*rotations_), " for D = ", D);
        rotations = checked_floats("rotations", *rotations_, {heads, rotations_->size(1), D / 2, 2}, q);
    }
    Tensor output = windows ? empty(q, {q.size(0), heads * D}) : empty(q, {M, T, heads * D});
    if (M * T * heads * D == 0) return output;
    const auto attend_as = [&](auto element) {
        using E = decltype(element);
        cpu::attend(cpu::Attention<E>{tokens<E>(q, windows), tokens<E>(k, context_windows),
                                      tokens<E>(v, context_windows), bias ? data<float>(*bias) : nullptr,
                                      rotations ? data<float>(*rotations) : nullptr,
                                      rotations ? rotations->size(1) : 0, static_cast<float>(scale), M, heads, T, S, D,
                                      mutable_data<E>(output)},
                    threads());
    };
    if (is_float(q))
        attend_as(float());
    else
        attend_as(BFloat16());
    return output;
}

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

// A packed weight of so many floats, owned by the result. RuntimeError where it is none for such a weight, for such
// operands and for the kernels of this process.
Tensor checked_packed(const char* name, const Tensor& packed, const cpu::PackedHeader& expected, int64_t floats) {
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

const float* floats_of(const Tensor& packed) { return reinterpret_cast<const float*>(data<uint8_t>(packed)); }

// Where a packed weight of so many floats goes.
Tensor empty_packed(const Tensor& like, int64_t floats) {
    return empty_bytes(like, floats * static_cast<int64_t>(sizeof(float)));
}
float* mutable_floats_of(const Tensor& packed) { return reinterpret_cast<float*>(mutable_data<uint8_t>(packed)); }

Tensor pack_linear_cpu(Tensor weight_, Tensor bias_, bool in_bfloat16) {
    const Tensor weight = checked_matrix("weight", weight_, weight_);
    const int64_t outs = weight.size(0), ins = weight.size(1);
    GSASR_CHECK(outs >= 1 && ins >= 1, "weight must have at least one row and one column, got ", shape_of(weight));
    const Tensor bias = checked_floats("bias", bias_, {outs}, weight);
    const Tensor packed = empty_packed(weight, cpu::packed_floats(cpu::linear_words(ins, outs), outs));
    cpu::pack_linear(rows(weight), data<float>(bias), ins, outs, in_bfloat16, mutable_floats_of(packed), threads());
    return packed;
}

Tensor perceptron_cpu(Tensor x_, Tensors weights, Tensors biases, Tensors packed, std::optional<Tensor> added,
                      std::optional<Tensor> norm_weight, std::optional<Tensor> norm_bias, double eps, bool adds_x,
                      std::optional<Tensor> residual, bool in_bfloat16, bool output_in_bfloat16) {
    const Tensor x = checked_matrix("x", x_, x_);
    const int64_t n = x.size(0), K = x.size(1), count = static_cast<int64_t>(weights.size());
    GSASR_CHECK(K >= 1, "x must have at least one column, got ", shape_of(x));
    GSASR_CHECK(count >= 1 && biases.size() == weights.size(),
                "weights and biases must hold one tensor for each layer, from one on, got ", count, " and ",
                biases.size());
    GSASR_CHECK(packed.size() == 0 || packed.size() == weights.size(),
                "packed must hold one tensor for each layer or none, got ", packed.size(), " for ", count, " layers");
    std::vector<cpu::Layer> layers;
    std::vector<Tensor> read;  // owns what they point to
    int64_t ins = K;
    for (int64_t i = 0; i < count; ++i) {
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
    GSASR_CHECK(!adds_x || (is_float(x) && ins == K), "x is added to the result: it must be of dtype float32, with ", ins,
                " columns, got ", K);
    if (residual) residual = checked_floats("residual", *residual, {n, ins}, x);
    const auto pointer = [](const std::optional<Tensor>& tensor) { return tensor ? data<float>(*tensor) : nullptr; };
    Tensor output = empty_in(output_in_bfloat16, x, {n, ins});
    if (n > 0) {
        void* to = output_in_bfloat16 ? static_cast<void*>(mutable_data<BFloat16>(output)) : mutable_data<float>(output);
        const int64_t rows_per_added = added ? n / added->size(0) : n;
        cpu::apply_perceptron({rows(x), n, K, pointer(added), rows_per_added, pointer(norm_weight), pointer(norm_bias),
                               static_cast<float>(eps), layers.data(), count, adds_x, pointer(residual), to,
                               output_in_bfloat16},
                              in_bfloat16, threads());
    }
    return output;
}

Tensor pack_convolution_cpu(Tensor weight_, Tensor bias_, bool in_bfloat16) {
    GSASR_CHECK(weight_.dim() == 4 && weight_.size(0) >= 1 && weight_.size(1) >= 1,
                "weight must have the shape (N, C, 3, 3) with N and C from 1, got ", shape_of(weight_));
    const int64_t outs = weight_.size(0), C = weight_.size(1);
    const Tensor weight = checked_floats("weight", weight_, {outs, C, 3, 3}, weight_);
    const Tensor bias = checked_floats("bias", bias_, {outs}, weight_);
    const Tensor packed = empty_packed(weight, cpu::packed_floats(cpu::convolution_words(C, outs), outs));
    cpu::pack_convolution(data<float>(weight), data<float>(bias), C, outs, in_bfloat16, mutable_floats_of(packed),
                          threads());
    return packed;
}

Tensor convolution_cpu(Tensor x_, Tensor weight, Tensor bias, std::optional<Tensor> packed_,
                       std::optional<Tensor> residual, bool in_bfloat16, bool output_in_bfloat16) {
    const Tensor x = with_contiguous_tokens(x_);
    GSASR_CHECK(x.dim() == 4 && x.size(3) >= 1, "x must have the shape (B, H, W, C) with C from 1, got ", shape_of(x));
    GSASR_CHECK(is_float(x) || is_bfloat16(x), "x must be of dtype float32 or bfloat16");
    const int64_t B = x.size(0), H = x.size(1), W = x.size(2), C = x.size(3);
    GSASR_CHECK(weight.dim() == 4 && weight.size(0) >= 1, "weight must have the shape (N, ", C,
                ", 3, 3) with N from 1, got ", shape_of(weight));
    const int64_t outs = weight.size(0);
    check_floats("weight", weight, {outs, C, 3, 3}, x);
    check_floats("bias", bias, {outs}, x);
    if (residual) residual = checked_floats("residual", *residual, {B, H, W, outs}, x);
    Tensor output = empty_in(output_in_bfloat16, x, {B, H, W, outs});
    const Tensor packed =
        packed_ ? checked_packed("packed", *packed_,
                                 cpu::packed_header(cpu::PackedKind::convolution, in_bfloat16, C, outs),
                                 cpu::packed_floats(cpu::convolution_words(C, outs), outs))
                : pack_convolution_cpu(weight, bias, in_bfloat16);
    if (B * H * W > 0) {
        const auto read = [&](auto element) { return static_cast<const void*>(data<decltype(element)>(x)); };
        void* to = output_in_bfloat16 ? static_cast<void*>(mutable_data<BFloat16>(output)) : mutable_data<float>(output);
        cpu::convolve({is_float(x) ? read(float()) : read(BFloat16()), is_bfloat16(x), x.stride(0), x.stride(1),
                       x.stride(2), B, H, W, C, cpu::packed_weight(floats_of(packed), outs),
                       residual ? data<float>(*residual) : nullptr, to, output_in_bfloat16, outs},
                      in_bfloat16, threads());
    }
    return output;
}

#if defined(GSASR_WITH_CUDA)

void check_float_cuda(const Inputs& inputs) {
    GSASR_CHECK(is_float(inputs.means),
                "means must be of dtype float32 on CUDA devices; float64 works on the CPU only");
}

void check_launch(const char* problem) { GSASR_CHECK(problem == nullptr, "rasterize_gaussians on CUDA: ", problem); }

Tensor forward_cuda(Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors, Sizes sizes,
                    Scales scales, double support, std::optional<double> window) {
    const DeviceGuard guard(device_index(means));
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_float_cuda(inputs);
    int64_t elements = 0;
    const auto images = make_images<float>(inputs, sizes, scales, support, window, elements);
    Tensor output = empty(inputs.means, {elements});
    if (elements > 0) {
        const size_t bytes =
            cuda::forward_workspace_bytes(images.data(), inputs.B, inputs.N, static_cast<int>(inputs.C));
        // Freed when it goes out of scope, and reused only by later work on the same stream.
        const Tensor workspace = empty_bytes(inputs.means, static_cast<int64_t>(bytes));
        check_launch(cuda::rasterize_forward(inputs.view<float>(), images.data(), static_cast<float>(support),
                                             mutable_data<float>(output), mutable_data<uint8_t>(workspace),
                                             current_stream(device_index(inputs.means))));
    }
    return output;
}

FiveTensors backward_cuda(Tensor v_images, Tensor means, Tensor sigmas, Tensor rhos, Tensor opacities, Tensor colors,
                          Sizes sizes, Scales scales, double support, std::optional<double> window) {
    const DeviceGuard guard(device_index(means));
    const Inputs inputs(means, sigmas, rhos, opacities, colors);
    check_float_cuda(inputs);
    int64_t elements = 0;
    const auto images = make_images<float>(inputs, sizes, scales, support, window, elements);
    const Tensor v_contiguous = check_v_images(v_images, inputs, elements);
    const Outputs outputs(inputs);
    if (inputs.B * inputs.N > 0) {
        const Tensor workspace =
            empty_bytes(inputs.means, static_cast<int64_t>(cuda::backward_workspace_bytes(inputs.B)));
        check_launch(cuda::rasterize_backward(inputs.view<float>(), images.data(), static_cast<float>(support),
                                              data<float>(v_contiguous), outputs.view<float>(),
                                              mutable_data<uint8_t>(workspace),
                                              current_stream(device_index(inputs.means))));
    }
    return outputs.all();
}

#endif

}  // namespace
}  // namespace binding
}  // namespace gsasr

// Fragments: where Python defined the operators, this library brings the kernels only.
#if !defined(GSASR_KERNELS_ONLY)
GSASR_LIBRARY(gsasr, m) {
    m.def(GSASR_FORWARD_SCHEMA);
    m.def(GSASR_BACKWARD_SCHEMA);
    m.def(GSASR_ATTENTION_SCHEMA);
    m.def(GSASR_PACK_LINEAR_SCHEMA);
    m.def(GSASR_PERCEPTRON_SCHEMA);
    m.def(GSASR_PACK_CONVOLUTION_SCHEMA);
    m.def(GSASR_CONVOLUTION_SCHEMA);
}
#endif

GSASR_LIBRARY_IMPL(gsasr, CPU, m) {
    m.impl("rasterize_gaussians", GSASR_KERNEL(gsasr::binding::forward_cpu));
    m.impl("rasterize_gaussians_backward", GSASR_KERNEL(gsasr::binding::backward_cpu));
    m.impl("window_attention", GSASR_KERNEL(gsasr::binding::window_attention_cpu));
    m.impl("pack_linear", GSASR_KERNEL(gsasr::binding::pack_linear_cpu));
    m.impl("perceptron", GSASR_KERNEL(gsasr::binding::perceptron_cpu));
    m.impl("pack_convolution", GSASR_KERNEL(gsasr::binding::pack_convolution_cpu));
    m.impl("convolution", GSASR_KERNEL(gsasr::binding::convolution_cpu));
}

#if defined(GSASR_WITH_CUDA)
GSASR_LIBRARY_IMPL(gsasr, CUDA, m) {
    m.impl("rasterize_gaussians", GSASR_KERNEL(gsasr::binding::forward_cuda));
    m.impl("rasterize_gaussians_backward", GSASR_KERNEL(gsasr::binding::backward_cuda));
}
#endif

// What this library is, for gsasr_ops.backend(); read through ctypes.
#if defined(_WIN32)
#define GSASR_EXPORT extern "C" __declspec(dllexport)
#else
#define GSASR_EXPORT extern "C" __attribute__((visibility("default")))
#endif
GSASR_EXPORT const char* gsasr_instruction_sets() { return gsasr::cpu::instruction_sets(); }
// The architectures with _ between them: quotes and semicolons do not survive all build systems.
#define GSASR_TEXT_OF(macro) #macro
#define GSASR_TEXT(macro) GSASR_TEXT_OF(macro)
GSASR_EXPORT const char* gsasr_cuda_architectures() {
#if defined(GSASR_WITH_CUDA)
    return GSASR_TEXT(GSASR_CUDA_ARCHITECTURES);
#else
    return "";
#endif
}
GSASR_EXPORT const char* gsasr_compiler() {
#if defined(__clang__)
    return "Clang " __clang_version__;
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#else
    return "MSVC";
#endif
}

// Draws one problem with the CUDA launchers, forward and backward, once per seed: driver PROBLEM RESULT SEED...; or,
// where drawing would take too long, backward only, with images of zeros: driver PROBLEM RESULT backward SEED...
//
// PROBLEM, in native byte order: int64 B, N, C; float64 support; B times int64 H, W and float64 scale_y, scale_x,
// window; then float32 means, sigmas, rhos, opacities, colors and v_images (flat). RESULT: per seed float32 images
// (flat), v_means, v_sigmas, v_rhos, v_opacities, v_colors, then int64 evaluated pixels and steps of putting Gaussians
// in order.
//
// Every array is an allocation of its own of exactly its size, so that AddressSanitizer sees each access outside, and
// is filled with noise where the kernels have to write.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "../../../../ops/rasterizer/cuda/launch.h"
#include "simt.h"

namespace {

[[noreturn]] void stop(const char* what) {
    std::fprintf(stderr, "driver: %s\n", what);
    std::exit(2);
}

template <class T>
struct Array {
    std::unique_ptr<T[]> data;
    size_t size;
    explicit Array(int64_t count) : data(new T[static_cast<size_t>(count)]), size(static_cast<size_t>(count)) {}
    T* get() const { return data.get(); }
};

template <class T>
Array<T> read(std::FILE* file, int64_t count) {
    Array<T> array(count);
    if (std::fread(array.get(), sizeof(T), array.size, file) != array.size) stop("the problem file ends too early");
    return array;
}

template <class T>
void write(std::FILE* file, const Array<T>& array) {
    if (std::fwrite(array.get(), sizeof(T), array.size, file) != array.size) stop("cannot write the result");
}

template <class T>
Array<T> noise(int64_t count, std::mt19937& engine) {
    Array<T> array(count);
    for (size_t i = 0; i < array.size; ++i) array.get()[i] = static_cast<T>(engine());
    return array;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) stop("usage: driver PROBLEM RESULT SEED...");
    std::FILE* problem = std::fopen(argv[1], "rb");
    std::FILE* result = std::fopen(argv[2], "wb");
    if (problem == nullptr || result == nullptr) stop("cannot open the files");

    const Array<int64_t> sizes = read<int64_t>(problem, 3);
    const int64_t B = sizes.get()[0], N = sizes.get()[1], C = sizes.get()[2];
    const float support = static_cast<float>(read<double>(problem, 1).get()[0]);
    Array<gsasr::Image<float>> images(B);
    int64_t elements = 0;
    for (int64_t b = 0; b < B; ++b) {
        const Array<int64_t> size = read<int64_t>(problem, 4);  // and the rows that are drawn
        const Array<double> scale = read<double>(problem, 3);
        const int64_t H = size.get()[0], W = size.get()[1];
        images.get()[b] =
            gsasr::make_image<float>(elements, H, W, scale.get()[0], scale.get()[1], scale.get()[2]);
        images.get()[b].first_row = static_cast<int32_t>(size.get()[2]);
        images.get()[b].end_row = static_cast<int32_t>(size.get()[3]);
        elements += C * gsasr::plane_of(images.get()[b]);
    }
    if (gsasr::cuda::forward_workspace_bytes(images.get(), B, N, static_cast<int>(C)) == 0) {
        // Refused before any array is read, so that a test need not provide them.
        const gsasr::Gaussians<float> none = {nullptr, nullptr, nullptr, nullptr, nullptr, B, N, static_cast<int>(C)};
        const char* reason = gsasr::cuda::rasterize_forward(none, images.get(), support, nullptr, nullptr, nullptr);
        const char* backward_reason =
            gsasr::cuda::rasterize_backward(none, images.get(), support, nullptr, {}, nullptr, nullptr);
        stop(reason != nullptr && backward_reason != nullptr ? reason : "no scratch memory, and yet not refused");
    }
    const auto means = read<float>(problem, 2 * B * N), sigmas = read<float>(problem, 2 * B * N);
    const auto rhos = read<float>(problem, B * N), opacities = read<float>(problem, B * N);
    const auto colors = read<float>(problem, C * B * N), v_images = read<float>(problem, elements);
    const gsasr::Gaussians<float> gaussians = {means.get(), sigmas.get(), rhos.get(), opacities.get(), colors.get(),
                                               B,           N,            static_cast<int>(C)};

    const bool forward = std::strcmp(argv[3], "backward") != 0;
    for (int a = forward ? 3 : 4; a < argc; ++a) {
        const unsigned seed = static_cast<unsigned>(std::atoi(argv[a]));
        std::mt19937 engine(seed);
        simt::set_seed(seed);
        simt::evaluated_pixels = simt::ordering_steps = 0;
        const auto output = noise<float>(elements, engine);
        const auto v_means = noise<float>(2 * B * N, engine), v_sigmas = noise<float>(2 * B * N, engine);
        const auto v_rhos = noise<float>(B * N, engine), v_opacities = noise<float>(B * N, engine);
        const auto v_colors = noise<float>(C * B * N, engine);
        const gsasr::Gradients<float> gradients = {v_means.get(), v_sigmas.get(), v_rhos.get(), v_opacities.get(),
                                                   v_colors.get()};
        const size_t forward_bytes =
            gsasr::cuda::forward_workspace_bytes(images.get(), B, N, static_cast<int>(C));
        const auto forward_scratch = noise<unsigned char>(static_cast<int64_t>(forward_bytes), engine);
        const auto backward_scratch =
            noise<unsigned char>(static_cast<int64_t>(gsasr::cuda::backward_workspace_bytes(B)), engine);

        const char* error = nullptr;
        if (forward) {
            error = gsasr::cuda::rasterize_forward(gaussians, images.get(), support, output.get(),
                                                   forward_scratch.get(), nullptr);
            if (error != nullptr) stop(error);
        } else {
            std::memset(output.get(), 0, sizeof(float) * output.size);
        }
        error = gsasr::cuda::rasterize_backward(gaussians, images.get(), support, v_images.get(), gradients,
                                                backward_scratch.get(), nullptr);
        if (error != nullptr) stop(error);
        write(result, output);
        write(result, v_means);
        write(result, v_sigmas);
        write(result, v_rhos);
        write(result, v_opacities);
        write(result, v_colors);
        Array<int64_t> counted(2);
        counted.get()[0] = simt::evaluated_pixels;
        counted.get()[1] = simt::ordering_steps;
        write(result, counted);
    }
    if (std::fclose(result) != 0) stop("cannot write the result");
    std::fclose(problem);
    return 0;
}

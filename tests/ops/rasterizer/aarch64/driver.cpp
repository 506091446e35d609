// Draws one image of three channels and its gradients with the CPU rasterizer, from a file to a file: for machines whose
// Python is not here. Input: N, H, W as int64, then scale, means, sigmas, rhos, opacities, colors and the gradient of the
// image as float. Output: the image, then the gradients in the same order.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "common/threads.h"
#include "rasterizer/cpu.h"

static std::vector<float> numbers(std::FILE* file, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    if (std::fread(values.data(), sizeof(float), values.size(), file) != values.size()) values.clear();
    return values;
}

int main(int, char** argv) {
    using namespace gsasr;
    std::FILE* in = std::fopen(argv[1], "rb");
    int64_t sizes[3];
    if (!in || std::fread(sizes, sizeof sizes, 1, in) != 1) return 1;
    const int64_t N = sizes[0], H = sizes[1], W = sizes[2], pixels = 3 * H * W;
    const float scale = numbers(in, 1).at(0);
    const auto means = numbers(in, 2 * N), sigmas = numbers(in, 2 * N), rhos = numbers(in, N), opacities = numbers(in, N);
    const auto colors = numbers(in, 3 * N), v_image = numbers(in, pixels);
    std::fclose(in);
    if (v_image.empty()) return 1;

    const Gaussians<float> gaussians = {means.data(), sigmas.data(), rhos.data(), opacities.data(), colors.data(), 1, N, 3};
    const Image<float> image = make_image<float>(0, H, W, scale, scale, 0);
    const cpu::Threads threads = {[](int64_t count, int64_t, cpu::Body body, void* context) { body(0, count, context); }, 1};
    std::vector<float> all(static_cast<size_t>(pixels + 9 * N));
    float* v = all.data() + pixels;
    cpu::rasterize_forward(gaussians, &image, 4.5f, all.data(), threads);
    cpu::rasterize_backward(gaussians, &image, 4.5f, v_image.data(),
                            Gradients<float>{v, v + 2 * N, v + 4 * N, v + 5 * N, v + 6 * N}, threads);
    std::FILE* out = std::fopen(argv[2], "wb");
    return !out || std::fwrite(all.data(), sizeof(float), all.size(), out) != all.size() || std::fclose(out) ? 1 : 0;
}

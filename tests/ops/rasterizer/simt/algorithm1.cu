// The paper's Algorithm 1, written plainly: what our kernels are measured against. One thread per Gaussian, each pixel
// of the window adds its share with an atomic operation; backward, the same thread gathers from the same pixels. A
// thread looks at the rows and columns of its window only, where the algorithm as printed tests every pixel of the
// image.
//
// One image. Shapes and units as in ops/rasterizer/problem.h: means (N, 2), sigmas (N, 2), rhos (N), opacities (N), colors
// (N, 3), image (3, H, W). The window is the authors' dmax: |dx|, |dy| < dmax where the image spans -1 to 1.
#include <cuda_runtime.h>

namespace {

constexpr int kThreads = 128;

struct Scene {
    const float *means, *sigmas, *rhos, *opacities, *colors;
    int N, H, W;
    float scale, window;
};

struct Gaussian {
    float mean_x, mean_y, sigma_x, sigma_y, rho, opacity, color[3];
    int first_x, end_x, first_y, end_y;  // pixels inside the window

    // exp(-q / 2) of Eq. 2 at pixel (y, x); u and v in standard deviations.
    __device__ float at(int y, int x, float scale, float& u, float& v) const {
        u = ((x + 0.5f) / scale - mean_x) / sigma_x;
        v = ((y + 0.5f) / scale - mean_y) / sigma_y;
        return expf(-(u * u - 2.0f * rho * u * v + v * v) / (2.0f * (1.0f - rho * rho)));
    }
};

// The first pixel from `position` on, within 0 .. size.
__device__ int clamp_pixel(float position, int size) {
    return static_cast<int>(fminf(fmaxf(ceilf(position), 0.0f), static_cast<float>(size)));
}

__device__ Gaussian load(const Scene& scene, int i) {
    Gaussian g;
    g.mean_x = scene.means[2 * i];
    g.mean_y = scene.means[2 * i + 1];
    g.sigma_x = scene.sigmas[2 * i];
    g.sigma_y = scene.sigmas[2 * i + 1];
    g.rho = scene.rhos[i];
    g.opacity = scene.opacities[i];
    for (int c = 0; c < 3; ++c) g.color[c] = scene.colors[3 * i + c];
    const float x = g.mean_x * scene.scale - 0.5f, y = g.mean_y * scene.scale - 0.5f;
    const float half_x = scene.window * 0.5f * scene.W, half_y = scene.window * 0.5f * scene.H;
    g.first_x = clamp_pixel(x - half_x, scene.W);
    g.end_x = clamp_pixel(x + half_x, scene.W);
    g.first_y = clamp_pixel(y - half_y, scene.H);
    g.end_y = clamp_pixel(y + half_y, scene.H);
    return g;
}

__global__ void __launch_bounds__(kThreads) forward_kernel(Scene scene, float* image) {
    const int i = blockIdx.x * kThreads + threadIdx.x;
    if (i >= scene.N) return;
    const Gaussian g = load(scene, i);
    for (int y = g.first_y; y < g.end_y; ++y) {
        for (int x = g.first_x; x < g.end_x; ++x) {
            float u, v;
            const float weight = g.opacity * g.at(y, x, scene.scale, u, v);
            for (int c = 0; c < 3; ++c) {
                atomicAdd(&image[(static_cast<size_t>(c) * scene.H + y) * scene.W + x], weight * g.color[c]);
            }
        }
    }
}

__global__ void __launch_bounds__(kThreads)
    backward_kernel(Scene scene, const float* v_image, float* v_means, float* v_sigmas, float* v_rhos,
                    float* v_opacities, float* v_colors) {
    const int i = blockIdx.x * kThreads + threadIdx.x;
    if (i >= scene.N) return;
    const Gaussian g = load(scene, i);
    const float rest = 1.0f / (1.0f - g.rho * g.rho);
    float mean_x = 0, mean_y = 0, sigma_x = 0, sigma_y = 0, rho = 0, opacity = 0, color[3] = {0, 0, 0};
    for (int y = g.first_y; y < g.end_y; ++y) {
        for (int x = g.first_x; x < g.end_x; ++x) {
            float u, v, color_dot_v = 0;
            const float e = g.at(y, x, scene.scale, u, v);
            for (int c = 0; c < 3; ++c) {
                const float v_pixel = v_image[(static_cast<size_t>(c) * scene.H + y) * scene.W + x];
                color_dot_v += g.color[c] * v_pixel;
                color[c] += g.opacity * e * v_pixel;
            }
            opacity += e * color_dot_v;
            const float w = g.opacity * e * color_dot_v;
            // -1/2 dq/du, -1/2 dq/dv and -1/2 dq/drho
            const float d_u = -(u - g.rho * v) * rest, d_v = -(v - g.rho * u) * rest;
            const float d_rho = (u * v - g.rho * (u * u - 2 * g.rho * u * v + v * v) * rest) * rest;
            mean_x -= w * d_u / g.sigma_x;
            mean_y -= w * d_v / g.sigma_y;
            sigma_x -= w * d_u * u / g.sigma_x;
            sigma_y -= w * d_v * v / g.sigma_y;
            rho += w * d_rho;
        }
    }
    v_means[2 * i] = mean_x;
    v_means[2 * i + 1] = mean_y;
    v_sigmas[2 * i] = sigma_x;
    v_sigmas[2 * i + 1] = sigma_y;
    v_rhos[i] = rho;
    v_opacities[i] = opacity;
    for (int c = 0; c < 3; ++c) v_colors[3 * i + c] = color[c];
}

cudaLaunchConfig_t one_thread_each(int N, void* stream) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((N + kThreads - 1) / kThreads);
    config.blockDim = dim3(kThreads);
    config.stream = static_cast<cudaStream_t>(stream);
    return config;
}

}  // namespace

// `image` is cleared first. Both return a cudaError_t.
extern "C" int algorithm1_forward(Scene scene, float* image, void* stream) {
    const cudaLaunchConfig_t config = one_thread_each(scene.N, stream);
    const size_t bytes = sizeof(float) * 3 * static_cast<size_t>(scene.H) * static_cast<size_t>(scene.W);
    if (const cudaError_t error = cudaMemsetAsync(image, 0, bytes, config.stream)) return error;
    return cudaLaunchKernelEx(&config, forward_kernel, scene, image);
}
extern "C" int algorithm1_backward(Scene scene, const float* v_image, float* v_means, float* v_sigmas, float* v_rhos,
                                   float* v_opacities, float* v_colors, void* stream) {
    const cudaLaunchConfig_t config = one_thread_each(scene.N, stream);
    return cudaLaunchKernelEx(&config, backward_kernel, scene, v_image, v_means, v_sigmas, v_rhos, v_opacities,
                              v_colors);
}

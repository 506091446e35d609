// The paper's Algorithm 1 for the CPU, written plainly: what our kernels are measured against. For each Gaussian, each
// pixel of its window: evaluate Eq. 2 with expf, add. It is spared the test of every pixel of the image: the loops run
// over the rows and columns of the window only. All cores: forward, every thread draws a strip of rows, so that no two
// write the same pixel; backward, every thread takes its share of the Gaussians.
//
// One image. means (N, 2), sigmas (N, 2), rhos (N), opacities (N), colors (N, 3), image (3, H, W), as in
// ops/rasterizer/problem.h. `window` is the authors' dmax: |dx|, |dy| < dmax where the image spans -1 to 1.
#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

namespace {

struct Scene {
    const float *means, *sigmas, *rhos, *opacities, *colors;
    long long N;
    int H, W;
    float scale, window;
};

struct Window {
    int top, bottom, left, right;
};

Window window_of(const Scene& scene, long long n) {
    const float x = scene.means[2 * n] * scene.scale - 0.5f, y = scene.means[2 * n + 1] * scene.scale - 0.5f;
    const float half_x = scene.window * 0.5f * scene.W, half_y = scene.window * 0.5f * scene.H;
    const auto clamp = [](float position, int size) {
        return static_cast<int>(std::min(std::max(std::ceil(position), 0.0f), static_cast<float>(size)));
    };
    return {clamp(y - half_y, scene.H), clamp(y + half_y, scene.H), clamp(x - half_x, scene.W), clamp(x + half_x, scene.W)};
}

// exp(-q / 2) at pixel (i, j); u and v in standard deviations.
float evaluate(const Scene& scene, long long n, int i, int j, float& u, float& v) {
    const float rho = scene.rhos[n];
    u = ((j + 0.5f) / scene.scale - scene.means[2 * n]) / scene.sigmas[2 * n];
    v = ((i + 0.5f) / scene.scale - scene.means[2 * n + 1]) / scene.sigmas[2 * n + 1];
    return std::exp(-(u * u - 2.0f * rho * u * v + v * v) / (2.0f * (1.0f - rho * rho)));
}

template <class F>
void share_out(long long count, int threads, const F& work) {
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
        pool.emplace_back([=, &work] { work(count * t / threads, count * (t + 1) / threads); });
    for (std::thread& thread : pool) thread.join();
}

}  // namespace

extern "C" void algorithm1_forward(const Scene* scene, float* image, int threads) {
    share_out(scene->H, threads, [=](long long first_row, long long end_row) {
        const long long plane = static_cast<long long>(scene->H) * scene->W;
        for (int c = 0; c < 3; ++c)
            std::fill(image + c * plane + first_row * scene->W, image + c * plane + end_row * scene->W, 0.0f);
        for (long long n = 0; n < scene->N; ++n) {
            const Window window = window_of(*scene, n);
            for (int i = std::max<int>(window.top, first_row); i < std::min<int>(window.bottom, end_row); ++i)
                for (int j = window.left; j < window.right; ++j) {
                    float u, v;
                    const float weight = scene->opacities[n] * evaluate(*scene, n, i, j, u, v);
                    for (int c = 0; c < 3; ++c)
                        image[c * plane + static_cast<long long>(i) * scene->W + j] += weight * scene->colors[3 * n + c];
                }
        }
    });
}

extern "C" void algorithm1_backward(const Scene* scene, const float* v_image, float* v_means, float* v_sigmas, float* v_rhos,
                                    float* v_opacities, float* v_colors, int threads) {
    share_out(scene->N, threads, [=](long long begin, long long end) {
        const long long plane = static_cast<long long>(scene->H) * scene->W;
        for (long long n = begin; n < end; ++n) {
            const Window window = window_of(*scene, n);
            const float rho = scene->rhos[n], opacity = scene->opacities[n];
            const float inverse = 1.0f / (1.0f - rho * rho);
            float mean_x = 0, mean_y = 0, sigma_x = 0, sigma_y = 0, v_rho = 0, v_opacity = 0, color[3] = {0, 0, 0};
            for (int i = window.top; i < window.bottom; ++i)
                for (int j = window.left; j < window.right; ++j) {
                    float u, v;
                    const float e = evaluate(*scene, n, i, j, u, v);
                    float asked = 0;
                    for (int c = 0; c < 3; ++c) {
                        const float g = v_image[c * plane + static_cast<long long>(i) * scene->W + j];
                        color[c] += opacity * e * g;
                        asked += scene->colors[3 * n + c] * g;
                    }
                    v_opacity += e * asked;
                    const float w = opacity * e * asked;
                    const float q_u = (u - rho * v) * inverse, q_v = (v - rho * u) * inverse;  // of q / 2
                    mean_x += w * q_u / scene->sigmas[2 * n];
                    mean_y += w * q_v / scene->sigmas[2 * n + 1];
                    sigma_x += w * q_u * u / scene->sigmas[2 * n];
                    sigma_y += w * q_v * v / scene->sigmas[2 * n + 1];
                    v_rho += w * (u * v - rho * (u * q_u + v * q_v)) * inverse;
                }
            v_means[2 * n] = mean_x;
            v_means[2 * n + 1] = mean_y;
            v_sigmas[2 * n] = sigma_x;
            v_sigmas[2 * n + 1] = sigma_y;
            v_rhos[n] = v_rho;
            v_opacities[n] = v_opacity;
            for (int c = 0; c < 3; ++c) v_colors[3 * n + c] = color[c];
        }
    });
}

// What this machine can do at most, measured: vector operations (fused multiply-adds) per second and bytes per second,
// over all threads. Compiled for the machine it runs on.
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class F>
double run(int threads, const F& work) {
    std::vector<std::thread> pool;
    const auto start = std::chrono::steady_clock::now();
    for (int t = 0; t < threads; ++t) pool.emplace_back([&, t] { work(t); });
    for (std::thread& thread : pool) thread.join();
    return seconds_since(start);
}

}  // namespace

extern "C" double lanes_per_second(int threads) {
    constexpr long long kRounds = 100000000;
    constexpr int kChains = 10;  // enough to hide the latency of one
    const double time = run(threads, [&](int) {
        Vector a[kChains];
        for (int k = 0; k < kChains; ++k) a[k] = Vector{} + static_cast<float>(k);
        Vector m = Vector{} + 0.999f, b = Vector{} + 0.001f;
        // Each round depends on the one before in the rounding of its sums: nothing can be left out.
        for (long long i = 0; i < kRounds; ++i)
            for (int k = 0; k < kChains; ++k) a[k] = a[k] * m + b;
        volatile float sink = 0;
        for (int k = 0; k < kChains; ++k) sink = sink + a[k][0];
    });
    return threads * static_cast<double>(kRounds) * kChains * (kBytes / sizeof(float)) / time;
}

extern "C" double bytes_per_second(int threads) {
    constexpr size_t kSize = size_t{64} << 20;
    std::vector<std::vector<char>> from(threads, std::vector<char>(kSize, 1)), to(threads, std::vector<char>(kSize));
    constexpr int kRounds = 10;
    const double time = run(threads, [&](int t) {
        for (int r = 0; r < kRounds; ++r) std::memcpy(to[t].data(), from[t].data(), kSize);
    });
    return 2.0 * threads * kSize * kRounds / time;
}

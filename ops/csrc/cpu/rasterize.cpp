// The CPU rasterizer: sorts the Gaussians and shares the work out to threads.
//
// Forward: Gaussians are sorted by the band of 16 rows in which their box begins (a counting sort in three passes), then
// tiles of one band are drawn independently of each other. A tile looks at its own band and at those above from which
// some box reaches down to it: each band knows the tallest box that begins in it, so that one huge Gaussian does not
// make all others visible everywhere. Backward: runs of Gaussians, independent of each other, without any sorting.
// Threads take tiles or runs from a common counter. Which thread does what changes nothing in the result.
#include "rasterize.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "instruction_set.h"
#include "interface.h"

namespace gsasr {
namespace cpu {
namespace {

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<float>& kernels<float>() {
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() == Isa::avx512) return avx512::float_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::float_kernels();
#endif
    return portable::float_kernels();
}

template <>
const Kernels<double>& kernels<double>() {
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() == Isa::avx512) return avx512::double_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::double_kernels();
#endif
    return portable::double_kernels();
}

struct Sorted {
    std::vector<int64_t> first_band;  // (B + 1), of each image
    std::unique_ptr<int32_t[]> ids, ends;
    std::vector<int64_t> begin;
    std::vector<int32_t> reach;
};

// Parts of an image's Gaussians that are counted and moved independently of each other.
constexpr int64_t kPart = int64_t{1} << 16;

template <class T>
Sorted sort(const Gaussians<T>& gaussians, const Image<T>* images, T support, const Threads& threads) {
    const int64_t B = gaussians.B, N = gaussians.N;
    const auto place = kernels<T>().place;
    Sorted sorted;
    sorted.first_band.resize(static_cast<size_t>(B) + 1, 0);
    for (int64_t b = 0; b < B; ++b)
        sorted.first_band[b + 1] = sorted.first_band[b] + (images[b].H + kTileRows - 1) / kTileRows;
    const int64_t bands = sorted.first_band[B];
    const int64_t parts = (N + kPart - 1) / kPart;  // of one image
    std::unique_ptr<int32_t[]> starts(new int32_t[static_cast<size_t>(B * N)]);  // first band, -1: not drawn
    sorted.ends.reset(new int32_t[static_cast<size_t>(B * N)]);
    sorted.begin.assign(static_cast<size_t>(bands) + 1, 0);
    sorted.reach.assign(static_cast<size_t>(bands), 0);

    // How many Gaussians of each part begin in each band of its image, and how far down they reach.
    std::vector<std::vector<int64_t>> counts(static_cast<size_t>(B * parts));
    std::vector<std::vector<int32_t>> reaches(static_cast<size_t>(B * parts));
    for_each(B * parts, threads, [&] {
        return [&](int64_t task) {
            const int64_t b = task / parts, from = task % parts * kPart, to = std::min(from + kPart, N);
            std::vector<int64_t>& count = counts[task];
            std::vector<int32_t>& reach = reaches[task];
            count.assign(static_cast<size_t>(sorted.first_band[b + 1] - sorted.first_band[b]), 0);
            reach.assign(count.size(), 0);
            place(gaussians, images[b], support, b * N + from, b * N + to, starts.get(), sorted.ends.get());
            for (int64_t n = b * N + from; n < b * N + to; ++n) {
                const int32_t band = starts[n];
                if (band < 0) continue;
                ++count[band];
                reach[band] = std::max(reach[band], (sorted.ends[n] - 1) / kTileRows - band + 1);
            }
        };
    });

    // Where the Gaussians of each part go: by image, then band, then part, so that their order is kept.
    int64_t total = 0;
    for (int64_t b = 0; b < B; ++b)
        for (int64_t band = 0; band < sorted.first_band[b + 1] - sorted.first_band[b]; ++band) {
            sorted.begin[sorted.first_band[b] + band] = total;
            int32_t& tallest = sorted.reach[sorted.first_band[b] + band];
            for (int64_t task = b * parts; task < (b + 1) * parts; ++task) {
                const int64_t count = counts[task][band];
                counts[task][band] = total;
                total += count;
                tallest = std::max(tallest, reaches[task][band]);
            }
        }
    sorted.begin[bands] = total;

    sorted.ids.reset(new int32_t[static_cast<size_t>(total)]);
    for_each(B * parts, threads, [&] {
        return [&](int64_t task) {
            const int64_t b = task / parts, from = task % parts * kPart, to = std::min(from + kPart, N);
            for (int64_t n = from; n < to; ++n)
                if (starts[b * N + n] >= 0)
                    sorted.ids[counts[task][starts[b * N + n]]++] = static_cast<int32_t>(n);
        };
    });
    return sorted;
}

}  // namespace

template <class T>
void rasterize_forward(const Gaussians<T>& gaussians, const Image<T>* images, T support, T* output,
                       const Threads& threads) {
    const Sorted sorted = sort(gaussians, images, support, threads);
    const Bins bins = {sorted.ids.get(), sorted.ends.get(), sorted.begin.data(), sorted.reach.data()};
    std::vector<Tile> tiles;
    for (int32_t b = 0; b < gaussians.B; ++b) {
        const int32_t W = images[b].W;
        const int32_t across = (W + kTileColumns - 1) / kTileColumns;
        const int32_t width = (W + across - 1) / across;
        for (int64_t band = 0; band < sorted.first_band[b + 1] - sorted.first_band[b]; ++band)
            for (int32_t left = 0; left < W; left += width)
                tiles.push_back({b, sorted.first_band[b], static_cast<int32_t>(band), left, std::min(left + width, W)});
    }
    const auto draw = kernels<T>().draw;
    for_each(static_cast<int64_t>(tiles.size()), threads, [&] {
        std::shared_ptr<T[]> scratch(new T[static_cast<size_t>(scratch_elements(gaussians.C))]);
        return [&, scratch](int64_t i) { draw(gaussians, images, support, bins, tiles[i], scratch.get(), output); };
    });
}

template <class T>
void rasterize_backward(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
                        const Gradients<T>& gradients, const Threads& threads) {
    constexpr int64_t kRun = 256;
    const int64_t all = gaussians.B * gaussians.N;
    const auto gather = kernels<T>().gather;
    for_each((all + kRun - 1) / kRun, threads, [&] {
        return [&](int64_t i) {
            gather(gaussians, images, support, v_images, gradients, i * kRun, std::min((i + 1) * kRun, all));
        };
    });
}

template void rasterize_forward(const Gaussians<float>&, const Image<float>*, float, float*, const Threads&);
template void rasterize_forward(const Gaussians<double>&, const Image<double>*, double, double*, const Threads&);
template void rasterize_backward(const Gaussians<float>&, const Image<float>*, float, const float*,
                                 const Gradients<float>&, const Threads&);
template void rasterize_backward(const Gaussians<double>&, const Image<double>*, double, const double*,
                                 const Gradients<double>&, const Threads&);

}  // namespace cpu
}  // namespace gsasr

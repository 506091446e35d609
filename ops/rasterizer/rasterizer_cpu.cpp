// The CPU rasterizer: sorts the Gaussians and shares the work out to threads.
//
// Forward: parts of the Gaussians are sorted, each for itself, by the band of 16 rows in which their box begins. Then
// the tiles of the bands are drawn independently of each other: first those of every other band, which hang over into
// the bands between, then the others. A tile looks at its own band and at those above from which some box reaches down
// to it: each band knows the tallest box that begins in it, so that one huge Gaussian does not make all others visible
// everywhere. Backward: runs of Gaussians, independent of each other, without any sorting. Threads take parts, tiles or
// runs from a common counter. Which thread does what changes nothing in the result.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "../common/threads.h"
#include "cpu.h"

namespace gsasr {
namespace cpu {
namespace {

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<float>& kernels<float>() {
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() >= Isa::avx512) return avx512::float_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::float_kernels();
#endif
    return portable::float_kernels();
}

template <>
const Kernels<double>& kernels<double>() {
#if defined(GSASR_DISPATCH_X86)
    if (chosen_isa() >= Isa::avx512) return avx512::double_kernels();
    if (chosen_isa() == Isa::avx2) return avx2::double_kernels();
#endif
    return portable::double_kernels();
}

struct Sorted {
    std::unique_ptr<uint16_t[]> ids;
    std::vector<Bin> bins;
    std::vector<Part> parts;  // of all images, equally many of each
};

// body(key, from, to) for all runs of equal keys: neighbours in memory are mostly neighbours in the image.
template <class F>
void for_each_run(const int32_t* keys, int64_t count, const F& body) {
    for (int64_t from = 0, to = 0; from < count; from = to) {
        while (to < count && keys[to] == keys[from]) ++to;
        body(keys[from], from, to);
    }
}

// Sorts the Gaussians begin .. begin + count - 1 of one image by counting: see Part.
template <class T>
void sort_part(const Gaussians<T>& gaussians, const Image<T>& image, T support, int64_t begin, int64_t count,
               uint16_t* ids, Bin* bins) {
    const int32_t bands = bands_of(image.H), nothing = 2 * bands;
    std::vector<int32_t> next(static_cast<size_t>(nothing) + 1, 0);  // by key: how many, then where the next one goes
    std::unique_ptr<int32_t[]> keys(new int32_t[static_cast<size_t>(count)]);
    constexpr int64_t kBlock = 1024;
    int32_t covered[kBlock];
    for (int32_t band = 0; band < bands; ++band) bins[band].reach = 1;
    for (int64_t block = 0; block < count; block += kBlock) {
        const int64_t length = std::min(kBlock, count - block);
        int32_t* key = keys.get() + block;
        const bool reaching =
            kernels<T>().place(gaussians, image, support, begin + block, begin + block + length, key, covered);
        for (int64_t k = 0; reaching && k < length; ++k)
            bins[key[k] / 2].reach = std::max(bins[key[k] / 2].reach, covered[k]);
        for_each_run(key, length, [&](int32_t of, int64_t from, int64_t to) {
            next[of] += static_cast<int32_t>(to - from);
        });
    }
    int32_t total = 0;
    for (int32_t key = 0; key <= nothing; ++key) {
        (key % 2 ? bins[key / 2].reaching : bins[key / 2].begin) = total;
        total += std::exchange(next[key], total);
    }
    for (int32_t band = 0, reached = 0; band < bands; ++band)
        for (; reached < band + bins[band].reach; ++reached) bins[reached].first = band;
    for_each_run(keys.get(), count, [&](int32_t of, int64_t from, int64_t to) {
        uint16_t* id = ids + next[of];
        next[of] += static_cast<int32_t>(to - from);
        for (int64_t k = from; k < to; ++k) *id++ = static_cast<uint16_t>(k);
    });
}

template <class T>
Sorted sort(const Gaussians<T>& gaussians, const Image<T>* images, T support, const Threads& threads) {
    const int64_t B = gaussians.B, N = gaussians.N;
    const int64_t parts = (N + kPart - 1) / kPart;  // of one image
    Sorted sorted;
    sorted.ids.reset(new uint16_t[static_cast<size_t>(B * N)]);
    size_t bins = 0;
    for (int64_t b = 0; b < B; ++b) bins += static_cast<size_t>(parts * (bands_of(images[b].H) + 1));
    sorted.bins.resize(bins);
    const Bin* next = sorted.bins.data();
    for (int64_t b = 0; b < B; ++b)
        for (int64_t first = b * N; first < (b + 1) * N; first += kPart, next += bands_of(images[b].H) + 1)
            sorted.parts.push_back({first, sorted.ids.get() + first, next});
    for_each(B * parts, threads, [&] {
        return [&](int64_t p) {
            const Part& part = sorted.parts[p];
            const int64_t b = p / parts;
            sort_part(gaussians, images[b], support, part.first, std::min(kPart, (b + 1) * N - part.first),
                      sorted.ids.get() + part.first, sorted.bins.data() + (part.bins - sorted.bins.data()));
        };
    });
    return sorted;
}

// Asks for huge pages in memory that is about to be written for the first time. The gradients of 8 million Gaussians
// take 300 MB: with pages of 4 KB the kernel needs nearly as long to hand them out as the rasterizer to fill them.
template <class T>
void expect_writing(T* to, int64_t count) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t kHugePage = uintptr_t{1} << 21;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(to) + kHugePage - 1) / kHugePage * kHugePage;
    const uintptr_t end = reinterpret_cast<uintptr_t>(to + count) / kHugePage * kHugePage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // only a hint
#else
    (void)to, (void)count;
#endif
}

}  // namespace

template <class T>
void rasterize_forward(const Gaussians<T>& gaussians, const Image<T>* images, T support, T* output,
                       const Threads& threads) {
    const Sorted sorted = sort(gaussians, images, support, threads);
    const int64_t parts = static_cast<int64_t>(sorted.parts.size()) / std::max<int64_t>(gaussians.B, 1);
    const auto draw = kernels<T>().draw;
    for (int phase = 0; phase < 2; ++phase) {
        std::vector<Tile> tiles;
        for (int32_t b = 0; b < gaussians.B; ++b) {
            const int32_t W = images[b].W;
            const int32_t across = (W + kTileColumns - 1) / kTileColumns;
            const int32_t width = (W + across - 1) / across;
            // The band above the first row hangs over into it.
            const int32_t first = std::max(band_of(images[b].first_row) - 1, 0);
            for (int32_t band = first + (first + phase) % 2; band < bands_of(images[b].end_row); band += 2)
                for (int32_t left = 0; left < W; left += width)
                    tiles.push_back({b, band, left, std::min(left + width, W)});
        }
        for_each(static_cast<int64_t>(tiles.size()), threads, [&] {
            std::shared_ptr<T[]> scratch(new T[static_cast<size_t>(scratch_elements(gaussians.C))]);
            return [&, scratch](int64_t i) {
                draw(gaussians, images, support, sorted.parts.data() + tiles[i].image * parts, parts, tiles[i],
                     scratch.get(), output);
            };
        });
    }
}

template <class T>
void rasterize_backward(const Gaussians<T>& gaussians, const Image<T>* images, T support, const T* v_images,
                        const Gradients<T>& gradients, const Threads& threads) {
    constexpr int64_t kRun = 256;
    const int64_t all = gaussians.B * gaussians.N;
    for (T* pairs : {gradients.means, gradients.sigmas}) expect_writing(pairs, 2 * all);
    for (T* singles : {gradients.rhos, gradients.opacities}) expect_writing(singles, all);
    expect_writing(gradients.colors, gaussians.C * all);
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

// The launchers of launch.h: what runs, in which order, and where the scratch memory goes.
//
// Forward: table of images, then count, scan (2), scatter, order, pack (bins.cuh) and render (render.cuh), each one
// launch for the whole batch. Backward: table of images, then gather (backward.cuh), one launch.
#include <cuda_runtime.h>

#include "backward.cuh"
#include "bins.cuh"
#include "guards.cuh"
#include "images.cuh"
#include "launch.h"
#include "render.cuh"

namespace gsasr {
namespace cuda {
namespace {

constexpr int64_t kMaxGaussians = int64_t{1} << 30;
constexpr int64_t kMaxIndex = 2147483647;

// Walk over the batch and hand each row of the table to `visit(b, entry)`. Returns the totals.
struct Totals {
    int64_t tiles, cells, pixels;
};
template <class Visit>
Totals describe(const Image<float>* images, int64_t B, int64_t N, Visit visit) {
    Totals totals = {0, 0, 0};
    for (int64_t b = 0; b < B; ++b) {
        Entry entry;
        entry.image = images[b];
        entry.first_tile = static_cast<int32_t>(totals.tiles);
        entry.tiles_x = (images[b].W + kTile - 1) / kTile;
        entry.first_cell = static_cast<int32_t>(totals.cells);
        // The smallest cells of which there are no more than Gaussians: memory follows N, not the number of pixels.
        entry.log2_cell = kMinLog2Cell;
        const auto cells = [](const Level& level) { return static_cast<int64_t>(level.columns) * level.rows; };
        while (cells(first_level(entry)) > (N > 0 ? N : 1)) ++entry.log2_cell;
        visit(b, entry);
        totals.pixels += plane_of(images[b]);
        totals.tiles += static_cast<int64_t>(entry.tiles_x) *
                        ((images[b].end_row + kTile - 1) / kTile - images[b].first_row / kTile);
        for (Level level = first_level(entry);; level = next_level(images[b], level)) {
            totals.cells += cells(level);
            if (is_last(images[b], level)) break;
        }
    }
    return totals;
}

// Why this problem cannot be drawn, or nullptr.
const char* refusal(const Image<float>* images, int64_t B, int64_t N, int C) {
    if (C < 1 || C > kMaxChannels) return "colors must have 1 to 4 channels";
    if (B > kMaxIndex || (B > 0 && N > kMaxGaussians / B)) {
        return "more than 2^30 Gaussians in a batch are not supported";
    }
    for (int64_t b = 0; b < B; ++b) {
        const int64_t H = images[b].H, W = images[b].W;
        if (H > kMaxSide || W > kMaxSide || plane_of(images[b]) > kMaxIndex) {
            return "an output image of more than 2^31 - 1 pixels, or with a side of more than 2^23, is not supported";
        }
    }
    const Totals totals = describe(images, B, N, [](int64_t, const Entry&) {});
    if (totals.tiles > kMaxIndex || totals.cells >= kMaxIndex) {
        return "the images of the batch have more than 2^31 - 1 tiles or cells in all, which is not supported";
    }
    return nullptr;
}

// Parts of the scratch memory, one after the other, each aligned to 256 bytes; in a debug build (guards.cuh) with a
// zone that nobody may touch behind each.
class Arena {
  public:
    explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
    template <class T>
    T* take(int64_t count) {
        const size_t begin = used_, end = begin + static_cast<size_t>(count) * sizeof(T);
        used_ = (end + 255) / 256 * 256 + kGuardBytes;
        if (base_ == nullptr) return nullptr;
#if defined(GSASR_GUARDS)
        guards_.push_back({base_ + end, static_cast<int64_t>(used_ - end)});
#endif
        return reinterpret_cast<T*>(base_ + begin);
    }
    size_t used() const { return used_; }
    const std::vector<Guard>& guards() const { return guards_; }

  private:
    char* base_;
    size_t used_ = 0;
    std::vector<Guard> guards_;
};

int64_t blocks_for(int64_t items, int64_t per_block) { return (items + per_block - 1) / per_block; }

// The first error of a series of launches; later ones are not tried.
class Launches {
  public:
    explicit Launches(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}

    template <class... Parameters, class... Arguments>
    void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, const Arguments&... arguments) {
        if (blocks == 0 || error_ != cudaSuccess) return;
        cudaLaunchConfig_t config = {};
        config.gridDim = dim3(static_cast<unsigned>(blocks));
        config.blockDim = dim3(static_cast<unsigned>(threads));
        config.stream = stream_;
        error_ = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
    }

    void clear(void* memory, size_t bytes) {
        if (error_ == cudaSuccess) error_ = cudaMemsetAsync(memory, 0, bytes, stream_);
    }

#if defined(GSASR_GUARDS)
    void guard(const Arena& arena) {
        for (const Guard& guard : arena.guards()) {
            if (error_ == cudaSuccess) error_ = cudaMemsetAsync(guard.begin, guard_byte(), guard.bytes, stream_);
            GSASR_GUARD(guard.begin, guard.bytes, true);
        }
    }
    void check_guards(const Arena& arena) {
        for (const Guard& guard : arena.guards()) {
            GSASR_GUARD(guard.begin, guard.bytes, false);
            (*this)(check_guard_kernel, blocks_for(guard.bytes, kGuardThreads), kGuardThreads, guard, guard_byte());
        }
    }
#else
    void guard(const Arena&) {}
    void check_guards(const Arena&) {}
#endif

    void store_images(const Image<float>* images, int64_t B, int64_t N, Entry* table) {
        Entries entries;
        describe(images, B, N, [&](int64_t b, const Entry& entry) {
            const int row = static_cast<int>(b % kEntriesPerLaunch);
            entries.entry[row] = entry;
            if (row == kEntriesPerLaunch - 1 || b == B - 1) {
                (*this)(store_images_kernel, 1, kEntriesPerLaunch, entries, table + (b - row), row + 1);
            }
        });
    }

    // What went wrong, or nullptr. The runtime forgets a failed launch here: the caller reports it.
    const char* message() const {
        if (error_ == cudaSuccess) return nullptr;
        cudaGetLastError();
        return cudaGetErrorString(error_);
    }

  private:
    cudaStream_t stream_;
    cudaError_t error_ = cudaSuccess;
};

// The scratch memory of the forward pass.
template <int C>
struct ForwardMemory {
    Entry* table;
    Bins bins;
    Record<C>* records;
    int64_t large_cells;  // at most
    Arena arena;

    ForwardMemory(const Totals& totals, int64_t B, int64_t N, void* workspace) : arena(workspace) {
        large_cells = B * (N / (kLargeCell + 1));
        bins.chunk = static_cast<int32_t>(blocks_for(totals.cells + 1, kScanPiece * kMaxChunks) * kScanPiece);
        table = arena.take<Entry>(B);
        bins.table = table;
        bins.starts = arena.take<int32_t>(totals.cells + 2 + large_cells);
        bins.large = bins.starts + totals.cells + 1;
        bins.chunk_sums = arena.take<int32_t>(blocks_for(totals.cells, bins.chunk));
        bins.cell_of = arena.take<int32_t>(B * N);
        bins.arrival = arena.take<int32_t>(B * N);
        bins.unordered = arena.take<int32_t>(B * N);
        bins.cells = static_cast<int32_t>(totals.cells);
        records = arena.take<Record<C>>(B * N);
    }
};

template <int C>
const char* forward(const Gaussians<float>& gaussians, const Image<float>* images, float support, float* output,
                    void* workspace, void* stream) {
    const int64_t B = gaussians.B, N = gaussians.N, count = B * N;
    const Totals totals = describe(images, B, N, [](int64_t, const Entry&) {});
    const ForwardMemory<C> memory(totals, B, N, workspace);
    const Bins& bins = memory.bins;
    Launches launch(stream);
    launch.guard(memory.arena);
    launch.store_images(images, B, N, memory.table);
    launch.clear(bins.starts, sizeof(int32_t) * static_cast<size_t>(totals.cells + 2));
    if (count > 0) {
        const int64_t chunks = blocks_for(totals.cells, bins.chunk), blocks = blocks_for(count, kBinThreads);
        launch(count_kernel, blocks, kBinThreads, gaussians, support, bins);
        launch(sum_chunks_kernel, chunks, kBinThreads, bins);
        launch(scan_chunks_kernel, chunks, kBinThreads, bins);
        launch(scatter_kernel, blocks, kBinThreads, count, bins);
        // The records are not there yet: their memory holds the bits, a word more than full ones for each block.
        static_assert(sizeof(Record<C>) >= kOrderBlocks / 8 + 4, "bits per Gaussian; there are fewer blocks than N");
        launch(order_kernel, smaller(memory.large_cells, kOrderBlocks), kBinThreads, N, bins,
               reinterpret_cast<uint32_t*>(memory.records));
        launch(pack_kernel<C>, blocks, kBinThreads, gaussians, support, bins, memory.records);
    }
    launch(render_kernel<C>, totals.tiles, kRenderThreads, memory.table, static_cast<int32_t>(B), bins.starts,
           memory.records, output);
    launch.check_guards(memory.arena);
    return launch.message();
}

template <int C>
const char* backward(const Gaussians<float>& gaussians, const Image<float>* images, float support,
                     const float* v_images, const Gradients<float>& gradients, void* workspace, void* stream) {
    const int64_t B = gaussians.B, N = gaussians.N, count = B * N;
    const Totals totals = describe(images, B, N, [](int64_t, const Entry&) {});
    Arena arena(workspace);
    Entry* table = arena.take<Entry>(B);
    Launches launch(stream);
    launch.guard(arena);
    launch.store_images(images, B, N, table);
    // Pixels per Gaussian grow with the scale, and the box with them: from x8 on, with 16 Gaussians per LR pixel, a
    // whole warp has enough to do with one Gaussian, and Gaussians are too few to fill a large GPU otherwise.
    if (totals.pixels < 4 * count) {
        launch(gather_kernel<C, kSmallGroup>, blocks_for(count * kSmallGroup, kBackwardThreads), kBackwardThreads,
               gaussians, table, support, v_images, gradients);
    } else {
        launch(gather_kernel<C, kWarp>, blocks_for(count * kWarp, kBackwardThreads), kBackwardThreads, gaussians, table,
               support, v_images, gradients);
    }
    launch.check_guards(arena);
    return launch.message();
}

}  // namespace

size_t forward_workspace_bytes(const Image<float>* images, int64_t B, int64_t N, int C) {
    if (refusal(images, B, N, C) != nullptr) return 0;
    const Totals totals = describe(images, B, N, [](int64_t, const Entry&) {});
    return C <= 3 ? ForwardMemory<3>(totals, B, N, nullptr).arena.used()
                  : ForwardMemory<4>(totals, B, N, nullptr).arena.used();
}

size_t backward_workspace_bytes(int64_t B) {
    Arena arena(nullptr);
    arena.take<Entry>(B);
    return arena.used();
}

const char* rasterize_forward(const Gaussians<float>& gaussians, const Image<float>* images, float support,
                              float* output, void* workspace, void* stream) {
    if (const char* reason = refusal(images, gaussians.B, gaussians.N, gaussians.C)) return reason;
    const auto draw = gaussians.C == 1   ? forward<1>
                      : gaussians.C == 2 ? forward<2>
                      : gaussians.C == 3 ? forward<3>
                                         : forward<4>;
    return draw(gaussians, images, support, output, workspace, stream);
}

const char* rasterize_backward(const Gaussians<float>& gaussians, const Image<float>* images, float support,
                               const float* v_images, const Gradients<float>& gradients, void* workspace,
                               void* stream) {
    if (const char* reason = refusal(images, gaussians.B, gaussians.N, gaussians.C)) return reason;
    const auto gather = gaussians.C == 1   ? backward<1>
                        : gaussians.C == 2 ? backward<2>
                        : gaussians.C == 3 ? backward<3>
                                           : backward<4>;
    return gather(gaussians, images, support, v_images, gradients, workspace, stream);
}

}  // namespace cuda
}  // namespace gsasr

// Runs CUDA kernels on the CPU, strictly: a fibre per thread, warps of 32, one block after another.
//
// A fibre runs until it meets a collective (a barrier, a vote, a shuffle); then another one, drawn at random, goes on.
// Blocks are drawn at random too. Whatever CUDA leaves undefined ends the program with a message: lanes of a mask that
// disagree on operation, place or mask, a caller or a source outside the mask, threads that have ended while others
// wait for them, barriers in different places, a deadlock. Shared memory is new and poisoned in each block, so that
// nothing lives on from the block before. One-dimensional grids and blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace simt {

constexpr unsigned kWarp = 32;

// CUDA's variables of these names, as the running fibre sees them.
struct Index {
    unsigned x;
};
extern Index threadIdx, blockIdx, gridDim;
inline int lane() { return static_cast<int>(threadIdx.x % kWarp); }

enum class Operation { synchronize, ballot, shuffle, shuffle_up, shuffle_xor };

// What each lane of a warp brought to a collective.
struct Values {
    uint32_t of_lane[kWarp];
};

// Wait for the lanes of `mask`, exchange values. The result is valid until the caller's next collective.
const Values& exchange(Operation operation, unsigned mask, uint32_t value, int line);
void synchronize_block(int line);

// The shared variable that is declared on this line of a kernel: memory of exactly its size, poisoned, new in each
// block.
void* shared_memory(size_t bytes, int line);

// Run `body` once for each thread of each block.
void launch(unsigned blocks, unsigned threads, const std::function<void()>& body);

// The order of blocks and threads, and the poison, follow from the seed.
void set_seed(uint64_t seed);

// End the program; nothing of what ran can be trusted.
[[noreturn]] void fail(const char* what, int line);

// Pixels that the render kernel has evaluated so far, and steps taken to put Gaussians in order.
extern int64_t evaluated_pixels, ordering_steps;

// From now on AddressSanitizer stops whoever touches these bytes, or no more.
void forbid(void* memory, size_t bytes, bool forbidden);

}  // namespace simt

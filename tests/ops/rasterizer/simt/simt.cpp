// The scheduler behind simt.h.
#include "simt.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

Index threadIdx, blockIdx, gridDim;
int64_t evaluated_pixels = 0, ordering_steps = 0;

namespace {

constexpr size_t kStackBytes = 32 * 1024;  // small: the sanitizer clears its notes on a stack at every switch

enum class State { ready, at_collective, at_barrier, ended };

struct Fibre {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStackBytes]};
    State state;
    // Of the collective that it waits at, or has just left.
    Operation operation;
    unsigned mask;
    uint32_t value;
    int line;
    Values values;
    void* sanitizer_stack;
};

std::mt19937_64 random_engine;
std::vector<std::unique_ptr<Fibre>> fibres;
ucontext_t scheduler;
const std::function<void()>* kernel_body;
unsigned block_size;
std::map<int, std::unique_ptr<unsigned char[]>> shared_memory_of_block;  // by line

// AddressSanitizer has to be told which stack is in use.
void* scheduler_sanitizer_stack;
const void* scheduler_stack_bottom;
size_t scheduler_stack_bytes;

void switch_to_scheduler(Fibre& fibre) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fibre.state == State::ended ? nullptr : &fibre.sanitizer_stack,
                                   scheduler_stack_bottom, scheduler_stack_bytes);
#endif
    swapcontext(&fibre.context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fibre.sanitizer_stack, &scheduler_stack_bottom, &scheduler_stack_bytes);
#endif
}

void switch_to_fibre(unsigned thread) {
    Fibre& fibre = *fibres[thread];
    threadIdx.x = thread;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_sanitizer_stack, fibre.stack.get(), kStackBytes);
#endif
    swapcontext(&scheduler, &fibre.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_sanitizer_stack, nullptr, nullptr);
#endif
}

void fibre_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_bottom, &scheduler_stack_bytes);
#endif
    (*kernel_body)();
    Fibre& fibre = *fibres[threadIdx.x];
    fibre.state = State::ended;
    switch_to_scheduler(fibre);
}

void run_block(unsigned block, unsigned threads) {
    blockIdx.x = block;
    shared_memory_of_block.clear();
    while (fibres.size() < threads) fibres.push_back(std::make_unique<Fibre>());
    std::vector<unsigned> ready(threads);
    for (unsigned t = 0; t < threads; ++t) {
        Fibre& fibre = *fibres[t];
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.get();
        fibre.context.uc_stack.ss_size = kStackBytes;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, fibre_main, 0);
        fibre.state = State::ready;
        fibre.sanitizer_stack = nullptr;
        ready[t] = t;
    }
    // Rounds: every fibre that can go on does, in random order. Those released meanwhile follow in the next round.
    while (!ready.empty()) {
        std::shuffle(ready.begin(), ready.end(), random_engine);
        for (const unsigned t : ready) switch_to_fibre(t);
        ready.clear();
        for (unsigned t = 0; t < threads; ++t) {
            if (fibres[t]->state == State::ready) ready.push_back(t);
        }
    }
    for (unsigned t = 0; t < threads; ++t) {
        if (fibres[t]->state != State::ended) {
            threadIdx.x = t;
            fail("deadlock: this thread waits for ever", fibres[t]->line);
        }
    }
}

}  // namespace

void set_seed(uint64_t seed) { random_engine.seed(seed); }

void fail(const char* what, int line) {
    std::fprintf(stderr, "simt: %s (block %u, thread %u, line %d)\n", what, blockIdx.x, threadIdx.x, line);
    std::fflush(stderr);
    std::_Exit(3);
}

const Values& exchange(Operation operation, unsigned mask, uint32_t value, int line) {
    const unsigned first = threadIdx.x / kWarp * kWarp, own = threadIdx.x % kWarp;
    if (!(mask >> own & 1u)) fail("a lane calls a collective whose mask does not name it", line);
    Fibre& fibre = *fibres[threadIdx.x];
    fibre.state = State::at_collective;
    fibre.operation = operation;
    fibre.mask = mask;
    fibre.value = value;
    fibre.line = line;
    bool complete = true;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
        if (!(mask >> lane & 1u)) continue;
        if (first + lane >= block_size) fail("a mask names a lane that does not exist", line);
        const Fibre& other = *fibres[first + lane];
        if (other.state == State::ended) fail("a mask names a lane that has ended", line);
        if (other.state != State::at_collective) {
            complete = false;
        } else if (!(other.mask >> own & 1u)) {
            complete = false;  // busy in another subset of lanes; it may come later
        } else if (other.mask != mask || other.operation != operation || other.line != line) {
            fail("lanes of one mask meet at different collectives", line);
        }
    }
    if (complete) {
        Values values = {};
        for (unsigned lane = 0; lane < kWarp; ++lane) {
            if (mask >> lane & 1u) values.of_lane[lane] = fibres[first + lane]->value;
        }
        for (unsigned lane = 0; lane < kWarp; ++lane) {
            if (mask >> lane & 1u) {
                fibres[first + lane]->values = values;
                fibres[first + lane]->state = State::ready;
            }
        }
    }
    switch_to_scheduler(fibre);
    return fibre.values;
}

void synchronize_block(int line) {
    Fibre& fibre = *fibres[threadIdx.x];
    fibre.state = State::at_barrier;
    fibre.line = line;
    bool complete = true;
    for (unsigned t = 0; t < block_size; ++t) {
        const Fibre& other = *fibres[t];
        if (other.state == State::ended) fail("a barrier waits for a thread that has ended", line);
        if (other.state != State::at_barrier) {
            complete = false;
        } else if (other.line != line) {
            fail("threads of a block wait at different barriers", line);
        }
    }
    if (complete) {
        for (unsigned t = 0; t < block_size; ++t) fibres[t]->state = State::ready;
    }
    switch_to_scheduler(fibre);
}

// Three bytes of four are 0xff: as a float, NaN; as an index, far out of bounds.
void* shared_memory(size_t bytes, int line) {
    std::unique_ptr<unsigned char[]>& memory = shared_memory_of_block[line];
    if (memory == nullptr) {
        memory.reset(new unsigned char[bytes]);
        for (size_t i = 0; i < bytes; ++i) {
            memory[i] = i % 4 == 0 ? static_cast<unsigned char>(random_engine()) : 0xff;
        }
    }
    return memory.get();
}

void forbid([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes, [[maybe_unused]] bool forbidden) {
#if defined(__SANITIZE_ADDRESS__)
    if (std::getenv("SIMT_FORBIDS_NOTHING") != nullptr) return;
    if (forbidden) {
        __asan_poison_memory_region(memory, bytes);
    } else {
        __asan_unpoison_memory_region(memory, bytes);
    }
#endif
}

void launch(unsigned blocks, unsigned threads, const std::function<void()>& body) {
    kernel_body = &body;
    gridDim.x = blocks;
    block_size = threads;
    std::vector<unsigned> order(blocks);
    for (unsigned b = 0; b < blocks; ++b) order[b] = b;
    std::shuffle(order.begin(), order.end(), random_engine);
    for (const unsigned b : order) run_block(b, threads);
}

}  // namespace simt

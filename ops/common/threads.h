// How kernels are run on several threads, without knowing whose threads they are.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace gsasr {
namespace cpu {

// Calls body(begin, end, context) for disjoint parts of 0 .. count, on several threads at once; no part is shorter than
// `grain` where that can be avoided. Returns when all is done.
using Body = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t count, int64_t grain, Body body, void* context);

struct Threads {
    ParallelFor parallel_for;
    int count;  // of threads that run at once
};

// body(index) for every index, each taken by whichever thread is free.
template <class F>
void for_each(int64_t count, const Threads& threads, const F& make_body) {
    struct Context {
        std::atomic<int64_t> next;
        int64_t count;
        const F* make_body;
    } context{{0}, count, &make_body};
    const int64_t workers = std::max<int64_t>(1, std::min<int64_t>(threads.count, count));
    threads.parallel_for(
        workers, 1,
        [](int64_t, int64_t, void* raw) {
            Context& shared = *static_cast<Context*>(raw);
            auto body = (*shared.make_body)();
            for (int64_t i = shared.next++; i < shared.count; i = shared.next++) body(i);
        },
        &context);
}

}  // namespace cpu
}  // namespace gsasr

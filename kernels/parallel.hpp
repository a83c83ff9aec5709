#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/place.hpp"

namespace bitgrid {

// A fixed number of threads that sleep between loops. Built on oneTBB; its header stays in the
// source.
class Workers {
 public:
  explicit Workers(int threads);
  ~Workers();
  int count() const { return threads_; }
  void run(std::int64_t count, const std::function<void(std::int64_t)>& body);

 private:
  struct Arena;
  int threads_;
  std::unique_ptr<Arena> arena_;
};

// Calls body(i) once for each i in [0, count), on the place's threads, in no order. What body
// computes must depend on i alone. A loop inside a loop runs on the thread that meets it, so an
// operation may use this without asking who calls. If bodies throw, the exception of the lowest i
// is thrown here after all bodies have ended.
void parallel_for(const Place& place, std::int64_t count,
                  const std::function<void(std::int64_t)>& body);

// The index of the calling thread in the running loop, 0 … place_threads − 1; 0 outside. For
// per-thread scratch.
int parallel_thread_index();
bool inside_parallel_loop();

}  // namespace bitgrid

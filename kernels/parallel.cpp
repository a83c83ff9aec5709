#include "kernels/parallel.hpp"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <exception>
#include <limits>
#include <memory>
#include <mutex>

namespace bitgrid {
namespace {
thread_local bool inside_loop = false;

struct InsideLoop {
  InsideLoop() { inside_loop = true; }
  ~InsideLoop() { inside_loop = false; }
};

// Keeps the exception of the lowest index, so that a message does not depend on timing.
class FirstFailure {
 public:
  void keep(std::int64_t i) {
    std::lock_guard lock(mutex_);
    if (i < index_) {
      index_ = i;
      exception_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::mutex mutex_;
  std::int64_t index_ = std::numeric_limits<std::int64_t>::max();
  std::exception_ptr exception_;
};
}  // namespace

namespace {

// oneTBB has no more threads than the process may use processors (a launcher may have bound it to
// one), and prints a warning where an arena wants more. The limit is raised to the largest number
// that any Workers has asked for, and stays there.
void allow_threads(int threads) {
  static std::mutex mutex;
  static int allowed = 0;
  static std::unique_ptr<tbb::global_control> control;
  std::lock_guard lock(mutex);
  if (threads <= allowed) return;
  control.reset();  // of several limits the lowest holds
  control = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism,
                                                  static_cast<std::size_t>(threads));
  allowed = threads;
}

int with_threads_allowed(int threads) {
  allow_threads(threads);
  return threads;
}

}  // namespace

struct Workers::Arena {
  explicit Arena(int threads) : arena(with_threads_allowed(threads)) {}
  tbb::task_arena arena;
};

Workers::Workers(int threads) : threads_(threads), arena_(std::make_unique<Arena>(threads)) {}
Workers::~Workers() = default;

void Workers::run(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  FirstFailure failure;
  arena_->arena.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::int64_t>(0, count, 1),
        [&](const tbb::blocked_range<std::int64_t>& range) {
          const InsideLoop mark;
          for (std::int64_t i = range.begin(); i != range.end(); ++i) {
            try {
              body(i);
            } catch (...) {
              failure.keep(i);
            }
          }
        },
        tbb::simple_partitioner());
  });
  failure.rethrow();
}

void parallel_for(const Place& place, std::int64_t count,
                  const std::function<void(std::int64_t)>& body) {
  if (place.workers && count > 1 && !inside_loop) {
    place.workers->run(count, body);
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

int parallel_thread_index() {
  return inside_loop ? tbb::this_task_arena::current_thread_index() : 0;
}

bool inside_parallel_loop() { return inside_loop; }

}  // namespace bitgrid

#include "dist/wait.hpp"

#include <fmt/core.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

using std::chrono::duration;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// Ranks may outnumber cores: after a few polls the core is offered to others, and soon left to
// them. A pause is an eighth of the time waited, so that a wait is lengthened by an eighth at most.
constexpr int kEagerPolls = 20;
constexpr microseconds kYieldFor{200};
constexpr microseconds kSleepMin{50};
constexpr milliseconds kSleepMax{1};
// A process that was stopped (SIGSTOP, a suspended virtual machine) must not take its own absence
// for that of the others: what passes between two polls counts as a second at most.
constexpr duration<double> kGapMax{1};

}  // namespace

Waiting::Waiting(const Comm& comm, std::string what)
    : what_(std::move(what)),
      world_rank_(comm.world_rank()),
      deadline_(comm.deadline()),
      last_poll_(Clock::now()) {}

void Waiting::restart() {
  waited_ = duration<double>{0};
  last_poll_ = Clock::now();
  polls_ = 0;
}

void Waiting::pause() {
  if (++polls_ <= kEagerPolls) return;
  const Clock::time_point now = Clock::now();
  waited_ += std::min<duration<double>>(now - last_poll_, kGapMax);
  last_poll_ = now;
  if (waited_ > deadline_) give_up();
  if (waited_ < kYieldFor) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::clamp<duration<double>>(waited_ / 8, kSleepMin, kSleepMax));
  }
}

void Waiting::give_up() const {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  fatal(fmt::format(
      "rank {} on {}: waited {:.1f} s for {}, longer than [run] deadline allows; a rank "
      "is lost or slower than that",
      world_rank_, host, waited_.count(), what_));
}

}  // namespace bitgrid::dist

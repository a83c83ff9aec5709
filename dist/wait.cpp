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
constexpr microseconds kYieldForSomebody{200};
// Where the kernel does not let processes copy from each other, each poll moves some 32 KiB, and a
// piece of 64 MiB at 1 ms a poll would take 2 s.
constexpr milliseconds kYieldForBytes{1000};
constexpr microseconds kSleepMin{50};
constexpr milliseconds kSleepMax{1};
// A process that was stopped (SIGSTOP, a suspended virtual machine) must not take its own absence
// for that of the others: what passes between two polls counts as a second at most.
constexpr duration<double> kGapMax{1};

}  // namespace

Waiting::Waiting(const Comm& comm, std::string what, For waited_for)
    : what_(std::move(what)),
      waited_for_(waited_for),
      world_rank_(comm.world_rank()),
      deadline_(comm.deadline()),
      last_poll_(Clock::now()) {}

void Waiting::restart(For waited_for) {
  waited_for_ = waited_for;
  waited_ = duration<double>{0};
  last_poll_ = Clock::now();
  polls_ = 0;
}

void Waiting::pause() {
  if (++polls_ <= kEagerPolls) return;
  const Clock::time_point now = Clock::now();
  if (waited_ > deadline_) give_up();  // checked one poll late, in case this rank was the slow one
  waited_ += std::min<duration<double>>(now - last_poll_, kGapMax);
  last_poll_ = now;
  const bool is_short =
      waited_for_ == For::bytes ? waited_ < kYieldForBytes : waited_ < kYieldForSomebody;
  if (is_short) {
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

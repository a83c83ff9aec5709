#pragma once

#include <chrono>
#include <string>

#include "dist/comm.hpp"

namespace bitgrid::dist {

// The one way to wait for another rank:
//   Waiting waiting(comm, "the statistics of layer 17");
//   while (!arrived()) waiting.pause();
// MPI never reports a lost peer, and its own waits burn a core, so every wait is a poll with a
// pause that grows, and a deadline. Past it the whole job is aborted with one line (exit code 3).
class Waiting {
 public:
  enum class For {
    somebody,  // who may still be busy for long: the core is soon left to others
    bytes,     // from somebody who is there: they flow while both sides poll, so keep polling
  };
  Waiting(const Comm& comm, std::string what, For waited_for = For::somebody);
  void pause();  // between two polls
  // A sign of life: the deadline starts again, and so do short pauses.
  void restart(For waited_for = For::somebody);

 private:
  using Clock = std::chrono::steady_clock;
  [[noreturn]] void give_up() const;

  std::string what_;
  For waited_for_;
  int world_rank_;
  std::chrono::duration<double> deadline_;
  std::chrono::duration<double> waited_{0};
  Clock::time_point last_poll_;
  int polls_ = 0;
};

}  // namespace bitgrid::dist

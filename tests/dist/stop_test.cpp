#include "dist/stop.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace bitgrid::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kDeadline{30};

bool hears_within(StopRequest& stop, std::chrono::seconds limit) {
  for (const auto start = Clock::now(); Clock::now() - start < limit;) {
    if (stop.requested()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(Stop, NobodyAsked) {
  const Comm world = Comm::world(kDeadline);
  StopRequest stop(world);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(stop.requested());
  stop.close();
  EXPECT_FALSE(stop.requested());
}

TEST(Stop, ASignalOnOneRankReachesAll) {
  const Comm world = Comm::world(kDeadline);
  for (const int signal_number : {SIGUSR1, SIGTERM}) {
    StopRequest stop(world);
    if (world.rank() == world.size() / 2) std::raise(signal_number);  // rank 1 of 2 and 3
    EXPECT_TRUE(hears_within(stop, kDeadline));
    EXPECT_TRUE(stop.requested());  // sticky
    stop.close();
    EXPECT_TRUE(stop.requested());
  }
}

TEST(Stop, SignalsOnAllRanks) {
  const Comm world = Comm::world(kDeadline);
  StopRequest stop(world);
  std::raise(SIGUSR1);
  std::raise(SIGTERM);
  EXPECT_TRUE(stop.requested());
  stop.close();
}

// Word that no rank asks for before the end is taken in by close; the next request starts afresh.
TEST(Stop, CloseTakesInWhatIsOnItsWay) {
  const Comm world = Comm::world(kDeadline);
  {
    StopRequest stop(world);
    if (world.rank() == 0) {
      std::raise(SIGUSR1);
      EXPECT_TRUE(stop.requested());
    }
    stop.close();
    EXPECT_TRUE(stop.requested());
  }
  StopRequest again(world);
  EXPECT_FALSE(again.requested());
  again.close();
}

TEST(Stop, PutsBackTheHandlersThatWereThere) {
  const Comm world = Comm::world(kDeadline);
  std::signal(SIGUSR1, SIG_IGN);
  {
    StopRequest stop(world);
    stop.close();
  }
  EXPECT_EQ(std::signal(SIGUSR1, SIG_DFL), SIG_IGN);
}

}  // namespace
}  // namespace bitgrid::dist

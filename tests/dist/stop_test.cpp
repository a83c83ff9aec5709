#include "dist/stop.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "dist/launch.hpp"

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
  std::signal(SIGINT, SIG_DFL);  // whoever started the tests may have had it ignored
  for (const int signal_number : {SIGUSR1, SIGTERM, SIGINT}) {
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
  const auto own = [](int) {};
  for (const int signal_number : {SIGUSR1, SIGTERM, SIGINT}) {
    std::signal(signal_number, own);
    {
      StopRequest stop(world);
      stop.close();
    }
    EXPECT_EQ(std::signal(signal_number, SIG_DFL), +own);
  }
}

// As a shell's background jobs have it.
TEST(Stop, AnIgnoredInterruptStaysIgnored) {
  const Comm world = Comm::world(kDeadline);
  std::signal(SIGINT, SIG_IGN);
  StopRequest stop(world);
  std::raise(SIGINT);
  EXPECT_FALSE(stop.requested());
  stop.close();
  std::signal(SIGINT, SIG_DFL);
}

TEST(Stop, ASecondInterruptEndsTheProcess) {
  if (mpi_running()) GTEST_SKIP() << "a process that MPI knows of must not fork";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);
    StopRequest stop(Comm::world(kDeadline));
    std::raise(SIGINT);
    std::raise(SIGTERM);
    if (!stop.requested()) _exit(1);
    std::raise(SIGINT);
    _exit(2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
}

}  // namespace
}  // namespace bitgrid::dist

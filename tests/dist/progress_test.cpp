#include "dist/progress.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "dist/tags.hpp"
#include "tests/dist/pieces.hpp"

namespace bitgrid::dist {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte> numbered(int first, std::int64_t count) {
  std::vector<std::byte> bytes(count);
  for (std::int64_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>(first + i * 7 + i / 251);
  return bytes;
}

bool a_tick_is_left(const Comm& comm) {
  int is_there = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, kTickTag, MPI_Comm_f2c(comm.mpi_handle()), &is_there,
             MPI_STATUS_IGNORE);
  return is_there != 0;
}

// Rank 0 computes twice as long as the deadline allows, with a tick per layer. The ranks behind it
// wait in a chain and only live because ticks are passed on.
TEST(Ticks, KeepThoseBehindWaiting) {
  const SmallPieces small(100);
  Comm world = Comm::world(milliseconds(1000));
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  Comm chain = world.split(0, world.rank());
  const int next = chain.rank() + 1 < chain.size() ? chain.rank() + 1 : -1;
  const std::int64_t length = 1001;
  std::vector<std::byte> hidden(length);
  PendingSends sends(chain);
  if (chain.rank() == 0) {
    for (int layer = 0; layer < 16; ++layer) {
      std::this_thread::sleep_for(milliseconds(125));
      tick(chain, next);
    }
    sends.send(numbered(3, length), next, 1);
  } else {
    receive_with_ticks(chain, hidden, chain.rank() - 1, 1, next, "hidden states");
    EXPECT_EQ(hidden, numbered(3, length));
    if (next >= 0) sends.send(std::move(hidden), next, 1);
  }
  sends.wait_all("test");
  EXPECT_EQ(sends.bytes(), 0);
  chain.set_deadline(std::chrono::seconds(30));
  chain.barrier("test");
  EXPECT_FALSE(a_tick_is_left(chain));
  chain.close();
}

TEST(Ticks, NobodyToTell) {
  const Comm world = Comm::world(std::chrono::seconds(30));
  tick(world, -1);
}

TEST(Ticks, OfTheNextMessageDoNoHarm) {
  const Comm world = Comm::world(std::chrono::seconds(30));
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  if (world.rank() == 0) {
    for (int cell = 0; cell < 50; ++cell) {
      for (int layer = 0; layer < 7; ++layer) tick(world, 1);
      world.send(numbered(cell, cell), 1, cell, "test");
    }
  } else if (world.rank() == 1) {
    for (int cell = 0; cell < 50; ++cell) {
      std::vector<std::byte> bytes(cell);
      receive_with_ticks(world, bytes, 0, cell, -1, "test");
      EXPECT_EQ(bytes, numbered(cell, cell));
    }
    EXPECT_FALSE(a_tick_is_left(world));
  }
  world.barrier("test");
}

TEST(PendingSends, KeepTheirBytesUntilTheyAreSent) {
  const SmallPieces small(1000);
  const Comm world = Comm::world(std::chrono::seconds(30));
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  const std::int64_t length = 100'000;
  if (world.rank() == 0) {
    PendingSends sends(world);
    for (int i = 0; i < 4; ++i) sends.send(numbered(i, length), 1, 2);
    const auto shared = std::make_shared<std::vector<std::byte>>(numbered(4, length));
    sends.send(shared, *shared, 1, 2);
    EXPECT_EQ(sends.bytes(), 5 * length);  // nobody has taken any yet
    EXPECT_EQ(shared.use_count(), 2);
    world.barrier("test");
    sends.wait_until_at_most(2 * length, "test");
    EXPECT_LE(sends.bytes(), 2 * length);
    sends.wait_all("test");
    EXPECT_EQ(sends.bytes(), 0);
    EXPECT_EQ(shared.use_count(), 1);
  } else {
    world.barrier("test");
    if (world.rank() == 1) {
      std::vector<std::byte> bytes(length);
      for (int i = 0; i < 5; ++i) {
        world.receive(bytes, 0, 2, "test");
        EXPECT_EQ(bytes, numbered(i, length));
      }
    }
  }
  world.barrier("test");
}

TEST(PendingSends, PollFreesWhatIsSent) {
  const Comm world = Comm::world(std::chrono::seconds(30));
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  const std::int64_t length = 1 << 20;
  if (world.rank() == 0) {
    PendingSends sends(world);
    sends.send(numbered(0, length), 1, 3);
    while (sends.bytes() > 0) sends.poll();
  } else if (world.rank() == 1) {
    std::vector<std::byte> bytes(length);
    world.receive(bytes, 0, 3, "test");
    EXPECT_EQ(bytes, numbered(0, length));
  }
  world.barrier("test");
}

}  // namespace
}  // namespace bitgrid::dist

#include "dist/comm.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tests/dist/pieces.hpp"

namespace bitgrid::dist {
namespace {

constexpr std::chrono::seconds kDeadline{30};

// What rank r's byte i is: any function that a shift by a byte or a rank would change.
std::byte pattern(int rank, std::int64_t i) {
  return static_cast<std::byte>((i * 37 + i / 251 + rank * 101 + 1) & 0xff);
}

std::vector<std::byte> pattern_bytes(int rank, std::int64_t count) {
  std::vector<std::byte> bytes(count);
  for (std::int64_t i = 0; i < count; ++i) bytes[i] = pattern(rank, i);
  return bytes;
}

// Piece sizes around which messages end exactly, one early and one late.
const std::int64_t kLengths[] = {0, 1, 99, 100, 101, 200, 1000, 12345};

TEST(Comm, KnowsItsRanks) {
  const Comm world = Comm::world(kDeadline);
  EXPECT_GE(world.rank(), 0);
  EXPECT_LT(world.rank(), world.size());
  EXPECT_EQ(world.world_rank(), world.rank());
  EXPECT_EQ(world.has_mpi(), launched_by_mpi());
  const std::int64_t ranks_seen = world.all_sum(std::int64_t{1} << world.rank(), "test");
  EXPECT_EQ(ranks_seen, (std::int64_t{1} << world.size()) - 1);
  EXPECT_EQ(world.all_max(-100 - world.rank(), "test"), -100);
  EXPECT_EQ(world.all_max(INT64_MIN, "test"), INT64_MIN);
}

TEST(Comm, BroadcastsFromEveryRootInPieces) {
  const SmallPieces small(100);
  const Comm world = Comm::world(kDeadline);
  for (int root = 0; root < world.size(); ++root) {
    for (const std::int64_t length : kLengths) {
      std::vector<std::byte> bytes(length, std::byte{0});
      if (world.rank() == root) bytes = pattern_bytes(root, length);
      world.broadcast(bytes, root, "test");
      EXPECT_EQ(bytes, pattern_bytes(root, length)) << "root " << root << " length " << length;
    }
  }
}

TEST(Comm, BroadcastsMoreThanOneWholePiece) {
  const Comm world = Comm::world(kDeadline);
  const std::int64_t length = (std::int64_t{64} << 20) + 13;
  const std::int64_t stride = 4099;  // looking at every byte would take longer than sending it
  std::vector<std::byte> bytes(length, std::byte{0});
  if (world.rank() == 0) {
    for (std::int64_t i = 0; i < length; i += stride) bytes[i] = pattern(0, i);
    bytes.back() = std::byte{77};
  }
  world.broadcast(bytes, 0, "test");
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < length - 1; i += stride) wrong += bytes[i] != pattern(0, i);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(bytes.back(), std::byte{77});
}

TEST(Comm, BroadcastsText) {
  const Comm world = Comm::world(kDeadline);
  for (int root = 0; root < world.size(); ++root) {
    for (const std::string text : {"", "one", "a text\0with a zero in it"}) {
      const std::string own = world.rank() == root ? text : "something else";
      EXPECT_EQ(world.broadcast_text(own, root, "test"), text);
    }
  }
}

TEST(Comm, GathersSharesOfAnyLength) {
  const SmallPieces small(100);
  const Comm world = Comm::world(kDeadline);
  for (const std::int64_t base : kLengths) {
    std::vector<std::int64_t> counts(world.size());
    for (int r = 0; r < world.size(); ++r) counts[r] = r % 2 == 1 ? 0 : base + 3 * r;
    const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    std::vector<std::byte> expected;
    for (int r = 0; r < world.size(); ++r) {
      const std::vector<std::byte> share = pattern_bytes(r, counts[r]);
      expected.insert(expected.end(), share.begin(), share.end());
    }
    std::vector<std::byte> bytes(total, std::byte{0});
    std::int64_t first = 0;
    for (int r = 0; r < world.rank(); ++r) first += counts[r];
    const std::vector<std::byte> own = pattern_bytes(world.rank(), counts[world.rank()]);
    std::copy(own.begin(), own.end(), bytes.begin() + first);
    world.all_gather_in_place(bytes, counts, "test");
    EXPECT_EQ(bytes, expected) << base;
  }
}

TEST(Comm, GathersTexts) {
  const SmallPieces small(100);
  const Comm world = Comm::world(kDeadline);
  const auto text_of = [](int rank) {
    return std::string(rank * 150, static_cast<char>('a' + rank));
  };
  for (int root = 0; root < world.size(); ++root) {
    const std::vector<std::string> texts = world.gather_text(text_of(world.rank()), root, "test");
    if (world.rank() != root) {
      EXPECT_TRUE(texts.empty());
      continue;
    }
    ASSERT_EQ(std::ssize(texts), world.size());
    for (int r = 0; r < world.size(); ++r) EXPECT_EQ(texts[r], text_of(r));
  }
}

TEST(Comm, SendsAroundTheRingInOrder) {
  const SmallPieces small(100);
  const Comm world = Comm::world(kDeadline);
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  const int next = (world.rank() + 1) % world.size();
  const int before = (world.rank() + world.size() - 1) % world.size();
  const auto send_all = [&] {
    for (const std::int64_t length : kLengths) {
      world.send(pattern_bytes(world.rank(), length), next, 5, "test");
    }
  };
  const auto receive_all = [&] {
    for (const std::int64_t length : kLengths) {
      std::vector<std::byte> bytes(length);
      world.receive(bytes, before, 5, "test");
      EXPECT_EQ(bytes, pattern_bytes(before, length)) << length;
    }
  };
  // Sends may wait for their receives, so one rank must begin by receiving.
  if (world.rank() == 0) {
    receive_all();
    send_all();
  } else {
    send_all();
    receive_all();
  }
  world.barrier("test");
}

TEST(Comm, KeepsTagsApart) {
  const Comm world = Comm::world(kDeadline);
  if (world.size() == 1) GTEST_SKIP() << "one rank";
  std::vector<std::byte> first(10), second(10);
  if (world.rank() == 0) {
    world.send(pattern_bytes(1, 10), 1, 1, "test");
    world.send(pattern_bytes(2, 10), 1, 2, "test");
  } else if (world.rank() == 1) {
    world.receive(second, 0, 2, "test");
    world.receive(first, 0, 1, "test");
    EXPECT_EQ(first, pattern_bytes(1, 10));
    EXPECT_EQ(second, pattern_bytes(2, 10));
  }
  world.barrier("test");
}

TEST(Comm, Splits) {
  const Comm world = Comm::world(kDeadline);
  Comm half = world.split(world.rank() % 2, -world.rank());  // odd and even, backwards
  EXPECT_EQ(half.size(), (world.size() + 1 - world.rank() % 2) / 2);
  EXPECT_EQ(half.world_rank(), world.rank());
  EXPECT_EQ(half.deadline(), world.deadline());
  // Ranks are ordered by key: the highest world rank comes first.
  const std::int64_t highest = half.all_max(world.rank(), "test");
  EXPECT_EQ(half.rank() == 0, world.rank() == highest);
  std::int64_t expected = 0;
  for (int r = world.rank() % 2; r < world.size(); r += 2) expected += r;
  EXPECT_EQ(half.all_sum(world.rank(), "test"), expected);
  half.close();
}

TEST(Attempt, KeepsErrorsOnly) {
  EXPECT_EQ(attempt([] {}), std::nullopt);
  EXPECT_EQ(attempt([] { throw Error("gram is not positive definite"); }),
            (Failure{"gram is not positive definite", false}));
  EXPECT_EQ(attempt([] { throw InputError("no key"); }), (Failure{"no key", false}));
  EXPECT_EQ(attempt([] { throw RunError("disk full"); }), (Failure{"disk full", true}));
  EXPECT_EQ(attempt([] { throw std::bad_alloc(); }), (Failure{"out of memory", false}));
  EXPECT_EQ(attempt([] { throw std::logic_error("ours"); }),
            (Failure{"unexpected error, a bug in bitgrid: ours", true}));
  // Where it is known what fails, no more than that does.
  EXPECT_EQ(attempt([] { with_context("layer 3", [] { throw std::logic_error("ours"); }); }),
            (Failure{"layer 3: unexpected error, a bug in bitgrid: ours", false}));
  EXPECT_EQ(attempt([] { with_context("layer 3", [] { throw std::bad_alloc(); }); }),
            (Failure{"out of memory", false}));
  EXPECT_EQ(attempt([] { with_context("", [] { throw RunError("disk full"); }); }),
            (Failure{"disk full", true}));
}

std::string as_told(const Comm& comm, int rank, const std::string& what) {
  return comm.size() == 1 ? what : "rank " + std::to_string(rank) + ": " + what;
}

TEST(Agree, NobodyFailed) {
  const Comm world = Comm::world(kDeadline);
  EXPECT_EQ(agree(world, std::nullopt), std::nullopt);
}

TEST(Agree, EachRankAloneIsHeard) {
  const Comm world = Comm::world(kDeadline);
  for (int failing = 0; failing < world.size(); ++failing) {
    for (const bool ends_run : {false, true}) {
      std::optional<Failure> own;
      if (world.rank() == failing) own = Failure{"reason " + std::to_string(failing), ends_run};
      const std::optional<Failure> verdict = agree(world, own);
      ASSERT_TRUE(verdict);
      EXPECT_EQ(verdict->what, as_told(world, failing, "reason " + std::to_string(failing)));
      EXPECT_EQ(verdict->ends_run, ends_run);
    }
  }
}

TEST(Agree, TheLowestRankWinsUnlessAnotherEndsTheRun) {
  const Comm world = Comm::world(kDeadline);
  const int last = world.size() - 1;
  const std::string own = "reason " + std::to_string(world.rank());
  EXPECT_EQ(agree(world, Failure{own, false}), (Failure{as_told(world, 0, "reason 0"), false}));
  EXPECT_EQ(agree(world, Failure{own, world.rank() == last}),
            (Failure{as_told(world, last, "reason " + std::to_string(last)), true}));
}

TEST(Agree, NamesRanksOfTheWorld) {
  const Comm world = Comm::world(kDeadline);
  if (world.size() < 3) GTEST_SKIP() << "fewer than three ranks";
  const int last = world.size() - 1;
  Comm upper = world.split(world.rank() > 0, world.rank());
  if (world.rank() > 0) {
    std::optional<Failure> own;
    if (world.rank() == last) own = Failure{"lost", false};
    EXPECT_EQ(agree(upper, own), (Failure{"rank " + std::to_string(last) + ": lost", false}));
  }
  upper.close();
}

// A rank that throws before a collective: the others learn of it and all go on together.
TEST(RankFailure, AllGoOnTogether) {
  const Comm world = Comm::world(kDeadline);
  const int failing = world.size() / 2;
  int done = 0;
  for (int cell = 0; cell < 3; ++cell) {
    const auto failure = attempt([&] {
      if (cell == 1 && world.rank() == failing) throw Error("cell 1 cannot be computed");
    });
    if (const auto verdict = agree(world, failure)) {
      EXPECT_EQ(cell, 1);
      EXPECT_EQ(verdict->what, as_told(world, failing, "cell 1 cannot be computed"));
      continue;
    }
    EXPECT_EQ(world.all_sum(1, "test"), world.size());
    ++done;
  }
  EXPECT_EQ(done, 2);
}

}  // namespace
}  // namespace bitgrid::dist

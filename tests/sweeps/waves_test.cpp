// How question sets are spread over waves: by hand, and by what every split owes.
#include "sweeps/waves.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "tests/oracle/random.hpp"

namespace bitgrid {
namespace {

using Sizes = std::vector<std::vector<std::int64_t>>;

std::vector<TaskPacks> sets_of(const Sizes& sizes) {
  std::vector<TaskPacks> sets;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    sets.push_back({static_cast<std::int64_t>(i), sizes[i]});
  return sets;
}

std::vector<Wave> split(const Sizes& sizes, const WaveRules& rules) {
  return split_waves(sets_of(sizes), rules);
}

using Waves = std::vector<Wave>;

TEST(Waves, OneWhereEverythingFits) {
  const Sizes sizes = {{5, 5}, {7}};
  EXPECT_EQ(split(sizes, {}), (Waves{{{0, 0, 2}, {1, 0, 1}}}));
  EXPECT_EQ(split(sizes, {false, 17, 17, 1}), (Waves{{{0, 0, 2}, {1, 0, 1}}}));
}

TEST(Waves, SetsStayWholeWhereTheyFit) {
  const Sizes sizes = {{5, 5}, {7}, {3}, {9}};
  EXPECT_EQ(split(sizes, {false, {}, 10, 1}),
            (Waves{{{0, 0, 2}}, {{1, 0, 1}, {2, 0, 1}}, {{3, 0, 1}}}));
  EXPECT_EQ(split(sizes, {false, {}, 17, 1}),
            (Waves{{{0, 0, 2}, {1, 0, 1}}, {{2, 0, 1}, {3, 0, 1}}}));
}

TEST(Waves, TheFirstJobMayAskNothing) {
  const Sizes sizes = {{5, 5}, {7}};
  EXPECT_EQ(split(sizes, {false, 9, 20, 1}), (Waves{{}, {{0, 0, 2}, {1, 0, 1}}}));
  EXPECT_EQ(split(sizes, {false, 10, 20, 1}), (Waves{{{0, 0, 2}}, {{1, 0, 1}}}));
  EXPECT_EQ(split({}, {false, 9, 20, 1}), (Waves{{}}));
  EXPECT_EQ(split({}, {}), Waves{});
}

TEST(Waves, ALargeSetComesInParts) {
  const Sizes sizes = {{2}, {4, 4, 4, 20, 1}, {3}};
  EXPECT_EQ(split(sizes, {false, 5, 8, 1}),
            (Waves{{{0, 0, 1}}, {{1, 0, 2}}, {{1, 2, 3}}, {{1, 3, 4}}, {{1, 4, 5}, {2, 0, 1}}}));
}

TEST(Waves, SetBySet) {
  const Sizes sizes = {{2, 2}, {1}, {5, 5}};
  EXPECT_EQ(split(sizes, {true, PackRooms::kNoLimit, PackRooms::kNoLimit, 1}),
            (Waves{{{0, 0, 2}}, {{1, 0, 1}}, {{2, 0, 2}}}));
  EXPECT_EQ(split(sizes, {true, {}, 5, 1}),
            (Waves{{{0, 0, 2}}, {{1, 0, 1}}, {{2, 0, 1}}, {{2, 1, 2}}}));
  EXPECT_EQ(split(sizes, {true, 3, PackRooms::kNoLimit, 1}),
            (Waves{{}, {{0, 0, 2}}, {{1, 0, 1}}, {{2, 0, 2}}}));
}

// Of four packs of 10 each of two replicas has 20, and 10 more at most.
TEST(Waves, ReplicasShareThem) {
  EXPECT_EQ(dealt_tokens(40, 10, 2), 30);
  EXPECT_EQ(dealt_tokens(10, 10, 2), 10);
  EXPECT_EQ(split({{10, 10, 10, 10}}, {false, {}, 30, 2}).size(), 1u);
  EXPECT_EQ(split({{10, 10, 10, 10}}, {false, {}, 29, 2}).size(), 2u);
}

TEST(Waves, EveryPackIsAskedOnceInOrderAndFits) {
  test::Random random(3);
  for (int trial = 0; trial < 300; ++trial) {
    Sizes sizes(static_cast<std::size_t>(random.below(5)));
    for (auto& packs : sizes)
      for (std::int64_t n = 1 + random.below(6); n > 0; --n) packs.push_back(1 + random.below(30));
    WaveRules rules{
        trial % 2 == 0, {}, 1 + random.below(60), static_cast<int>(1 + random.below(3))};
    if (trial % 3 != 0) rules.first_room = random.below(40);
    const std::vector<TaskPacks> sets = sets_of(sizes);
    const Waves waves = split_waves(sets, rules);
    std::size_t task = 0;
    std::int64_t pack = 0;
    for (std::size_t w = 0; w < waves.size(); ++w) {
      const bool first = w == 0 && rules.first_room;
      std::int64_t packs = 0;
      for (const TaskPart& part : waves[w]) {
        ASSERT_EQ(part.task, static_cast<std::int64_t>(task));
        ASSERT_EQ(part.first_pack, pack);
        ASSERT_GT(part.pack_end, pack);
        packs += part.pack_end - pack;
        pack = part.pack_end;
        if (pack < std::ssize(sizes[task])) continue;
        ++task;
        pack = 0;
      }
      ASSERT_TRUE(first || packs > 0);
      if (packs > 1 || (first && packs > 0)) {
        ASSERT_LE(wave_tokens(waves[w], sets, rules.replicas),
                  first ? *rules.first_room : rules.room);
      }
      if (rules.set_by_set) {
        ASSERT_LE(waves[w].size(), 1u);
      }
    }
    ASSERT_EQ(task, sizes.size());
  }
}

}  // namespace
}  // namespace bitgrid

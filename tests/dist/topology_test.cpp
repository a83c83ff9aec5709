#include "dist/topology.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

Topology made(int ranks, int stages, int replicas, std::int64_t layers, std::int64_t shards,
              std::int64_t cells) {
  return make_topology(ranks, 0, stages, replicas, layers, shards, cells);
}

std::string refusal(int ranks, int stages, int replicas, std::int64_t layers, std::int64_t shards) {
  try {
    make_topology(ranks, 0, stages, replicas, layers, shards, 10);
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Topology, GivenNumbersAreKept) {
  EXPECT_EQ(make_topology(6, 4, 3, 2, 32, 16, 1), (Topology{3, 2, 4}));
  EXPECT_EQ(made(6, 1, 6, 32, 16, 100), (Topology{1, 6, 0}));
}

TEST(Topology, OneGivenNumberSetsTheOther) {
  EXPECT_EQ(made(6, 0, 2, 32, 16, 1), (Topology{3, 2, 0}));
  EXPECT_EQ(made(6, 2, 0, 32, 16, 1), (Topology{2, 3, 0}));
}

TEST(Topology, FewCellsGetReplicasAndManyGetStages) {
  EXPECT_EQ(made(1, 0, 0, 32, 16, 10), (Topology{1, 1, 0}));
  EXPECT_EQ(made(4, 0, 0, 32, 16, 1), (Topology{1, 4, 0}));
  EXPECT_EQ(made(4, 0, 0, 32, 16, 0), (Topology{1, 4, 0}));
  EXPECT_EQ(made(4, 0, 0, 32, 16, 1000), (Topology{4, 1, 0}));
  EXPECT_EQ(made(16, 0, 0, 80, 16, 1000), (Topology{16, 1, 0}));
}

TEST(Topology, AutoRespectsLayersAndShards) {
  EXPECT_EQ(made(8, 0, 0, 32, 2, 1), (Topology{4, 2, 0}));     // two shards: two replicas at most
  EXPECT_EQ(made(8, 0, 0, 2, 16, 1000), (Topology{2, 4, 0}));  // two layers: two stages at most
  EXPECT_EQ(made(5, 0, 0, 32, 1, 1), (Topology{5, 1, 0}));
}

TEST(Topology, AutoIsAlwaysLegalOrRefused) {
  for (int ranks = 1; ranks <= 24; ++ranks) {
    for (const int layers : {1, 2, 3, 7, 32}) {
      for (const int shards : {1, 2, 3, 5, 16}) {
        for (const int cells : {1, 3, 50}) {
          bool has_split = false;
          for (int s = 1; s <= ranks; ++s) {
            has_split |= ranks % s == 0 && s <= layers && ranks / s <= shards;
          }
          if (!has_split) {
            EXPECT_THROW(made(ranks, 0, 0, layers, shards, cells), InputError);
            continue;
          }
          const Topology t = made(ranks, 0, 0, layers, shards, cells);
          EXPECT_EQ(t.stages * t.replicas, ranks);
          EXPECT_LE(t.stages, layers);
          EXPECT_LE(t.replicas, shards);
        }
      }
    }
  }
}

TEST(Topology, RefusalsSayWhatWasExpected) {
  using testing::AllOf;
  using testing::HasSubstr;
  EXPECT_THAT(refusal(6, 2, 2, 32, 16), AllOf(HasSubstr("2 × 2"), HasSubstr("ranks, 6")));
  EXPECT_THAT(refusal(6, 4, 0, 32, 16), AllOf(HasSubstr("stages = 4"), HasSubstr("6 ranks")));
  EXPECT_THAT(refusal(6, 0, 4, 32, 16), AllOf(HasSubstr("replicas = 4"), HasSubstr("6 ranks")));
  EXPECT_THAT(refusal(6, 6, 1, 5, 16), AllOf(HasSubstr("6 stages"), HasSubstr("5 layers")));
  EXPECT_THAT(refusal(6, 1, 6, 32, 5), AllOf(HasSubstr("6 replicas"), HasSubstr("5 shards")));
  EXPECT_THAT(refusal(7, 0, 0, 4, 5), AllOf(HasSubstr("7 ranks"), HasSubstr("at most 4 stages")));
  EXPECT_THAT(refusal(6, 0, 6, 32, 5), HasSubstr("6 replicas"));
  EXPECT_THAT(refusal(6, -2, -3, 32, 16), HasSubstr("positive"));
}

TEST(Topology, RanksAndPlacesCorrespond) {
  std::set<std::pair<int, int>> places;
  for (int rank = 0; rank < 6; ++rank) {
    const Topology t = make_topology(6, rank, 3, 2, 32, 16, 1);
    EXPECT_EQ(t.rank_of(t.stage(), t.replica()), rank);
    EXPECT_EQ(t.stage(), rank / 2);
    places.insert({t.stage(), t.replica()});
  }
  EXPECT_EQ(places.size(), 6u);
}

TEST(Topology, EveryLayerHasOneStage) {
  for (const int stages : {1, 2, 3, 7, 32}) {
    const Topology t = made(stages, stages, 1, 32, 16, 1);
    std::int64_t next = 0;
    for (int s = 0; s < stages; ++s) {
      EXPECT_EQ(t.layers(32, s).first, next);
      EXPECT_GT(t.layers(32, s).count, 0);
      next = t.layers(32, s).end();
    }
    EXPECT_EQ(next, 32);
  }
}

}  // namespace
}  // namespace bitgrid::dist

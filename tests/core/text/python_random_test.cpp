#include "core/text/python_random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

// Expected values were printed by CPython 3.11.

namespace bitgrid {
namespace {

using testing::ElementsAre;

template <class Fn>
auto draws(int count, Fn&& fn) {
  std::vector<decltype(fn())> values;
  for (int i = 0; i < count; ++i) values.push_back(fn());
  return values;
}

TEST(PythonRandom, Bits) {
  PythonRandom random(0);
  EXPECT_THAT(draws(5, [&] { return random.getrandbits(32); }),
              ElementsAre(3626764237, 1654615998, 3255389356, 3823568514, 1806341205));
}

TEST(PythonRandom, Floats) {
  PythonRandom zero(0);
  EXPECT_THAT(draws(2, [&] { return zero.random(); }),
              ElementsAre(0.8444218515250481, 0.7579544029403025));
  PythonRandom fortytwo(42);
  EXPECT_THAT(draws(3, [&] { return fortytwo.random(); }),
              ElementsAre(0.6394267984578837, 0.025010755222666936, 0.27502931836911926));
}

TEST(PythonRandom, Integers) {
  PythonRandom zero(0);
  EXPECT_THAT(draws(8, [&] { return zero.randint(0, 2450000); }),
              ElementsAre(1615835, 1764005, 169803, 1085975, 2144441, 2038128, 1698416, 1272185));
  PythonRandom two(2);
  EXPECT_THAT(draws(4, [&] { return two.randint(0, 2450000); }),
              ElementsAre(237193, 384134, 355978, 1514384));
  PythonRandom train(0);
  EXPECT_THAT(draws(5, [&] { return train.randint(0, 356316); }),
              ElementsAre(201979, 220500, 21225, 135746, 268055));
  PythonRandom validation(0);
  EXPECT_THAT(draws(5, [&] { return validation.randint(0, 45575); }),
              ElementsAre(25247, 27562, 2653, 16968, 33506));
}

TEST(PythonRandom, Shuffle) {
  PythonRandom random(42);
  std::vector<int> items(10);
  std::iota(items.begin(), items.end(), 0);
  random.shuffle(items);
  EXPECT_THAT(items, ElementsAre(7, 3, 2, 8, 5, 6, 9, 4, 0, 1));
  std::vector<int> none;
  random.shuffle(none);
  EXPECT_TRUE(none.empty());
}

TEST(PythonRandom, Sample) {
  PythonRandom hundred(1234);
  EXPECT_THAT(hundred.sample(100, 5), ElementsAre(99, 56, 14, 0, 11));
  EXPECT_THAT(hundred.sample(100, 5), ElementsAre(74, 4, 85, 88, 10));
  EXPECT_THAT(PythonRandom(1234).sample(5, 5), ElementsAre(3, 0, 4, 2, 1));
  EXPECT_THAT(PythonRandom(1234).sample(20, 5), ElementsAre(14, 3, 0, 2, 1));
  EXPECT_THAT(PythonRandom(1234).sample(22, 5), ElementsAre(14, 3, 0, 2, 18));
}

TEST(PythonRandom, BitsOfEveryWidth) {
  PythonRandom random(7);
  std::vector<std::uint64_t> values;
  for (const int bits : {1, 5, 33, 48, 64, 64}) values.push_back(random.getrandbits(bits));
  EXPECT_THAT(values, ElementsAre(0u, 30u, 647892279u, 13592072266832u, 15149836622520594227u,
                                  1736392818365009963u));
}

// A seed counts by its absolute value; one of more than 32 bits is a key of two words.
TEST(PythonRandom, Seeds) {
  EXPECT_EQ(PythonRandom(-5).getrandbits(32), PythonRandom(5).getrandbits(32));
  EXPECT_EQ(PythonRandom(1234567890123).getrandbits(32), 3532746698u);
  EXPECT_EQ(PythonRandom(4294967296).getrandbits(32), 485306839u);
  EXPECT_EQ(PythonRandom(INT64_MIN).getrandbits(32), 2377109768u);
}

// More than five draws: the limit between the two ways of sampling moves with their number (to 85
// for 7 and 8).
TEST(PythonRandom, LargerSamples) {
  PythonRandom random(3);
  EXPECT_THAT(random.sample(1000, 7), ElementsAre(243, 606, 557, 133, 378, 937, 618));
  EXPECT_THAT(random.sample(60, 7), ElementsAre(30, 40, 37, 4, 38, 0, 53));
  EXPECT_THAT(random.sample(85, 8), ElementsAre(60, 33, 70, 29, 24, 84, 69, 82));
  EXPECT_THAT(random.sample(86, 8), ElementsAre(60, 50, 81, 19, 29, 66, 49, 1));
}

TEST(PythonRandom, Choices) {
  EXPECT_THAT(PythonRandom(9).choices(57, 6), ElementsAre(26, 21, 7, 49, 0, 28));
}

TEST(PythonRandom, FarIntoTheStreamAndWideRanges) {
  PythonRandom random(11);
  for (int i = 0; i < 5000; ++i) random.getrandbits(32);
  EXPECT_THAT(draws(3, [&] { return random.randint(-1000000000000000, 1000000000000000); }),
              ElementsAre(-869455731874250, -863207625367918, -563500434247725));
}

}  // namespace
}  // namespace bitgrid

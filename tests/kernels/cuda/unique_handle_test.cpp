#include "kernels/unique_handle.hpp"

#include <gtest/gtest.h>

#include <type_traits>
#include <utility>
#include <vector>

namespace bitgrid {
namespace {

// Handles are numbers; none is not zero, so that a handle of value zero must work.
std::vector<int>& released() {
  static std::vector<int> list;
  return list;
}
struct NumberTraits {
  using Raw = int;
  static constexpr Raw none = -1;
  static void release(Raw raw) noexcept { released().push_back(raw); }
};
using Number = UniqueHandle<NumberTraits>;
using List = std::vector<int>;

static_assert(!std::is_copy_constructible_v<Number> && !std::is_copy_assignable_v<Number>);
static_assert(std::is_nothrow_move_constructible_v<Number> &&
              std::is_nothrow_move_assignable_v<Number>);
static_assert(sizeof(Number) == sizeof(int));

class UniqueHandleTest : public testing::Test {
 protected:
  void SetUp() override { released().clear(); }
};

TEST_F(UniqueHandleTest, ReleasesOnceAtTheEnd) {
  {
    const Number zero(0);
    const Number none;
    EXPECT_TRUE(static_cast<bool>(zero));
    EXPECT_FALSE(static_cast<bool>(none));
    EXPECT_EQ(zero.get(), 0);
    EXPECT_EQ(none.get(), -1);
  }
  EXPECT_EQ(released(), List{0});
}

TEST_F(UniqueHandleTest, MovesWithoutReleasing) {
  Number first(7);
  Number second(std::move(first));
  EXPECT_FALSE(static_cast<bool>(first));
  EXPECT_EQ(second.get(), 7);
  EXPECT_EQ(released(), List{});
}

TEST_F(UniqueHandleTest, AssignmentReleasesWhatWasHeld) {
  Number first(1);
  Number second(2);
  second = std::move(first);
  EXPECT_EQ(second.get(), 1);
  EXPECT_FALSE(static_cast<bool>(first));
  EXPECT_EQ(released(), List{2});
  second = Number();
  EXPECT_EQ(released(), (List{2, 1}));
}

TEST_F(UniqueHandleTest, AssignmentToItselfKeepsTheHandle) {
  Number number(4);
  Number& same = number;
  number = std::move(same);
  EXPECT_EQ(number.get(), 4);
  EXPECT_EQ(released(), List{});
}

TEST_F(UniqueHandleTest, GivesAwayAndResets) {
  Number number(5);
  EXPECT_EQ(number.release(), 5);
  EXPECT_FALSE(static_cast<bool>(number));
  number.reset();
  EXPECT_EQ(released(), List{});
  number = Number(6);
  number.reset();
  number.reset();
  EXPECT_EQ(released(), List{6});
}

TEST_F(UniqueHandleTest, PutReleasesAndReceives) {
  Number number(8);
  *number.put() = 9;
  EXPECT_EQ(number.get(), 9);
  EXPECT_EQ(released(), List{8});
}

TEST_F(UniqueHandleTest, LivesInContainers) {
  {
    std::vector<Number> numbers;
    for (int i = 0; i < 5; ++i) numbers.emplace_back(i);
    numbers.erase(numbers.begin() + 1);
    EXPECT_EQ(released(), List{1});
  }
  EXPECT_EQ(released().size(), 5u);
}

}  // namespace
}  // namespace bitgrid

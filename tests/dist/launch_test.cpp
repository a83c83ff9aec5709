#include "dist/launch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

// The launcher's part of the environment, replaced for the length of a test.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& set) {
    for (const char* name : kNames) {
      const char* value = std::getenv(name);
      before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      unsetenv(name);
    }
    for (const auto& [name, value] : set) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        setenv(name.c_str(), value->c_str(), 1);
      } else {
        unsetenv(name.c_str());
      }
    }
  }

 private:
  static constexpr const char* kNames[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK",    "PMI_RANK",
                                           "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_STEP_ID"};
  std::map<std::string, std::optional<std::string>> before_;
};

bool launched_in(const std::map<std::string, std::string>& set) {
  const Environment environment(set);
  return launched_by_mpi();
}

TEST(Launch, KnowsItsLaunchers) {
  EXPECT_FALSE(launched_in({}));
  EXPECT_TRUE(launched_in({{"OMPI_COMM_WORLD_SIZE", "4"}}));
  EXPECT_TRUE(launched_in({{"PMIX_RANK", "0"}}));
  EXPECT_TRUE(launched_in({{"PMI_RANK", "0"}}));
  EXPECT_TRUE(launched_in({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "4"}}));
  EXPECT_TRUE(launched_in({{"OMPI_COMM_WORLD_SIZE", "4"}, {"SLURM_STEP_NUM_TASKS", "2"}}));
}

TEST(Launch, OneTaskOfSlurmIsARunOfItsOwn) {
  EXPECT_FALSE(launched_in({{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_STEP_ID", "0"}}));
  // A batch script's own environment: no step, so this is the script's single process.
  EXPECT_FALSE(launched_in({{"SLURM_NTASKS", "4"}}));
}

TEST(Launch, TasksThatCannotFindEachOtherAreRefused) {
  for (const std::map<std::string, std::string>& set :
       {std::map<std::string, std::string>{{"SLURM_STEP_NUM_TASKS", "4"}},
        {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}},
        {{"SLURM_STEP_NUM_TASKS", "4"}, {"PMI_RANK", "0"}}}) {
    try {
      launched_in(set);
      ADD_FAILURE() << "not refused";
    } catch (const InputError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("4 tasks"));
      EXPECT_THAT(e.what(), testing::HasSubstr("srun --mpi=pmix"));
    }
  }
}

}  // namespace
}  // namespace bitgrid::dist

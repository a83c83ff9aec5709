// Against folders that look like /proc and /sys of several kinds of machines.
#include "sweeps/machine_memory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace bitgrid {
namespace {

namespace fs = std::filesystem;

class MachineMemory : public testing::Test {
 protected:
  MachineMemory()
      : root_(fs::temp_directory_path() / ("machine_memory." + std::to_string(getpid()))) {
    fs::remove_all(root_);
    write("proc/meminfo", "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  800 kB\n");
  }
  ~MachineMemory() override { fs::remove_all(root_); }
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  std::int64_t bytes() const { return machine_memory(root_.string()); }

 private:
  fs::path root_;
};

constexpr std::int64_t kAvailable = 800 * 1024;

TEST_F(MachineMemory, WithoutControlGroups) {
  EXPECT_EQ(bytes(), kAvailable);
  write("proc/meminfo", "");
  EXPECT_EQ(bytes(), 0);
  EXPECT_GT(machine_memory(), 0);
}

TEST_F(MachineMemory, VersionTwoCountsTheGroupsAround) {
  write("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
  EXPECT_EQ(bytes(), kAvailable);
  write("sys/fs/cgroup/slurm/job_7/memory.max", "700000\n");
  EXPECT_EQ(bytes(), 700000);
  write("sys/fs/cgroup/slurm/memory.max", "900000\n");
  EXPECT_EQ(bytes(), 700000);
  write("sys/fs/cgroup/memory.max", "600000\n");
  EXPECT_EQ(bytes(), 600000);
}

TEST_F(MachineMemory, VersionOneHasAHierarchyForMemory) {
  write("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n3:cpuset:/a\n0::/\n");
  write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(bytes(), kAvailable);
  write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500000\n");
  EXPECT_EQ(bytes(), 500000);
}

// A container sees the path that its host knows, and its own group where all of them begin.
TEST_F(MachineMemory, InsideAContainer) {
  write("proc/self/cgroup", "4:memory:/docker/abc\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000\n");
  EXPECT_EQ(bytes(), 400000);
}

TEST_F(MachineMemory, LinesThatAreNoGroups) {
  write("proc/self/cgroup", "\n:\nmemory\n::\n4:memory:\n");
  EXPECT_EQ(bytes(), kAvailable);
}

}  // namespace
}  // namespace bitgrid

#include "tests/house/layering.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace bitgrid::house {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Layering, TheProjectKeepsItsArrows) {
  const LayeringReport report = check_layering(BITGRID_SOURCE_DIR);
  EXPECT_THAT(report.faults, IsEmpty());
  EXPECT_GT(report.files, 50);
}

// A small tree with sound files in it; each test plants one fault.
class LayeringTree : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "layering_tree";
    fs::remove_all(root_);
    write("kernels/a.hpp", "#pragma once\n#include <vector>\n");
    write("kernels/multiversion.hpp", "#pragma once\n#if defined(__GNUC__)\n#endif\n");
    write("core/b.hpp", "#pragma once\n#include \"kernels/a.hpp\"\n");
    write("core/b.cpp", "#include \"core/b.hpp\"\n#include <nlohmann/json.hpp>\n#if 1\n#endif\n");
    write("dist/c.hpp", "#pragma once\n#include \"kernels/a.hpp\"\n");
    write("results/d.cpp", "#include \"core/b.hpp\"\n#include \"kernels/a.hpp\"\n");
    write("sweeps/e.cpp", "#include \"core/b.hpp\"\n#include \"dist/c.hpp\"\n");
    write("core/fwd.hpp", "#pragma once\n#include <nlohmann/json_fwd.hpp>\n");
    write("tests/f.cpp",
          "#include \"sweeps/g.hpp\"\n#include \"tests/h.hpp\"\n#include \"h.hpp\"\n");
    write("tests/h.hpp", "#pragma once\n#include <gtest/gtest.h>\n");
    write("sweeps/g.hpp", "#pragma once\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/" + file).parent_path());
    std::ofstream(root_ + "/" + file) << text;
  }
  std::vector<std::string> faults() { return check_layering(root_).faults; }

 private:
  std::string root_;
};

TEST_F(LayeringTree, SoundTreeHasNoFaults) { EXPECT_THAT(faults(), IsEmpty()); }

TEST_F(LayeringTree, ArrowsThatPointBack) {
  write("kernels/bad.cpp", "#include \"core/b.hpp\"\n");
  write("core/bad.cu", "\n#include \"results/r.hpp\"\n");
  write("results/r.hpp", "#pragma once\n#include \"sweeps/g.hpp\"\n");
  write("results/s.cpp", "  #  include \"dist/c.hpp\"  // for ranks\n");
  EXPECT_THAT(faults(),
              ElementsAre("core/bad.cu:2: core must not include results (\"results/r.hpp\")",
                          "kernels/bad.cpp:1: kernels must not include core (\"core/b.hpp\")",
                          "results/r.hpp:2: results must not include sweeps (\"sweeps/g.hpp\")",
                          "results/s.cpp:1: results must not include dist (\"dist/c.hpp\")"));
}

TEST_F(LayeringTree, CoreAndDistDoNotKnowEachOther) {
  write("core/bad.cpp", "#include \"dist/c.hpp\"\n");
  write("dist/bad.cpp", "#include \"core/b.hpp\"\n");
  EXPECT_THAT(faults(), ElementsAre("core/bad.cpp:1: core must not include dist (\"dist/c.hpp\")",
                                    "dist/bad.cpp:1: dist must not include core (\"core/b.hpp\")"));
}

TEST_F(LayeringTree, TheProductDoesNotNeedItsTests) {
  write("sweeps/bad.cpp", "#include \"tests/h.hpp\"\n");
  EXPECT_THAT(faults(),
              ElementsAre("sweeps/bad.cpp:1: sweeps must not include tests (\"tests/h.hpp\")"));
}

TEST_F(LayeringTree, IncludesAreNamedFromTheRoot) {
  write("core/bad.cpp", "#include \"b.hpp\"\n#include \"core/gone.hpp\"\n");
  EXPECT_THAT(
      faults(),
      ElementsAre(
          "core/bad.cpp:1: \"b.hpp\" is not a file of the project, named from its root",
          "core/bad.cpp:2: \"core/gone.hpp\" is not a file of the project, named from its root"));
}

TEST_F(LayeringTree, HeavyHeadersBelongInSources) {
  write("core/bad.hpp", "#pragma once\n#include <nlohmann/json.hpp>\n#include <mpi.h>\n");
  write("results/bad.hpp", "#pragma once\n#include <H5Cpp.h>\n#include <cuda_runtime.h>\n");
  EXPECT_THAT(
      faults(),
      ElementsAre("core/bad.hpp:2: <nlohmann/json.hpp> belongs in a source, not in a header",
                  "core/bad.hpp:3: <mpi.h> belongs in a source, not in a header",
                  "results/bad.hpp:2: <H5Cpp.h> belongs in a source, not in a header",
                  "results/bad.hpp:3: <cuda_runtime.h> belongs in a source, not in a header"));
}

TEST_F(LayeringTree, HeadersMeanTheSameEverywhere) {
  write("core/bad.hpp", "#ifndef CORE_BAD\n  using namespace std;\n");
  EXPECT_THAT(faults(),
              ElementsAre("core/bad.hpp:1: a header has no #if: it means the same in every build",
                          "core/bad.hpp:2: a header has no using namespace",
                          "core/bad.hpp:1: a header begins with #pragma once"));
}

}  // namespace
}  // namespace bitgrid::house

// Reading a sweep file: what each key becomes, in which order cells come, and the text that is
// stored.
#include "sweeps/sweep.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

using testing::ElementsAre;
using testing::IsSupersetOf;

constexpr const char* kHead = "model = \"m\"\noutput = \"o\"\n";

Sweep parse(const std::string& text, const SweepOverrides& overrides = {}) {
  return parse_sweep(text, "/sweeps/a/demo.toml", overrides);
}

std::vector<std::string> names(const Sweep& sweep) {
  std::vector<std::string> out;
  for (const auto& cell : sweep.cells) out.push_back(recipe_name(cell));
  return out;
}

std::vector<std::string> cells_of(const std::string& grids, const std::string& patterns = "") {
  SweepOverrides overrides;
  overrides.cells = patterns;
  return names(only_chosen(parse(kHead + grids, overrides)));
}

TEST(Sweep, DefaultsOfASmallFile) {
  const Sweep s = parse(std::string(kHead) + "[[grid]]\nmethod = \"fp16\"\n");
  EXPECT_EQ(s.file, "/sweeps/a/demo.toml");
  EXPECT_EQ(s.name, "demo");
  EXPECT_EQ(s.model, "/sweeps/a/m");
  EXPECT_EQ(s.output, "/sweeps/a/o");
  EXPECT_EQ(s.data_dir, "/sweeps/a/data");
  EXPECT_EQ(s.calibration, Sweep::Calibration{});
  EXPECT_EQ(s.evaluation, Sweep::Evaluation{});
  EXPECT_EQ(s.run, Sweep::Run{});
  EXPECT_THAT(names(s), ElementsAre("fp16"));
}

TEST(Sweep, EveryKey) {
  const Sweep s = parse(R"(
name = "n"
model = "../m/"
output = "/abs/./out"
[data]
dir = "x/../d"
[calibration]
data = "texts/a.jsonl.gz"
windows = 3
length = 17
seed = 9223372036854775807
shards = 5
[evaluation]
perplexity = ["c4-new", "b.txt", "ptb"]
length = 33
bos = "never"
divergence = false
tasks = ["piqa", "own/quiz.toml"]
profile = "study"
mmlu_shots = 2
limit = 7
wave = "task"
[[grid]]
method = "rtn"
bits = 4
activation_bits = 16
[run]
stages = 2
replicas = 3
threads = 4
device = "cuda"
memory = "1.5 GiB"
deadline = "2h"
reproducible = true
keep = "metrics"
)");
  EXPECT_EQ(s.name, "n");
  EXPECT_EQ(s.model, "/sweeps/m");
  EXPECT_EQ(s.output, "/abs/out");
  EXPECT_EQ(s.data_dir, "/sweeps/a/d");
  EXPECT_EQ(s.calibration, (Sweep::Calibration{"/sweeps/a/texts/a.jsonl.gz", 3, 17, INT64_MAX, 5}));
  EXPECT_EQ(s.evaluation, (Sweep::Evaluation{{"c4-new", "/sweeps/a/b.txt", "ptb"},
                                             33,
                                             "never",
                                             false,
                                             {"piqa", "/sweeps/a/own/quiz.toml"},
                                             "study",
                                             2,
                                             7,
                                             "task"}));
  EXPECT_EQ(s.run, (Sweep::Run{2, 3, 4, "cuda", 1610612736, 7200, true, false}));
  EXPECT_THAT(names(s), ElementsAre("rtn-w4-pc"));
}

TEST(Sweep, AutoIsZero) {
  const Sweep s = parse(std::string(kHead) +
                        "[[grid]]\nmethod = \"fp16\"\n[run]\nstages = \"auto\"\n"
                        "replicas = \"auto\"\nthreads = \"auto\"\nmemory = \"auto\"\n");
  EXPECT_EQ(s.run, Sweep::Run{});
}

TEST(Cells, AxesRunInTheOrderInWhichTheyAreWritten) {
  EXPECT_THAT(cells_of("[[grid]]\nmethod = \"rtn\"\ngroup = [32, -1]\nbits = [4, 3]\n"),
              ElementsAre("rtn-w4-g32", "rtn-w3-g32", "rtn-w4-pc", "rtn-w3-pc"));
  EXPECT_THAT(cells_of("[[grid]]\nbits = [4, 3]\nmethod = \"rtn\"\ngroup = [32, -1]\n"),
              ElementsAre("rtn-w4-g32", "rtn-w4-pc", "rtn-w3-g32", "rtn-w3-pc"));
  EXPECT_THAT(cells_of("[[grid]]\nmethod = [\"rtn\", \"gptq\"]\nbits = [4, 3]\n"),
              ElementsAre("rtn-w4-pc", "rtn-w3-pc", "gptq-w4-pc", "gptq-w3-pc"));
}

TEST(Cells, OptionsAreAxesToo) {
  EXPECT_THAT(cells_of("[[grid]]\nmethod = \"gptq\"\nbits = 4\norder = [\"static\", \"none\"]\n"
                       "damp = [0.01, 1]\n"),
              ElementsAre("gptq-w4-pc", "gptq-w4-pc-damp=1", "gptq-w4-pc-order=none",
                          "gptq-w4-pc-damp=1-order=none"));
}

TEST(Cells, GridsFollowEachOtherAndTwinsAreOneCell) {
  EXPECT_THAT(cells_of("[[grid]]\nmethod = \"fp16\"\nbits = 16\n"
                       "[[grid]]\nmethod = \"rtn\"\nbits = [4, 3, 4.0]\n"
                       "[[grid]]\nmethod = \"rtn\"\nbits = [3, 2]\nsymmetric = false\n"
                       "[[grid]]\nmethod = \"fp16\"\n"),
              ElementsAre("fp16", "rtn-w4-pc", "rtn-w3-pc", "rtn-w2-pc"));
}

TEST(Cells, InlineTablesAreGridsToo) {
  EXPECT_THAT(cells_of("grid = [{method = \"rtn\", bits = [2, 3]}, {method = \"fp16\"}]\n"),
              ElementsAre("rtn-w2-pc", "rtn-w3-pc", "fp16"));
}

TEST(Cells, PatternsChooseAndKeepTheOrder) {
  const std::string grids =
      "[[grid]]\nmethod = [\"rtn\", \"gptq\"]\nbits = [4, 3]\ngroup = [32, -1]\n";
  EXPECT_THAT(cells_of(grids, "gptq-w4-*"), ElementsAre("gptq-w4-g32", "gptq-w4-pc"));
  EXPECT_THAT(cells_of(grids, "gptq-w3-pc,rtn-w?-g32"),
              ElementsAre("rtn-w4-g32", "rtn-w3-g32", "gptq-w3-pc"));
  EXPECT_THAT(cells_of(grids, "*[4]-pc"), ElementsAre("rtn-w4-pc", "gptq-w4-pc"));
  EXPECT_EQ(cells_of(grids, "*").size(), 8u);
}

TEST(Overrides, SetReplacesAndAdds) {
  SweepOverrides overrides;
  overrides.set = {
      "calibration.windows=16", "calibration.data=ptb", "evaluation.perplexity=[\"c4\"]",
      "run.reproducible=true",  "name=\"quoted\"",      "model=/models/größer b",
      "calibration.windows=17"};
  const Sweep s = parse(
      std::string(kHead) + "[calibration]\nwindows = 8\n[[grid]]\nmethod = \"fp16\"\n", overrides);
  EXPECT_EQ(s.calibration.windows, 17);
  EXPECT_EQ(s.calibration.data, "ptb");
  EXPECT_THAT(s.evaluation.perplexity, ElementsAre("c4"));
  EXPECT_TRUE(s.run.reproducible);
  EXPECT_EQ(s.name, "quoted");
  EXPECT_EQ(s.model, "/models/größer b");
}

TEST(Overrides, OutIsRelativeToTheWorkingDirectory) {
  SweepOverrides overrides;
  overrides.out = "elsewhere/./x/";
  const std::string grid = "[[grid]]\nmethod = \"fp16\"\n";
  const auto here = std::filesystem::current_path() / "elsewhere/x";
  EXPECT_EQ(parse(kHead + grid, overrides).output, here.string());
  EXPECT_EQ(parse("model = \"m\"\n" + grid, overrides).output, here.string());
}

// Every kind of value that is not the default, so that a field that is left out of the text shows.
constexpr const char* kFull = R"(
name = "a \"b\" \\ ü"
model = "m"
output = "o"
[data]
dir = "d"
[calibration]
data = "ptb-new"
windows = 7
length = 99
seed = 3
shards = 4
[evaluation]
perplexity = ["wikitext2", "x/y.txt"]
length = 64
bos = "always"
[run]
stages = 2
threads = 5
device = "cpu"
memory = "3GB"
deadline = "0.1s"
reproducible = true
keep = "metrics"
[[grid]]
method = "fp16"
[[grid]]
method = ["rtn"]
bits = [2, 8]
group = [64, -1]
symmetric = [true, false]
[[grid]]
method = "gptq"
bits = 3
order = ["none", "act", "static", "gar"]
damp = [1, 0.1, 1e-7]
compat = true
)";

// What does not run is still a cell of the sweep.
TEST(Cells, ThoseThatAreNotChosenStayListed) {
  SweepOverrides overrides;
  overrides.cells = "rtn-w3-*,fp16";
  const std::string grids =
      "[[grid]]\nmethod = \"rtn\"\nbits = [4, 3, 2]\n"
      "[[grid]]\nmethod = \"fp16\"\n";
  const Sweep some = parse(kHead + grids, overrides);
  EXPECT_THAT(names(some), ElementsAre("rtn-w4-pc", "rtn-w3-pc", "rtn-w2-pc", "fp16"));
  EXPECT_THAT(some.chosen, ElementsAre(1, 3));
  EXPECT_THAT(names(only_chosen(some)), ElementsAre("rtn-w3-pc", "fp16"));
  EXPECT_THAT(only_chosen(some).chosen, ElementsAre(0, 1));
  EXPECT_EQ(sweep_text(some), sweep_text(parse(kHead + grids)));
  EXPECT_THAT(parse(sweep_text(some)).chosen, ElementsAre(0, 1, 2, 3));
}

TEST(SweepText, ReadsBackAsTheSameSweep) {
  const Sweep first = parse(kFull);
  EXPECT_EQ(first.cells.size(), 1u + 8u + 12u);
  EXPECT_EQ(first, parse(sweep_text(first)));
  EXPECT_EQ(sweep_text(first), sweep_text(parse(sweep_text(first))));
  Sweep elsewhere = parse_sweep(sweep_text(first), "other.toml", {});
  elsewhere.file = first.file;
  EXPECT_EQ(first, elsewhere);
}

TEST(SweepText, IsComplete) {
  const std::string grid = "[[grid]]\nmethod = \"rtn\"\nbits = 4\ngroup = 128\n";
  EXPECT_EQ(sweep_text(parse(kHead + grid)), R"(name = "demo"
model = "/sweeps/a/m"
output = "/sweeps/a/o"

[data]
dir = "/sweeps/a/data"

[calibration]
data = "c4"
windows = 128
length = 2048
seed = 0
shards = 16

[evaluation]
perplexity = []
length = 2048
bos = "auto"
divergence = true
tasks = []
profile = "lmeh-0.4"
mmlu_shots = 5
limit = 0
wave = "auto"

[run]
stages = "auto"
replicas = "auto"
threads = "auto"
device = "auto"
memory = "auto"
deadline = "600s"
reproducible = false
keep = "all"

[[grid]]
method = "rtn"
bits = 4
group = 128
mix = ""
mse = false
symmetric = false
)");
}

TEST(CellKey, DependsOnWhatChangesTheBytes) {
  const Sweep s =
      parse(std::string(kHead) +
            "[[grid]]\nmethod = [\"rtn\", \"gptq\"]\nbits = [4, 3]\nsymmetric = [true, false]\n");
  const Recipe& rtn = s.cells.front();
  const Recipe& gptq = s.cells.back();
  const std::string of_rtn = cell_key(rtn, "aa", 16, 0);
  const std::string of_gptq = cell_key(gptq, "aa", 16, 0);
  EXPECT_EQ(of_rtn.size(), 64u);
  // Calibration windows and shards matter only to a recipe that looks at them.
  EXPECT_EQ(of_rtn, cell_key(rtn, "bb", 16, 0));
  EXPECT_EQ(of_rtn, cell_key(rtn, "aa", 8, 0));
  EXPECT_NE(of_rtn, cell_key(rtn, "aa", 16, 1));
  EXPECT_NE(of_gptq, cell_key(gptq, "bb", 16, 0));
  EXPECT_NE(of_gptq, cell_key(gptq, "aa", 8, 0));
  EXPECT_NE(of_gptq, cell_key(gptq, "aa", 16, 1));
  std::vector<std::string> keys;
  for (const auto& cell : s.cells) keys.push_back(cell_key(cell, "aa", 16, 0));
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::unique(keys.begin(), keys.end()), keys.end());
}

TEST(Units, Bytes) {
  EXPECT_EQ(parse_bytes("20GiB"), 21474836480);
  EXPECT_EQ(parse_bytes("512 MiB"), 536870912);
  EXPECT_EQ(parse_bytes("1.5kB"), 1500);
  EXPECT_EQ(parse_bytes("7B"), 7);
  EXPECT_EQ(parse_bytes("2TiB"), 2199023255552);
  for (const char* bad :
       {"", "GiB", "20", "20 gib", "-1GiB", "0B", "nanB", "infGiB", "1e99TB", "1GiB x", " 1GiB"})
    EXPECT_THROW(parse_bytes(bad), InputError) << bad;
}

TEST(Units, Seconds) {
  EXPECT_EQ(parse_seconds("10min"), 600);
  EXPECT_EQ(parse_seconds("90s"), 90);
  EXPECT_EQ(parse_seconds("250 ms"), 0.25);
  EXPECT_EQ(parse_seconds("1.5h"), 5400);
  EXPECT_EQ(parse_seconds("2d"), 172800);
  for (const char* bad : {"", "s", "10", "0s", "-1s", "nans", "infs", "1e99d", "5 m"})
    EXPECT_THROW(parse_seconds(bad), InputError) << bad;
}

TEST(ShippedSweeps, HaveTheCellsOfTheirTables) {
  const std::string folder = std::string(BITGRID_SOURCE_DIR) + "/sweeps/";
  const Sweep demo = read_sweep(folder + "demo/demo.toml", {});
  EXPECT_EQ(demo.model, folder + "demo/model");
  EXPECT_EQ(demo.calibration, (Sweep::Calibration{"c4", 64, 256, 0, 16}));
  EXPECT_EQ(names(demo).size(), 34u);
  EXPECT_THAT(names(demo),
              IsSupersetOf({"fp16", "rtn-w8-g32", "rtn-w2-pc", "gptq-w4-g32-order=none",
                            "gptq-w2-pc-order=none", "awq-w3-g32", "smoothquant-w4-a4-pc",
                            "quip-w2-pc", "slim-llm-w2-g32", "fdb-gptq-w2-g32", "fdb-block-w2-g32",
                            "pb-llm-w1.7-g128", "billm-w1.1-g128"}));
  const Sweep small = read_sweep(folder + "llama3-8b.toml", {});
  EXPECT_EQ(small.calibration, (Sweep::Calibration{"wikitext2", 128, 2048, 2, 16}));
  EXPECT_THAT(small.evaluation.perplexity, ElementsAre("wikitext2", "c4", "ptb"));
  // Table 1: seven cells each of three methods, three of two, and four more; and three of weights
  // and activations.
  EXPECT_EQ(names(small).size(), 1u + 31u + 3u);
  EXPECT_THAT(names(small),
              IsSupersetOf({"fp16", "rtn-w4-g128", "rtn-w8-pc", "gptq-w2-g128-order=none",
                            "gptq-w8-pc-order=none", "awq-w2-g128", "awq-w8-pc", "slim-llm-w4-g128",
                            "quip-w3-pc", "fdb-block-w2-g128", "pb-llm-w2-g128", "pb-llm-w1.7-g128",
                            "billm-w1.1-g128", "smoothquant-w6-a6-pc"}));
  const Sweep large = read_sweep(folder + "llama3-70b.toml", {});
  EXPECT_EQ(names(large).size(), 1u + 18u + 3u);
  EXPECT_THAT(names(large), IsSupersetOf({"awq-w3-g128", "slim-llm-w2-g128", "quip-w4-pc",
                                          "pb-llm-w2-g128", "billm-w1.1-g128"}));
}

TEST(ReadSweep, NamesAFileThatIsNotThere) {
  try {
    read_sweep("/nowhere/x.toml", {});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(), "/nowhere/x.toml: cannot be read: No such file or directory");
  }
  EXPECT_THROW(read_sweep("/", {}), InputError);
}

}  // namespace
}  // namespace bitgrid

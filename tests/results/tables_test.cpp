#include "results/tables.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "results/parts.hpp"
#include "results/rows.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {
namespace {

using testing::HasSubstr;

class Tables : public testing::Test {
 protected:
  std::string run() const { return directory_.path("run"); }
  std::string table_of(TableFormat format) const { return table(Reader::open(run()), format); }
  // Cells listed from few bits to many, so that a table has to sort them.
  void write_some() {
    const CellHeader pc = sample_header("gptq-w3-pc", "gptq", 3, -1),
                     two = sample_header("rtn-w2-g32", "rtn", 2, 32),
                     none = sample_header("gptq-w2-g32-damp=1e-05-order=none", "gptq", 2, 32),
                     bad = sample_header("gptq-w4-g32", "gptq", 4, 32),
                     base = sample_header("fp16", "fp16", 16, -1);
    Store store = Store::create(run(), kModel);
    RunRecord run = sample_run({two, none, pc, bad, base});
    run.sets = {"c4", "wiki_text|2"};
    store.write_run(run);
    CellRecord cell = sample_cell(two, {});
    cell.bits_per_weight = 2.5625;
    cell.metrics = {sample_metric("wiki_text|2", 14.25), sample_metric("c4", 5.5),
                    sample_metric("ptb", 1)};
    cell.metrics[1].length = 2048;  // of another sweep: not this table's
    cell.metrics.push_back(sample_metric("c4", 6.25));
    store.write_cell(cell);
    store.write_layer(none, sample_layer(none, 0));
    cell = sample_cell(pc, {});
    cell.bits_per_weight = 3.045;
    cell.metrics = {sample_metric("wiki_text|2", 1.5), sample_metric("c4", 7.5)};
    cell.linears.resize(14);
    cell.linears[3].diagnostics.fallback = true;
    store.write_cell(cell);
    store.write_cell(failed_cell(bad, "layer 1: mlp.down_proj: the Gram matrix is not finite"));
    cell = sample_cell(base, {});
    cell.metrics = {sample_metric("wiki_text|2", 1.25)};
    cell.metrics[0].value.perplexity = std::numeric_limits<double>::infinity();
    cell.metrics[0].value.perplexity_error = std::numeric_limits<double>::quiet_NaN();
    store.write_cell(cell);
  }
  TemporaryDirectory directory_;
};

TEST_F(Tables, Markdown) {
  write_some();
  EXPECT_EQ(
      table_of(TableFormat::markdown),
      "| #Bits | Method                        |   Group | Bits/weight |     c4 | wiki\\_text\\|2 "
      "|\n"
      "|------:|-------------------------------|--------:|------------:|-------:|--------------:|\n"
      "|    16 | FP16                          |       – |       16.00 |      – |           inf |\n"
      "|     4 | GPTQ                          |      32 |           – | failed |        failed |\n"
      "|     3 | GPTQ                          | channel |        3.04 |   1808 |          4.48 |\n"
      "|     2 | RTN                           |      32 |        2.56 |  518.0 |       1.5e+06 |\n"
      "|     2 | GPTQ (damp=1e-05, order=none) |      32 |           – |      – |             – "
      "|\n");
}

TEST_F(Tables, Latex) {
  write_some();
  EXPECT_EQ(table_of(TableFormat::latex),
            "% needs \\usepackage{booktabs}\n"
            "\\begin{tabular}{rlrrrr}\n"
            "\\toprule\n"
            "\\#Bits & Method                        &   Group & Bits/weight &     c4 &        "
            "wiki\\_text|2 \\\\\n"
            "\\midrule\n"
            "    16 & FP16                          &      -- &       16.00 &     -- &             "
            "    inf \\\\\n"
            "\\midrule\n"
            "     4 & GPTQ                          &      32 &          -- & failed &             "
            " failed \\\\\n"
            "\\midrule\n"
            "     3 & GPTQ                          & channel &        3.04 &   1808 &             "
            "   4.48 \\\\\n"
            "\\midrule\n"
            "     2 & RTN                           &      32 &        2.56 &  518.0 & "
            "$1.5\\times10^{6}$ \\\\\n"
            "     2 & GPTQ (damp=1e-05, order=none) &      32 &          -- &     -- &             "
            "     -- \\\\\n"
            "\\bottomrule\n"
            "\\end{tabular}\n");
}

TEST_F(Tables, Csv) {
  write_some();
  EXPECT_EQ(
      table_of(TableFormat::csv),
      "cell,bits,method,options,group,status,bits_per_weight,c4,c4 standard error,wiki_text|2,"
      "wiki_text|2 standard error\n"
      "fp16,16,FP16,,-1,finished,16,,,inf,nan\n"
      "gptq-w4-g32,4,GPTQ,,32,failed,,,,,\n"
      "gptq-w3-pc,3,GPTQ,,-1,finished,3.045,1808.0424144560632,18.080424144560633,4."
      "4816890703380645,"
      "0.04481689070338065\n"
      "rtn-w2-g32,2,RTN,,32,finished,2.5625,518.0128246683420,5.18012824668342,1544174.4670851405,"
      "15441.744670851405\n"
      "gptq-w2-g32-damp=1e-05-order=none,2,GPTQ,\"damp=1e-05, order=none\",32,unfinished,,,,,\n");
}

TEST_F(Tables, Json) {
  write_some();
  const auto json = nlohmann::json::parse(table_of(TableFormat::json));
  EXPECT_EQ(json["sets"], (std::vector<std::string>{"c4", "wiki_text|2"}));
  ASSERT_EQ(json["cells"].size(), 5u);
  EXPECT_EQ(json["cells"][0]["name"], "fp16");
  EXPECT_TRUE(json["cells"][0]["metrics"][0]["perplexity"].is_null());
  EXPECT_EQ(json["cells"][1]["status"], "failed");
  EXPECT_EQ(json["cells"][1]["failure"], "layer 1: mlp.down_proj: the Gram matrix is not finite");
  EXPECT_EQ(json["cells"][2]["recipe"]["options"]["damp"], 0.01);
  EXPECT_EQ(json["cells"][2]["recipe"]["chain"][0], "gptq");
  EXPECT_EQ(json["cells"][2]["metrics"][0]["perplexity_error"],
            sample_metric("x", 1.5).value.perplexity_error);
  EXPECT_EQ(json["cells"][3]["metrics"].size(), 4u);
  EXPECT_EQ(json["cells"][4]["status"], "unfinished");
  EXPECT_EQ(json["cells"][4]["layers_stored"], 1);
}

TEST_F(Tables, ShowTellsProgressFailuresAndTimings) {
  write_some();
  const std::string text = show(Reader::open(run()), true);
  EXPECT_EQ(text,
            run() +
                ": sweep demo of sweeps/demo/model (fingerprint 1f2e3d4c5b6a), bitgrid 0.1.0\n"
                "2 ranks = 1 stage x 2 replicas, 1 thread each, cpu, BLAS Haswell\n"
                "started 2023-11-14 22:13:20 UTC, ended after 95.0 s\n"
                "3 of 5 cells finished, 1 failed\n"
                "\n"
                "cell                               state     layers  bits/weight    time  "
                "predicted   memory  "
                "evaluation  forward   solve\n");
}

TEST_F(Tables, ShowOfARunThatHasNotEnded) {
  write_sample(run());
  RunRecord record = sample_run(sample_headers());
  record.cell_names.pop_back();
  record.cell_keys.pop_back();
  record.finished_s = 0;
  record.counters.clear();
  Store::join(run()).write_run(record);
  const std::string text = show(Reader::open(run()), true);
  EXPECT_THAT(text, HasSubstr("no end recorded"));
  EXPECT_THAT(text, HasSubstr("kept, but not in the sweep file: gptq-w4-g32\n"));
  EXPECT_THAT(text, HasSubstr("no counters"));
}

TEST_F(Tables, ADamagedCellIsShownAsSuch) {
  write_sample(run());
  const CellHeader header = sample_headers()[1];
  write_bytes(fmt::format("{}/{}.h5", run(), cell_part(cell_directory(header.name, header.key))),
              "half");
  EXPECT_THAT(table_of(TableFormat::markdown), HasSubstr("unreadable"));
  EXPECT_THAT(show(Reader::open(run()), false), HasSubstr("cell.h5: damaged"));
}

TEST(PerplexityText, AsPapersPrintThem) {
  for (const auto& [value, text] :
       std::vector<std::pair<double, std::string>>{{6.136, "6.14"},
                                                   {57.049, "57.05"},
                                                   {99.996, "100.0"},
                                                   {853.27, "853.3"},
                                                   {999.96, "1000"},
                                                   {9999.4, "9999"},
                                                   {9999.6, "1.0e+04"},
                                                   {123456.0, "1.2e+05"},
                                                   {1e38, "1.0e+38"}})
    EXPECT_EQ(perplexity_text(value), text);
}

}  // namespace
}  // namespace bitgrid::results

#include "results/tables.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "results/parts.hpp"
#include "results/rows.hpp"
#include "tests/results/fixture.hpp"

namespace bitgrid::results {
namespace {

using testing::HasSubstr;

MetricRecord measured(const std::string& set, double perplexity) {
  MetricRecord metric = sample_metric(set, 1);
  metric.value.perplexity = perplexity;
  metric.value.perplexity_error = perplexity / 64;
  return metric;
}

class Tables : public testing::Test {
 protected:
  std::string run() const { return directory_.path("run"); }
  std::string table_of(TableFormat format, bool divergences = false) const {
    return table(Reader::open(run()), {format, TableMetric::acc, divergences});
  }
  // Two cells on one set, one of them compared.
  void write_compared() {
    const CellHeader base = sample_header("fp16", "fp16", 16, -1),
                     two = sample_header("rtn-w2-g32", "rtn", 2, 32);
    Store store = Store::create(run(), kModel);
    RunRecord run = sample_run({base, two});
    run.sets = {"c4"};
    run.set_fingerprints.clear();
    run.tasks.clear();
    run.task_fingerprints.clear();
    run.compared_with = {base.key};
    store.write_run(run);
    CellRecord cell = sample_cell(base, {});
    cell.tasks.clear();
    cell.metrics = {measured("c4", 8)};
    store.write_cell(cell);
    cell.header = two;
    cell.bits_per_weight = 2.5;
    cell.metrics = {measured("c4", 9.5)};
    cell.metrics[0].window_divergences = {25.5, 51, 76.5};  // 0.1, 0.2, 0.3 nats per token
    cell.metrics[0].window_agreements = {204, 204, 204};
    cell.metrics[0].comparison = {0.2, 0.0625, 0.8, 0};
    store.write_cell(cell);
  }
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
    run.set_fingerprints.clear();
    run.tasks.clear();
    run.task_fingerprints.clear();
    store.write_run(run);
    CellRecord cell = sample_cell(two, {});
    cell.bits_per_weight = 2.5625;
    cell.metrics = {measured("wiki_text|2", 1544174.5), measured("c4", 200), measured("ptb", 3)};
    cell.metrics[1].length = 2048;  // of another sweep: not this table's
    cell.metrics.push_back(measured("c4", 518.015625));
    store.write_cell(cell);
    store.write_layer(none, sample_layer(none, 0));
    cell = sample_cell(pc, {});
    cell.bits_per_weight = 3.045;
    cell.metrics = {measured("wiki_text|2", 4.484375), measured("c4", 1808.25)};
    cell.linears.resize(14);
    cell.linears[3].diagnostics.fallback = true;
    store.write_cell(cell);
    store.write_cell(failed_cell(bad, "layer 1: mlp.down_proj: the Gram matrix is not finite"));
    cell = sample_cell(base, {});
    cell.metrics = {measured("wiki_text|2", 1)};
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
      R"(| #Bits | Method                        |   Group | Bits/weight |     c4 | wiki\_text\|2 |
|------:|-------------------------------|--------:|------------:|-------:|--------------:|
|    16 | FP16                          |       – |       16.00 |      – |           inf |
|     4 | GPTQ                          |      32 |           – | failed |        failed |
|     3 | GPTQ                          | channel |        3.04 |   1808 |          4.48 |
|     2 | RTN                           |      32 |        2.56 |  518.0 |       1.5e+06 |
|     2 | GPTQ (damp=1e-05, order=none) |      32 |           – |      – |             – |
)");
}

TEST_F(Tables, Latex) {
  write_some();
  EXPECT_EQ(table_of(TableFormat::latex),
            R"(% needs \usepackage{booktabs}
\begin{tabular}{rlrrrr}
\toprule
\#Bits & Method                        &   Group & Bits/weight &     c4 &      wiki\_text|2 \\
\midrule
    16 & FP16                          &      -- &       16.00 &     -- &               inf \\
\midrule
     4 & GPTQ                          &      32 &          -- & failed &            failed \\
\midrule
     3 & GPTQ                          & channel &        3.04 &   1808 &              4.48 \\
\midrule
     2 & RTN                           &      32 &        2.56 &  518.0 & $1.5\times10^{6}$ \\
     2 & GPTQ (damp=1e-05, order=none) &      32 &          -- &     -- &                -- \\
\bottomrule
\end{tabular}
)");
}

TEST_F(Tables, Csv) {
  write_some();
  EXPECT_EQ(
      table_of(TableFormat::csv),
      R"(cell,bits,method,options,group,status,bits_per_weight,c4,c4 standard error,wiki_text|2,wiki_text|2 standard error
fp16,16,FP16,,-1,finished,16,,,inf,nan
gptq-w4-g32,4,GPTQ,,32,failed,,,,,
gptq-w3-pc,3,GPTQ,,-1,finished,3.045,1808.25,28.25390625,4.484375,0.070068359375
rtn-w2-g32,2,RTN,,32,finished,2.5625,518.015625,8.093994140625,1544174.5,24127.7265625
gptq-w2-g32-damp=1e-05-order=none,2,GPTQ,"damp=1e-05, order=none",32,unfinished,,,,,
)");
}

TEST_F(Tables, DivergencesFromTheUnquantizedModel) {
  write_compared();
  EXPECT_EQ(table_of(TableFormat::markdown, true),
            R"(| #Bits | Method | Group | Bits/weight |   c4 |  c4 KL | c4 top-1 |
|------:|--------|------:|------------:|-----:|-------:|---------:|
|    16 | FP16   |     – |       16.00 | 8.00 |      – |        – |
|     2 | RTN    |    32 |        2.50 | 9.50 | 0.2000 |    80.00 |
)");
  EXPECT_THAT(table_of(TableFormat::markdown), testing::Not(HasSubstr("KL")));
  EXPECT_EQ(table_of(TableFormat::csv),
            "cell,bits,method,options,group,status,bits_per_weight,c4,c4 standard error,c4 "
            "divergence,c4 divergence standard error,c4 agreement,c4 agreement standard error\n"
            "fp16,16,FP16,,-1,finished,16,8,0.125,,,,\n"
            "rtn-w2-g32,2,RTN,,32,finished,2.5,9.5,0.1484375,0.2,0.0625,0.8,0\n");
  const auto json = nlohmann::json::parse(table_of(TableFormat::json));
  EXPECT_TRUE(json["cells"][0]["metrics"][0]["against_baseline"].is_null());
  EXPECT_EQ(json["cells"][1]["metrics"][0]["against_baseline"]["divergence"], 0.2);
  EXPECT_EQ(json["cells"][1]["metrics"][0]["against_baseline"]["agreement"], 0.8);
  EXPECT_THAT(show(Reader::open(run()), false),
              HasSubstr("cell         c4 KL  c4 top-1\nrtn-w2-g32  0.2000     80.00\n"));
  EXPECT_THAT(check(run(), true), testing::Each(testing::Not(HasSubstr("compared"))));
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
  EXPECT_EQ(json["cells"][2]["metrics"][0]["perplexity_error"], 4.484375 / 64);
  EXPECT_EQ(json["cells"][3]["metrics"].size(), 4u);
  EXPECT_EQ(json["cells"][4]["status"], "unfinished");
  EXPECT_EQ(json["cells"][4]["layers_stored"], 1);
}

TEST_F(Tables, ShowTellsProgressFailuresAndTimings) {
  write_some();
  const std::string cells =
      R"(: sweep demo of sweeps/demo/model (fingerprint 1f2e3d4c5b6a), bitgrid 0.1.0
2 ranks = 1 stage x 2 replicas, 3 threads each, cpu, BLAS Haswell
started 2023-11-14 22:13:20 UTC, ended after 95.0 s
3 of 5 cells finished, 1 failed

cell                               state     layers  bits/weight    time  predicted   memory  forward   solve
fp16                               finished       –        16.00  75.0 s     60.0 s  3.0 MiB   12.5 s  3.25 s
gptq-w4-g32                        failed       0/2            –       –     60.0 s        –        –       –
gptq-w3-pc                         finished     0/2         3.04  75.0 s     60.0 s  3.0 MiB   12.5 s  3.25 s
rtn-w2-g32                         finished     0/2         2.56  75.0 s     60.0 s  3.0 MiB   12.5 s  3.25 s
gptq-w2-g32-damp=1e-05-order=none  started      1/2            –       –     60.0 s        –        –       –

gptq-w4-g32 failed: layer 1: mlp.down_proj: the Gram matrix is not finite
gptq-w3-pc: 1 of 14 linears fell back to rounding to nearest
)";
  const std::string ranks = R"(
rank  stage  replica  host  layers read  bytes read  calibration windows  evaluation windows  rows solved  quantized  replayed  requests scored   memory  forward    wait
0     0      0        n0              1   976.6 KiB                   63                  17          300          2         1               40  5.0 MiB   1.50 s  0.25 s
1     0      1        n1              2     1.9 MiB                   63                  17          300          2         1               40  5.0 MiB   1.50 s  0.25 s
all                                   3     2.9 MiB                  126                  34          600          4         2               80  5.0 MiB   3.00 s  0.50 s
)";
  EXPECT_EQ(show(Reader::open(run()), false), run() + cells);
  EXPECT_EQ(show(Reader::open(run()), true), run() + cells + ranks);
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
  EXPECT_THAT(text, HasSubstr("UTC, cut short: nobody is at work there; run the sweep again"));
  EXPECT_THAT(text, HasSubstr("kept, but not in the sweep file: gptq-w4-g32\n"));
  EXPECT_THAT(text, HasSubstr("no counters"));
  pack(run(), directory_.path("packed.h5"));
  EXPECT_THAT(show(Reader::open(directory_.path("packed.h5")), false),
              HasSubstr("no end recorded"));
  const Store store = Store::create(run(), kModel);
  EXPECT_THAT(show(Reader::open(run()), false),
              HasSubstr(fmt::format("UTC, running now (pid {} on ", getpid())));
  record.finished_s = record.started_s + 1;
  Store::join(run()).write_run(record);
  EXPECT_THAT(show(Reader::open(run()), false),
              HasSubstr("ended after 1.00 s; another sweep has been started there (pid "));
}

// The run says which text each column means; a cell may hold measurements of older ones.
TEST_F(Tables, ColumnsAreFoundByTheirTokens) {
  const CellHeader header = sample_header("fp16", "fp16", 16, -1);
  Store store = Store::create(run(), kModel);
  RunRecord record = sample_run({header});
  record.sets = {"new.txt"};
  record.tasks.clear();
  record.task_fingerprints.clear();
  record.set_fingerprints = {"ids of the text"};
  CellRecord cell = sample_cell(header, {});
  cell.metrics = {measured("old.txt", 2.5), measured("new.txt", 3.5)};
  cell.metrics[0].ids_fingerprint = "ids of the text";
  store.write_run(record);
  store.write_cell(cell);
  EXPECT_THAT(table_of(TableFormat::csv), HasSubstr("fp16,16,FP16,,-1,finished,16,2.5,"));
  record.set_fingerprints = {"ids of a later version"};
  store.write_run(record);
  EXPECT_THAT(table_of(TableFormat::csv), HasSubstr("fp16,16,FP16,,-1,finished,16,,\n"));
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

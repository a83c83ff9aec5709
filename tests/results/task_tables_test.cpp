#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "results/tables.hpp"
#include "tests/results/task_cells.hpp"

namespace bitgrid::results {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class TaskTables : public testing::Test {
 protected:
  std::string run() const { return directory_.path("run"); }
  std::string table_of(TableFormat format, TableMetric metric = TableMetric::acc) const {
    return table(Reader::open(run()), {format, metric});
  }
  // The baseline, a cell that also has an older piqa, one that failed, one that lacks boolq, and
  // one that has not begun.
  void write_some(const std::vector<std::string>& tasks) {
    const CellHeader base = sample_header("fp16", "fp16", 16, -1),
                     four = sample_header("gptq-w4-g32", "gptq", 4, 32),
                     three = sample_header("gptq-w3-g32", "gptq", 3, 32),
                     two = sample_header("rtn-w2-g32", "rtn", 2, 32),
                     waiting = sample_header("gptq-w2-g32", "gptq", 2, 32);
    Store store = Store::create(run(), kModel);
    RunRecord record = sample_run({base, four, three, two, waiting});
    record.sets.clear();
    record.set_fingerprints.clear();
    record.tasks = tasks;
    record.task_fingerprints.clear();
    for (const std::string& task : tasks)
      record.task_fingerprints.push_back(sample_task(task, 1).fingerprint);
    store.write_run(record);
    CellRecord cell = sample_cell(base, {});
    cell.metrics.clear();
    cell.tasks = {answered("piqa", "11100"), boolq("11111"), answered("mmlu", "1101")};
    store.write_cell(cell);
    cell.header = four;
    cell.bits_per_weight = 4.5;
    cell.tasks = {answered("piqa", "00000"), boolq("11001"), answered("piqa", "01010"),
                  answered("mmlu", "1000")};
    cell.tasks[0].fingerprint = "of an older file";
    store.write_cell(cell);
    store.write_cell(failed_cell(three, "no"));
    cell.header = two;
    cell.tasks.erase(cell.tasks.begin(), cell.tasks.begin() + 2);
    store.write_cell(cell);
  }
  static TaskRecord boolq(const std::string& right) {  // a set without acc_norm
    TaskRecord task = answered("boolq", right);
    task.metrics.pop_back();
    return task;
  }
  TemporaryDirectory directory_;
};

TEST_F(TaskTables, Markdown) {
  write_some({"piqa", "boolq", "mmlu"});
  EXPECT_EQ(table_of(TableFormat::markdown),
            R"(| #Bits | Method | Group | Bits/weight |   piqa |  boolq |   mmlu |   mean |
|------:|--------|------:|------------:|-------:|-------:|-------:|-------:|
|    16 | FP16   |     – |       16.00 |  60.00 | 100.00 |  75.00 |  80.00 |
|     4 | GPTQ   |    32 |        4.50 |  40.00 |  60.00 |  25.00 |  50.00 |
|     3 | GPTQ   |    32 |           – | failed | failed | failed | failed |
|     2 | RTN    |    32 |        4.50 |  40.00 |      – |  25.00 |      – |
|     2 | GPTQ   |    32 |           – |      – |      – |      – |      – |
)");
}

TEST_F(TaskTables, MarkdownPerCharacter) {
  write_some({"piqa", "boolq"});
  EXPECT_THAT(table_of(TableFormat::markdown, TableMetric::acc_norm),
              testing::AllOf(HasSubstr("| piqa (norm) |  boolq |   mean |"),
                             HasSubstr("|       60.00 | 100.00 |  80.00 |")));
}

// The mean is one of several sets, and mmlu is none of them.
TEST_F(TaskTables, OneSetHasNoMean) {
  write_some({"piqa", "mmlu"});
  EXPECT_THAT(table_of(TableFormat::markdown), testing::Not(HasSubstr("mean")));
  EXPECT_THAT(table_of(TableFormat::csv), testing::Not(HasSubstr("mean")));
}

TEST_F(TaskTables, Latex) {
  write_some({"piqa", "boolq", "mmlu"});
  const std::string text = table_of(TableFormat::latex);
  EXPECT_THAT(text, HasSubstr("\\begin{tabular}{rlrrrrrr}"));
  EXPECT_THAT(text, HasSubstr("&   piqa &  boolq &   mmlu &   mean \\\\"));
  EXPECT_THAT(text, HasSubstr("&  60.00 & 100.00 &  75.00 &  80.00 \\\\"));
  EXPECT_THAT(text, HasSubstr("&  40.00 &     -- &  25.00 &     -- \\\\"));
}

TEST_F(TaskTables, Csv) {
  write_some({"boolq", "piqa", "mmlu"});
  const std::string text = table_of(TableFormat::csv);
  const std::vector<std::string> lines = [&] {
    std::vector<std::string> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }();
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_THAT(lines[0],
              testing::StartsWith(
                  "cell,bits,method,options,group,status,bits_per_weight,boolq acc,boolq acc "
                  "standard error,piqa acc,piqa acc standard error,piqa acc_norm,piqa acc_norm "
                  "standard error,mmlu acc,mmlu acc standard error,mmlu_stem acc,mmlu_stem acc "
                  "standard error,"));
  EXPECT_THAT(lines[0], testing::AllOf(HasSubstr(",mmlu acc_macro,mmlu acc_macro standard error,"),
                                       testing::EndsWith(",mean acc"),
                                       testing::Not(HasSubstr("mmlu_astronomy"))));
  ASSERT_THAT(lines[1], testing::StartsWith("fp16,16,FP16,,-1,finished,16,"));
  std::istringstream numbers(lines[1].substr(lines[1].find("finished,16,") + 12));
  const double five = std::sqrt(0.6 * 0.4 / 4);
  for (const double expected :
       {1.0, 0.0, 0.6, five, 0.6, five, 0.75, std::sqrt(2.0 / 3 / 2 / 4), 2.0 / 3, 1.0 / 3, 1.0}) {
    std::string cell;
    std::getline(numbers, cell, ',');
    EXPECT_NEAR(std::stod(cell), expected, 1e-15);
  }
  EXPECT_THAT(lines[1], testing::EndsWith(",0.8"));
  EXPECT_THAT(lines[3], testing::MatchesRegex("gptq-w3-g32,3,GPTQ,,32,failed,,+"));
  EXPECT_THAT(lines[4], HasSubstr("finished,4.5,,,0.4,"));
  for (const std::string& line : lines)
    EXPECT_EQ(std::count(line.begin(), line.end(), ','),
              std::count(lines[0].begin(), lines[0].end(), ','))
        << line;
  EXPECT_THAT(table_of(TableFormat::csv, TableMetric::acc_norm), HasSubstr(",mean acc_norm\n"));
}

TEST_F(TaskTables, Json) {
  write_some({"piqa", "boolq", "mmlu"});
  const json all = json::parse(table_of(TableFormat::json));
  EXPECT_EQ(all["tasks"], (std::vector<std::string>{"piqa", "boolq", "mmlu"}));
  EXPECT_EQ(all["task_fingerprints"][0], sample_task("piqa", 1).fingerprint);
  const json& base = all["cells"][0]["tasks"];
  ASSERT_EQ(base.size(), 3u);
  EXPECT_TRUE(base[0]["against_baseline"].is_null());
  EXPECT_EQ(base[2]["metrics"]["mmlu"]["acc"]["value"], 0.75);
  EXPECT_TRUE(base[2]["metrics"]["mmlu_tools"]["acc"]["error"].is_null());
  EXPECT_EQ(base[2]["metrics"]["mmlu_tools"]["documents"], 1);
  EXPECT_EQ(base[2]["shots"], 5);
  EXPECT_EQ(base[2]["digests"]["token_digest"], sample_task("mmlu", 1).digests.tokens);
  const json& four = all["cells"][1]["tasks"];
  ASSERT_EQ(four.size(), 4u);
  EXPECT_TRUE(four[0]["against_baseline"].is_null());  // not the same questions
  // 11100 -> 01010 by piqa: one gained, two lost; -1, 0, -1, 1, 0.
  const json& piqa = four[2]["against_baseline"];
  EXPECT_EQ(piqa["cell"], "fp16");
  EXPECT_EQ(piqa["documents"], 5);
  EXPECT_EQ(piqa["acc"]["gained"], 1);
  EXPECT_EQ(piqa["acc"]["lost"], 2);
  EXPECT_DOUBLE_EQ(piqa["acc"]["difference"].get<double>(), -0.2);
  EXPECT_NEAR(piqa["acc"]["error"].get<double>(), std::sqrt((3 - 5 * 0.04) / 4 / 5), 1e-12);
  EXPECT_NEAR(piqa["acc"]["p_value"].get<double>(), 1, 1e-12);
  EXPECT_EQ(piqa["acc_norm"]["lost"], 2);
  EXPECT_FALSE(four[1]["against_baseline"].contains("acc_norm"));
  EXPECT_EQ(four[1]["against_baseline"]["acc"]["lost"], 2);
  EXPECT_NEAR(four[1]["against_baseline"]["acc"]["p_value"].get<double>(), 0.5, 1e-12);
}

TEST_F(TaskTables, Show) {
  write_some({"piqa", "boolq", "mmlu"});
  EXPECT_THAT(show(Reader::open(run()), false), HasSubstr(R"(
accuracy in percent
cell          piqa   boolq   mmlu   mean
fp16         60.00  100.00  75.00  80.00
gptq-w4-g32  40.00   60.00  25.00  50.00
rtn-w2-g32   40.00       –  25.00      –
)"));
}

// What lm-evaluation-harness made of these scores, from the stored record to the table.
TEST_F(TaskTables, NumbersAreTheHarnesses) {
  for (const std::string profile : {"lmeh-0.4", "lmeh-0.5"}) {
    const CellHeader base = sample_header("fp16", "fp16", 16, -1);
    CellRecord cell = sample_cell(base, {});
    cell.tasks.clear();
    for (const std::string& set : kDemoSets) cell.tasks.push_back(demo_record(set, profile));
    {
      Store store = Store::create(run(), kModel);
      store.write_run(sample_run({base}));
      store.write_cell(cell);
    }
    EXPECT_EQ(joined(check(run(), false)), "");
    const json all = json::parse(table_of(TableFormat::json));
    json found;
    for (const json& task : all["cells"][0]["tasks"]) found.update(task["metrics"]);
    std::size_t compared = 0;
    for (const auto& row : test::csv_rows(test::kReference + "demo/metrics.csv")) {
      if (row[1] != profile) continue;
      SCOPED_TRACE(row[0] + " " + row[2]);
      EXPECT_EQ(found[row[0]][row[2]]["value"].get<double>(), std::stod(row[3]));
      EXPECT_NEAR(found[row[0]][row[2]]["error"].get<double>(), std::stod(row[4]), 1e-12);
      EXPECT_EQ(found[row[0]]["documents"], std::stoll(row[5]));
      ++compared;
    }
    EXPECT_EQ(compared, 18u);
  }
}

}  // namespace
}  // namespace bitgrid::results

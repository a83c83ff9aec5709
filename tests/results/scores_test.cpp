#include "results/scores.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"
#include "results/harness.hpp"
#include "tests/results/task_cells.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> keys_of(const json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

class Scores : public testing::Test {
 protected:
  std::string run() const { return directory_.path("run"); }
  std::string out() const { return directory_.path("out"); }
  // Two finished cells, one that failed and one that has not begun.
  void write_cells(const std::vector<TaskRecord>& tasks) {
    const CellHeader base = sample_header("fp16", "fp16", 16, -1),
                     four = sample_header("gptq-w4-g32", "gptq", 4, 32),
                     bad = sample_header("gptq-w3-g32", "gptq", 3, 32),
                     waiting = sample_header("gptq-w2-g32", "gptq", 2, 32);
    Store store = Store::create(run(), kModel);
    run_ = sample_run({base, four, bad, waiting});
    run_.model = "/models/tiny/";
    run_.tasks.clear();
    run_.task_fingerprints.clear();
    for (const TaskRecord& task : tasks) {
      run_.tasks.push_back(task.task);
      run_.task_fingerprints.push_back(task.fingerprint);
    }
    store.write_run(run_);
    cell_ = sample_cell(base, {});
    cell_.finished_s = 1732444200.25;  // 2024-11-24T10:30:00.25
    cell_.tasks = tasks;
    store.write_cell(cell_);
    CellRecord other = cell_;
    other.header = four;
    store.write_cell(other);
    store.write_cell(failed_cell(bad, "no"));
  }
  ScoresWritten write(bool log_documents, const std::string& tasks_dir = test::kDemoTasks,
                      const std::string& cells = "fp16") const {
    return write_scores(Reader::open(run()), {out(), cells, log_documents, tasks_dir, {}});
  }
  std::string folder() const { return out() + "/tiny-fp16"; }
  json results() const {
    return json::parse(read_bytes(folder() + "/results_2024-11-24T10-30-00.250000.json"));
  }
  std::vector<json> samples(const std::string& task) const {
    return lines_of(
        read_bytes(folder() + "/samples_" + task + "_2024-11-24T10-30-00.250000.jsonl"));
  }
  RunRecord run_;
  CellRecord cell_;
  TemporaryDirectory directory_;
};

TEST_F(Scores, FilesAreNamedAsTheHarnessNamesThem) {
  write_cells({demo_record("piqa", "lmeh-0.4"), demo_record("mmlu", "lmeh-0.4")});
  const ScoresWritten written = write(false, "", "");
  EXPECT_THAT(written.files,
              ElementsAre(folder() + "/results_2024-11-24T10-30-00.250000.json",
                          out() + "/tiny-gptq-w4-g32/results_2024-11-24T10-30-00.250000.json"));
  EXPECT_THAT(written.remarks,
              ElementsAre("gptq-w3-g32: failed, left out", "gptq-w2-g32: unfinished, left out"));
  EXPECT_EQ(harness_folder("a/b:\\[c]+d=1e-05"), "a__b__c__+d=1e-05");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder()), {}), 1);
}

TEST_F(Scores, KeysAreTheHarnesses) {
  write_cells({demo_record("piqa", "lmeh-0.4"), demo_record("mmlu", "lmeh-0.4")});
  write(false);
  const json all = results();
  EXPECT_THAT(keys_of(all), testing::UnorderedElementsAre(
                                "results", "groups", "group_subtasks", "configs", "versions",
                                "n-shot", "higher_is_better", "n-samples", "config", "date",
                                "model_name", "model_name_sanitized", "max_length", "project"));
  EXPECT_THAT(
      keys_of(all["results"]["piqa"]),
      testing::UnorderedElementsAre("name", "alias", "sample_len", "acc,none", "acc_stderr,none",
                                    "acc_norm,none", "acc_norm_stderr,none"));
  EXPECT_THAT(keys_of(all["groups"]["mmlu"]),
              testing::UnorderedElementsAre("name", "alias", "sample_len", "sample_count",
                                            "acc,none", "acc_stderr,none"));
  EXPECT_THAT(keys_of(all["groups"]), ElementsAre("mmlu"));
  EXPECT_EQ(all["groups"]["mmlu"]["sample_count"]["acc,none"], 314);
  EXPECT_EQ(all["group_subtasks"]["piqa"], json::array());
  EXPECT_EQ(all["group_subtasks"]["mmlu"].size(), 7u);
  EXPECT_EQ(all["group_subtasks"]["mmlu"][0], "mmlu_calendar");
  EXPECT_EQ(all["results"]["mmlu"]["alias"], "mmlu");
  EXPECT_EQ(all["results"]["mmlu_calendar"]["alias"], " - calendar");
  EXPECT_EQ(all["versions"]["piqa"], 1.0);
  EXPECT_EQ(all["versions"]["mmlu"], 2);
  EXPECT_EQ(all["versions"]["mmlu_calendar"], 1.0);
  EXPECT_EQ(all["n-shot"]["piqa"], 0);
  EXPECT_EQ(all["n-shot"]["mmlu_calendar"], cell_.tasks[1].shots);
  EXPECT_FALSE(all["n-shot"].contains("mmlu"));
  EXPECT_EQ(all["n-samples"]["mmlu_calendar"], (json{{"original", 60}, {"effective", 60}}));
  EXPECT_EQ(all["higher_is_better"]["piqa"], (json{{"acc", true}, {"acc_norm", true}}));
  EXPECT_EQ(all["configs"]["piqa"]["num_fewshot"], 0);
  EXPECT_EQ(all["configs"]["piqa"]["output_type"], "multiple_choice");
  EXPECT_EQ(all["config"]["model_args"]["pretrained"], "/models/tiny/");
  EXPECT_TRUE(all["config"]["limit"].is_null());
  EXPECT_EQ(all["date"], 1732444200.25);
  EXPECT_EQ(all["model_name"], "tiny-fp16");
  EXPECT_EQ(all["max_length"], 1024);
  EXPECT_EQ(all["project"]["cell"], "fp16");
  EXPECT_EQ(all["project"]["profile"], "lmeh-0.4");
  EXPECT_EQ(all["project"]["add_bos"], false);
  EXPECT_EQ(all["project"]["tasks"]["piqa"]["digests"]["text_digest"], cell_.tasks[0].digests.json);
}

// From the stored record, all 18 numbers of a profile.
TEST_F(Scores, NumbersAreTheHarnesses) {
  std::vector<TaskRecord> tasks;
  for (const std::string& set : kDemoSets) tasks.push_back(demo_record(set, "lmeh-0.5"));
  write_cells(tasks);
  write(false);
  const json all = results();
  std::size_t compared = 0;
  for (const auto& row : test::csv_rows(test::kReference + "demo/metrics.csv")) {
    if (row[1] != "lmeh-0.5") continue;
    SCOPED_TRACE(row[0] + " " + row[2]);
    ++compared;
    if (row[2] == "acc_macro") {
      EXPECT_EQ(all["project"]["tasks"]["mmlu"]["macro"]["mmlu"]["acc_macro"]["value"],
                std::stod(row[3]));
      continue;
    }
    EXPECT_EQ(all["results"][row[0]][row[2] + ",none"].get<double>(), std::stod(row[3]));
    EXPECT_NEAR(all["results"][row[0]][row[2] + "_stderr,none"].get<double>(), std::stod(row[4]),
                1e-12);
    EXPECT_EQ(all["results"][row[0]]["sample_len"], std::stoll(row[5]));
  }
  EXPECT_EQ(compared, 18u);
  EXPECT_EQ(all["project"]["add_bos"], true);
}

TEST_F(Scores, WhatIsNotKnownIsLeftOut) {
  TaskRecord piqa = sample_task("piqa", 1), mmlu = sample_task("mmlu", 2);
  piqa.limit = 5;
  piqa.profile = "of another version";
  mmlu.version = "of mine";
  mmlu.max_length = 1;
  write_cells({piqa, mmlu});
  write(false);
  const json all = results();
  EXPECT_EQ(all["n-samples"]["piqa"], (json{{"effective", 5}}));
  EXPECT_FALSE(all.contains("max_length"));
  EXPECT_FALSE(all["config"].contains("limit"));
  EXPECT_FALSE(all["project"].contains("profile"));
  EXPECT_EQ(all["versions"]["mmlu_stem"], "of mine");
  EXPECT_EQ(all["group_subtasks"]["mmlu"], (json{"mmlu_stem", "mmlu_tools"}));
  EXPECT_EQ(all["group_subtasks"]["mmlu_stem"], (json{"mmlu_astronomy"}));
  EXPECT_EQ(all["results"]["mmlu_stem"]["alias"], " - stem");
  EXPECT_EQ(all["results"]["mmlu_astronomy"]["alias"], "  - astronomy");
  EXPECT_EQ(all["results"]["mmlu_tools"]["acc_stderr,none"], "N/A");
  EXPECT_THAT(keys_of(all["groups"]), testing::UnorderedElementsAre("mmlu", "mmlu_stem"));
}

TEST_F(Scores, SamplesHaveScoresAndTexts) {
  write_cells({demo_record("piqa", "lmeh-0.4"), demo_record("mmlu", "lmeh-0.4")});
  const ScoresWritten written = write(true);
  EXPECT_THAT(written.remarks, IsEmpty());
  EXPECT_EQ(written.files.size(), 1u + 1 + 7);
  const std::vector<json> piqa = samples("piqa");
  ASSERT_EQ(piqa.size(), 120u);
  const Task task = test::read_task("piqa", test::kDemoTasks);
  const auto reference = test::csv_rows(test::kReference + "demo/piqa.csv");
  double right = 0, right_norm = 0;
  for (std::size_t d = 0; d < piqa.size(); ++d) {
    const json& line = piqa[d];
    const DocumentTexts texts = task.texts(static_cast<std::int64_t>(d));
    EXPECT_EQ(line["doc_id"], d);
    EXPECT_EQ(line["target"], std::to_string(task.documents()[d].gold));
    EXPECT_EQ(line["doc"]["label"], task.documents()[d].gold);
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(line["arguments"][fmt::format("gen_args_{}", k)],
                (json{{"arg_0", texts.contexts[0]}, {"arg_1", texts.continuations[k]}}));
      EXPECT_EQ(std::stod(line["filtered_resps"][k][0].get<std::string>()),
                std::stod(reference[2 * d + k][4]));
      EXPECT_EQ(line["filtered_resps"][k][1], reference[2 * d + k][5] == "1" ? "True" : "False");
      EXPECT_EQ(line["resps"][k], json::array({line["filtered_resps"][k]}));
    }
    EXPECT_EQ(line["prompt_hash"], sha256_hex(texts.contexts[0]));
    right += line["acc"].get<double>();
    right_norm += line["acc_norm"].get<double>();
  }
  EXPECT_EQ(right, 93);  // 0.775 · 120
  EXPECT_EQ(right_norm, 86);
  EXPECT_EQ(piqa[0]["metrics"], (json{"acc", "acc_norm"}));
  EXPECT_EQ(piqa[0]["filter"], "none");
  const std::vector<json> calendar = samples("mmlu_calendar");
  ASSERT_EQ(calendar.size(), 60u);
  EXPECT_EQ(calendar[0]["filtered_resps"][0], (json{"-1.32228959", "True"}));
  EXPECT_EQ(calendar[0]["arguments"]["gen_args_3"]["arg_1"], " D");
  EXPECT_EQ(calendar[0]["metrics"], (json{"acc"}));
  EXPECT_FALSE(calendar[0].contains("doc"));
}

// Rows that are not there, or not what they were: no texts, one line for all cells.
TEST_F(Scores, SamplesWithoutTheRows) {
  TaskRecord piqa = demo_record("piqa", "lmeh-0.4");
  write_cells({piqa});
  ScoresWritten written = write(true, "/nowhere", "*");
  EXPECT_EQ(
      std::count_if(written.remarks.begin(), written.remarks.end(),
                    [](const auto& line) { return line.starts_with("piqa: samples without"); }),
      1);
  std::vector<json> lines = samples("piqa");
  ASSERT_EQ(lines.size(), 120u);
  EXPECT_THAT(keys_of(lines[0]),
              testing::UnorderedElementsAre("doc_id", "target", "resps", "filtered_resps", "filter",
                                            "metrics", "target_hash", "acc", "acc_norm"));
  piqa.digests.json[0] = 'x';
  write_cells({piqa});
  written = write(true);
  EXPECT_THAT(written.remarks, ElementsAre(HasSubstr("they are not those of the run")));
  EXPECT_FALSE(samples("piqa")[0].contains("arguments"));
}

// The study's boolq: requests from the last option, scores in the file from the first.
TEST_F(Scores, SamplesAreInTheOrderOfOptions) {
  TaskRecord task = sample_task("piqa", 7);
  task.task = task.subsets[0] = "boolq";
  task.version = "2.0";
  task.profile = "study";
  task.scores[0] = {-3, false};
  task.scores[1] = {-INFINITY, true};
  fill_outcomes(task, true);
  std::ostringstream text;
  harness_samples(text, task, 0, nullptr);
  EXPECT_EQ(lines_of(text.str())[0]["filtered_resps"],
            json::parse(R"([["-inf", "True"], ["-3.0", "False"]])"));
}

TEST_F(Scores, Refusals) {
  write_cells({sample_task("piqa", 1)});
  EXPECT_THROW(write(false, "", "gptq-w8-*"), InputError);
  EXPECT_FALSE(fs::exists(out()));
  write_cells({});
  EXPECT_THROW(write(false), InputError);
}

}  // namespace
}  // namespace bitgrid::results

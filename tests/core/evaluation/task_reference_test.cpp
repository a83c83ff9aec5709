#include <cmath>
#include <map>

#include "task_fixtures.hpp"

// Against what lm-evaluation-harness 0.4.13 built and computed for the demo's sets and for a few
// rows of awkward kinds (tests/data/evaluation): the same requests to the byte, the same metrics.

namespace bitgrid {
namespace {

using namespace test;

struct Reference {
  std::string name, tasks;  // the folder of tests/data/evaluation, the folder of the rows
};
void PrintTo(const Reference& reference, std::ostream* out) { *out << reference.name; }

class TaskReference : public testing::TestWithParam<Reference> {
 protected:
  std::string file(const std::string& name) const {
    return kReference + GetParam().name + "/" + name;
  }
  const Tokenizer tokenizer_ = Tokenizer::load(kDemoTokenizer);
  const Place place_ = cpu_place(2);
};

// One line of digests.csv.
RequestDigests digests_of(const std::vector<std::string>& row) {
  return {std::stoll(row[2]),
          std::stoll(row[3]),
          std::stoll(row[4]),
          std::stoll(row[5]),
          row[6],
          row[7],
          row[8]};
}

std::int64_t subset_of(const Task& task, const std::string& scope) {
  for (std::size_t i = 0; i < task.subsets().size(); ++i) {
    if (task.definition().has_subsets() &&
        scope == task.definition().name + "_" + task.subsets()[i].name)
      return static_cast<std::int64_t>(i);
  }
  return -1;
}

TEST_P(TaskReference, RequestsAreTheHarnesses) {
  std::size_t compared = 0;
  for (const auto& row : csv_rows(file("digests.csv"))) {
    for (const char* profile : {"lmeh-0.4", "lmeh-0.5"}) {
      SCOPED_TRACE(row[0] + " with " + row[1] + " shots, " + profile);
      const Task task = read_task(row[0].substr(0, 4) == "mmlu" ? "mmlu" : row[0], GetParam().tasks,
                                  {profile, std::stoll(row[1]), 0});
      const TokenRequests requests = token_requests(place_, task, tokenizer_, 1024);
      const RequestDigests found =
          request_digests(task, requests, tokenizer_, subset_of(task, row[0]));
      const RequestDigests expected = digests_of(row);
      EXPECT_EQ(found.requests, expected.requests);
      EXPECT_EQ(found.context_tokens, expected.context_tokens);
      EXPECT_EQ(found.continuation_tokens, expected.continuation_tokens);
      EXPECT_EQ(found.longest, expected.longest);
      EXPECT_EQ(found.json, expected.json);
      EXPECT_EQ(found.tokens, expected.tokens);
      EXPECT_EQ(found.tokens_with_bos, expected.tokens_with_bos);
      if (subset_of(task, row[0]) < 0) {
        EXPECT_EQ(text_digest(task), expected.json);
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 26u);
}

// Log-likelihoods per request as the harness found them, put through our arithmetic.
std::vector<RequestScore> reference_scores(const std::string& path, bool subjects, bool bos) {
  std::vector<RequestScore> scores;
  for (const auto& row : csv_rows(path)) {
    const std::size_t at = (subjects ? 5 : 4) + (bos ? 2 : 0);
    scores.push_back({std::stod(row[at]), row[at + 1] == "1"});
  }
  return scores;
}

TEST_P(TaskReference, TokenCountsPerRequest) {
  for (const TaskDefinition& definition : builtin_tasks()) {
    const bool subjects = definition.has_subsets();
    const auto rows = csv_rows(file(definition.name + ".csv"));
    if (rows.empty()) continue;
    SCOPED_TRACE(definition.name);
    const Task task = read_task(definition.name, GetParam().tasks);
    const TokenRequests requests = token_requests(place_, task, tokenizer_, 1024);
    ASSERT_EQ(requests.requests.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const TokenRequest& r = requests.requests[i];
      const std::size_t at = subjects ? 1 : 0;
      const TaskDocument& d = task.documents()[static_cast<std::size_t>(r.document)];
      ASSERT_EQ(std::to_string(d.row), rows[i][at]) << i;
      ASSERT_EQ(std::to_string(r.option), rows[i][at + 1]) << i;
      ASSERT_EQ(std::to_string(r.context_tokens), rows[i][at + 2]) << i;
      ASSERT_EQ(std::to_string(r.continuation_tokens), rows[i][at + 3]) << i;
    }
  }
}

TEST_P(TaskReference, MetricsAreTheHarnesses) {
  std::map<std::string, std::vector<std::string>> expected;
  for (const auto& row : csv_rows(file("metrics.csv")))
    expected[row[0] + " " + row[1] + " " + row[2]] = row;
  std::size_t compared = 0;
  for (const TaskDefinition& definition : builtin_tasks()) {
    if (csv_rows(file(definition.name + ".csv")).empty()) continue;
    for (const std::string profile : {"lmeh-0.4", "lmeh-0.5"}) {
      const Task task = read_task(definition.name, GetParam().tasks, {profile, {}, 0});
      const auto scores = reference_scores(file(definition.name + ".csv"), definition.has_subsets(),
                                           profile == "lmeh-0.5");
      for (const TaskMetric& metric : task_metrics(task, document_outcomes(task, scores))) {
        if (metric.scope == "mmlu_unlisted") continue;  // a group of ours
        const std::string key = metric.scope + " " + profile + " " + metric.metric;
        SCOPED_TRACE(key);
        ASSERT_TRUE(expected.contains(key));
        const std::vector<std::string>& row = expected[key];
        EXPECT_EQ(metric.value, std::stod(row[3]));
        EXPECT_NEAR(metric.error, std::stod(row[4]), 1e-12);
        EXPECT_EQ(std::to_string(metric.documents), row[5]);
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, expected.size());
}

INSTANTIATE_TEST_SUITE_P(Sets, TaskReference,
                         testing::Values(Reference{"demo", kDemoTasks},
                                         Reference{"awkward", kReference + "awkward/tasks"}),
                         [](const testing::TestParamInfo<Reference>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace bitgrid

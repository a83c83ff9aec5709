#include <cmath>
#include <limits>
#include <map>

#include "task_fixtures.hpp"

namespace bitgrid {
namespace {

using namespace test;

std::vector<RequestScore> scores_of(const std::vector<double>& values) {
  std::vector<RequestScore> scores;
  for (const double value : values) scores.push_back({value, false});
  return scores;
}

TEST(TaskMetrics, TiesLengthsAndEmptyOptions) {
  const Folder folder;
  const Task task =
      task_of_rows(folder, "piqa",
                   "{\"goal\": \"g\", \"sol1\": \"éé\", \"sol2\": \"abc\", \"label\": 1}\n"
                   "{\"goal\": \"g\", \"sol1\": \"\", \"sol2\": \"abc\", \"label\": 0}\n");
  // −5.7/3 beats −4/2 by characters; by bytes, −4/4 would win. An empty option never does.
  std::vector<DocumentOutcome> outcomes = document_outcomes(task, scores_of({-4, -5.7, -1, -2}));
  EXPECT_EQ(outcomes[0], (DocumentOutcome{0, 1, false, true}));
  EXPECT_EQ(outcomes[1], (DocumentOutcome{0, 1, true, false}));
  outcomes = document_outcomes(task, scores_of({-4, -4, -1, -1}));
  EXPECT_EQ(outcomes[0].choice, 0);
  EXPECT_EQ(outcomes[1].choice, 0);
  outcomes = document_outcomes(task, scores_of({-4, -6, -1, -1}));
  EXPECT_EQ(outcomes[0].choice_norm, 0) << "a tie";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(document_outcomes(task, scores_of({-4, -6, nan, -1})), Error);
  EXPECT_THROW(document_outcomes(task, scores_of({-4, -6, -1})), Error);
}

TEST(TaskMetrics, OneDocumentHasNoError) {
  const Folder folder;
  const Task task =
      task_of_rows(folder, "piqa", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})");
  const auto metrics = task_metrics(task, document_outcomes(task, scores_of({-1, -2})));
  ASSERT_EQ(metrics.size(), 2u);
  EXPECT_EQ(metrics[0].metric, "acc");
  EXPECT_EQ(metrics[0].value, 1);
  EXPECT_TRUE(std::isnan(metrics[0].error));
  EXPECT_EQ(metrics[1].metric, "acc_norm");
}

TEST(TaskMetrics, MmluGroups) {
  EXPECT_EQ(mmlu_group("abstract_algebra"), "stem");
  EXPECT_EQ(mmlu_group("anatomy"), "stem");
  EXPECT_EQ(mmlu_group("world_religions"), "humanities");
  EXPECT_EQ(mmlu_group("virology"), "other");
  EXPECT_EQ(mmlu_group("us_foreign_policy"), "social_sciences");
  EXPECT_EQ(mmlu_group("calendar"), "unlisted");
  const Folder folder;
  const std::string row = "q,a,b,c,d,A\n";
  folder.write("mmlu/test/anatomy_test.csv", row + row);
  folder.write("mmlu/test/astronomy_test.csv", row + row + row + row);
  folder.write("mmlu/test/virology_test.csv", row + row);
  folder.write("mmlu/test/tea_test.csv", row + row);
  const Task task = read_task("mmlu", folder.path(), {"lmeh-0.4", 0, 0});
  std::vector<double> values;
  for (int d = 0; d < 10; ++d) {  // right: one of two, three of four, both, none
    const bool right = d == 0 || (d >= 2 && d < 5) || d == 8 || d == 9;
    for (int option = 0; option < 4; ++option) values.push_back((option == 0) == right ? -1 : -2);
  }
  std::map<std::string, TaskMetric> found;
  for (const TaskMetric& m : task_metrics(task, document_outcomes(task, scores_of(values))))
    found[m.scope + " " + m.metric] = m;
  // Subsets are in alphabetical order: anatomy, astronomy, tea, virology.
  EXPECT_EQ(found.at("mmlu_stem acc").value, 4.0 / 6);
  EXPECT_EQ(found.at("mmlu_stem acc_macro").value, (0.5 + 0.75) / 2);
  EXPECT_EQ(found.at("mmlu_stem acc").documents, 6);
  EXPECT_EQ(found.at("mmlu_unlisted acc").value, 0);
  EXPECT_EQ(found.at("mmlu_other acc").value, 1);
  EXPECT_EQ(found.at("mmlu acc").value, 0.6);
  EXPECT_EQ(found.at("mmlu acc_macro").value, 2.25 / 4);
  EXPECT_FALSE(found.contains("mmlu_humanities acc"));
  // Σ(n − 1)·n·se² is Σ of squared deviations: 1/2 and 3/4 here; 6 documents in 2 subjects.
  EXPECT_NEAR(found.at("mmlu_stem acc").error, std::sqrt((0.5 + 0.75) / 4 / 6), 1e-15);
  const double anatomy = std::sqrt(0.5 / 1 / 2), astronomy = std::sqrt(0.75 / 3 / 4);
  EXPECT_NEAR(found.at("mmlu_stem acc_macro").error,
              std::sqrt(anatomy * anatomy + astronomy * astronomy) / 2, 1e-15);
}

TEST(TaskMetrics, PairedDifference) {
  std::vector<DocumentOutcome> here(10), baseline(10);
  for (std::size_t i = 0; i < 4; ++i) here[i].correct = true;      // gained: 0, 1, 2
  for (std::size_t i = 3; i < 5; ++i) baseline[i].correct = true;  // lost: 4
  const PairedDifference d = paired_difference(here, baseline, false);
  EXPECT_EQ(d.gained, 3);
  EXPECT_EQ(d.lost, 1);
  EXPECT_DOUBLE_EQ(d.difference, 0.2);
  EXPECT_NEAR(d.error, std::sqrt((4 - 10 * 0.04) / 9 / 10), 1e-15);
  EXPECT_NEAR(d.p_value, 2 * (1 + 4) / 16.0, 1e-14);  // P(≤ 1 of 4 coins)·2
  const PairedDifference same = paired_difference(here, here, false);
  EXPECT_EQ(same.p_value, 1);
  EXPECT_EQ(same.error, 0);
  EXPECT_EQ(paired_difference(here, baseline, true).gained, 0);
  std::vector<DocumentOutcome> many(3000), none(3000);
  for (DocumentOutcome& outcome : many) outcome.correct = true;
  EXPECT_LT(paired_difference(many, none, false).p_value, 1e-300);
}

}  // namespace
}  // namespace bitgrid

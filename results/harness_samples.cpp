#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "core/text/json_input.hpp"
#include "core/text/text_file.hpp"
#include "kernels/sha256.hpp"
#include "results/harness.hpp"
#include "results/rows.hpp"
#include "results/task_scores.hpp"

namespace bitgrid::results {
namespace {

using Json = nlohmann::ordered_json;

// As Python prints it.
std::string python_number(double value) {
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

Json answer_json(const RequestScore& score) {
  return {python_number(score.log_likelihood), score.greedy ? "True" : "False"};
}

Json arguments_json(const DocumentTexts& texts) {
  Json out = Json::object();
  for (std::size_t k = 0; k < texts.continuations.size(); ++k)
    out[fmt::format("gen_args_{}", k)] = {{"arg_0", texts.context(k)},
                                          {"arg_1", texts.continuations[k]}};
  return out;
}

// The rows as they stand in the file; none for .csv, whose columns have other names in the harness.
std::optional<JsonLines> json_rows(const Task* rows, std::int32_t subset) {
  if (rows == nullptr) return std::nullopt;
  const TaskDefinition& definition = rows->definition();
  const std::string& file = rows->subsets()[static_cast<std::size_t>(subset)].file;
  if (file.ends_with(".csv") || file.ends_with(".csv.gz")) return std::nullopt;
  return JsonLines(file, "task " + definition.name);
}

Json sample_json(const TaskRecord& task, std::size_t document, const Task* rows,
                 const JsonLines* raw, const std::vector<RequestScore>& scores) {
  const TaskRecord::Document& d = task.documents[document];
  const DocumentOutcome& outcome = task.outcomes[document];
  const std::string target = std::to_string(d.gold);
  Json out = {{"doc_id", d.row}};
  if (raw != nullptr) out["doc"] = Json::parse(raw->row(static_cast<std::size_t>(d.row)));
  out["target"] = target;
  std::string prompt;
  if (rows != nullptr) {
    const DocumentTexts texts = rows->texts(static_cast<std::int64_t>(document));
    out["arguments"] = arguments_json(texts);
    prompt = texts.context(0);
  }
  Json resps = Json::array(), filtered = Json::array();
  for (const RequestScore& score : scores) {
    filtered.push_back(answer_json(score));
    resps.push_back(Json::array({answer_json(score)}));
  }
  out["resps"] = resps;
  out["filtered_resps"] = filtered;
  out["filter"] = "none";
  const bool norm = find_task_metric(task, task.task, "acc_norm") != nullptr;
  out["metrics"] = norm ? Json{"acc", "acc_norm"} : Json::array({"acc"});
  if (rows != nullptr) out["prompt_hash"] = sha256_hex(prompt);
  out["target_hash"] = sha256_hex(target);
  out["acc"] = outcome.correct ? 1.0 : 0.0;
  if (norm) out["acc_norm"] = outcome.correct_norm ? 1.0 : 0.0;
  return out;
}

}  // namespace

void harness_samples(std::ostream& out, const TaskRecord& task, std::int32_t subset,
                     const Task* rows) {
  const std::optional<JsonLines> raw = json_rows(rows, subset);
  const bool reversed = asked_in_reverse(task);
  const auto first = first_scores(task);
  for (std::size_t d = 0; d < task.documents.size(); ++d) {
    const TaskRecord::Document& document = task.documents[d];
    if (document.subset != subset) continue;
    const Json sample = sample_json(task, d, rows, raw ? &*raw : nullptr,
                                    scores_by_option(task, first[d], document.options, reversed));
    out << sample.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
}

}  // namespace bitgrid::results

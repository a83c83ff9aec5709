#include "sweeps/cell_travel.hpp"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

namespace bitgrid {
namespace {

std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }
double number(const nlohmann::json& value) {
  return std::bit_cast<double>(value.get<std::uint64_t>());
}

nlohmann::json to_json(const results::LinearSummary& s) {
  const LinearDiagnostics& d = s.diagnostics;
  return {s.layer,
          s.linear,
          s.rows,
          s.cols,
          s.code_hash,
          s.stored_bits,
          bits(d.loss),
          bits(d.relative_output_error),
          bits(d.relative_weight_error),
          bits(d.damping),
          d.damping_attempts,
          d.fallback,
          d.dead_columns,
          bits(d.factor_s),
          bits(d.solve_s)};
}

results::LinearSummary summary_from(const nlohmann::json& j) {
  results::LinearSummary s;
  s.layer = j[0];
  s.linear = j[1];
  s.rows = j[2];
  s.cols = j[3];
  s.code_hash = j[4];
  s.stored_bits = j[5];
  s.diagnostics.loss = number(j[6]);
  s.diagnostics.relative_output_error = number(j[7]);
  s.diagnostics.relative_weight_error = number(j[8]);
  s.diagnostics.damping = number(j[9]);
  s.diagnostics.damping_attempts = j[10];
  s.diagnostics.fallback = j[11];
  s.diagnostics.dead_columns = j[12];
  s.diagnostics.factor_s = number(j[13]);
  s.diagnostics.solve_s = number(j[14]);
  return s;
}

void add_unique(std::vector<std::string>& all, const std::string& one) {
  if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
}

}  // namespace

std::string CellTravel::to_text() const {
  nlohmann::json j = {{"outcome", static_cast<int>(outcome)},
                      {"failure", failure},
                      {"started", bits(started_s)},
                      {"peak", peak_memory_bytes},
                      {"hosts", hosts},
                      {"linears", nlohmann::json::array()},
                      {"seconds", nlohmann::json::object()}};
  for (const results::LinearSummary& summary : linears) j["linears"].push_back(to_json(summary));
  for (const auto& [term, s] : seconds) j["seconds"][term] = bits(s);
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CellTravel CellTravel::from_text(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text);
  CellTravel travel;
  travel.outcome = static_cast<Outcome>(j["outcome"].get<int>());
  travel.failure = j["failure"];
  travel.started_s = number(j["started"]);
  travel.peak_memory_bytes = j["peak"];
  travel.hosts = j["hosts"].get<std::vector<std::string>>();
  for (const nlohmann::json& summary : j["linears"])
    travel.linears.push_back(summary_from(summary));
  for (const auto& [term, s] : j["seconds"].items()) travel.seconds[term] = number(s);
  return travel;
}

void CellTravel::merge(const CellTravel& other) {
  for (const results::LinearSummary& summary : other.linears) linears.push_back(summary);
  for (const auto& [term, s] : other.seconds) seconds[term] += s;
  started_s = std::min(started_s, other.started_s);
  peak_memory_bytes = std::max(peak_memory_bytes, other.peak_memory_bytes);
  for (const std::string& host : other.hosts) add_unique(hosts, host);
}

}  // namespace bitgrid

#include "results/rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>

#include "core/methods/registry.hpp"
#include "kernels/error.hpp"

namespace bitgrid::results {
namespace {

// What a name says of a cell that has not stored anything yet: "gptq-w4-g32-order=none".
struct NameParts {
  std::string chain;
  double bits = 16;
  std::int64_t group = -1;
  std::string options;
};

NameParts parse_name(const std::string& name) {
  NameParts parts;
  std::size_t at = 0;
  // "-w" (bits) or "-b" (a budget of bits) and a digit: method names may hold hyphens themselves.
  const auto starts_bits = [&](std::size_t i) {
    return i + 2 < name.size() && (name[i + 1] == 'w' || name[i + 1] == 'b') &&
           std::isdigit(static_cast<unsigned char>(name[i + 2]));
  };
  do {
    at = name.find('-', at + (at > 0));
  } while (at != name.npos && !starts_bits(at));
  parts.chain = name.substr(0, at);
  if (at == name.npos) return parts;
  parts.bits = std::strtod(name.c_str() + at + 2, nullptr);
  std::vector<std::string> words;  // an option's value may hold hyphens: 1e-05, layers.0-1=4
  for (at = name.find('-', at + 2); at != name.npos;) {
    const std::size_t end = name.find('-', at + 1);
    const std::string word = name.substr(at + 1, end == name.npos ? end : end - at - 1);
    const bool names_key =
        word.find('=') != word.npos && std::isalpha(static_cast<unsigned char>(word[0])) != 0;
    const bool starts_word =
        words.empty() || word == "pc" || names_key || words.back().find('=') == words.back().npos;
    if (starts_word)
      words.push_back(word);
    else
      words.back().append("-").append(word);
    at = end;
  }
  for (const std::string& word : words) {
    if (word == "pc") continue;
    if (word.size() > 1 && word[0] == 'g' && word.find_first_not_of("0123456789", 1) == word.npos)
      parts.group = std::stoll(word.substr(1));
    else
      parts.options += (parts.options.empty() ? "" : ", ") + word;
  }
  return parts;
}

std::string chain_title(const std::string& chain) {
  std::string title;
  for (std::size_t at = 0; at <= chain.size();) {
    const std::size_t end = std::min(chain.find('+', at), chain.size());
    const std::string name = chain.substr(at, end - at);
    const Method* method = find_method(name);
    title += (title.empty() ? "" : "+") + (method != nullptr ? std::string(method->title) : name);
    at = end + 1;
  }
  return title;
}

// Whether some method of the chain has one scale for a whole linear.
bool has_one_scale(const std::string& chain) {
  for (const Method& method : all_methods())
    if (!method.groups && ("+" + chain + "+").find(fmt::format("+{}+", method.name)) != chain.npos)
      return true;
  return false;
}

Row row_of(const Reader& reader, const Reader::Entry& entry) {
  Row row;
  row.entry = entry;
  const NameParts name = parse_name(entry.name);
  row.bits = name.bits;
  row.group = name.group;
  row.options = name.options;
  row.method = chain_title(name.chain);
  row.quantizes = name.chain != "fp16";
  row.one_scale = has_one_scale(name.chain);
  if (!entry.has_record) return row;
  try {
    row.record = reader.cell(entry);
  } catch (const Error& e) {
    row.state = Row::State::unreadable;
    row.fault = e.what();
    return row;
  }
  const Recipe& recipe = row.record->header.recipe;
  row.state =
      row.record->status == CellStatus::finished ? Row::State::finished : Row::State::failed;
  row.bits = recipe.bits;
  row.group = recipe.group;
  row.quantizes = recipe.quantizes();
  if (!row.record->header.method_title.empty()) row.method = row.record->header.method_title;
  return row;
}

// Without a list (a run of an older file), sets appear in the order in which cells name them.
std::vector<std::string> sets_of(const RunRecord& run, const std::vector<Row>& rows) {
  std::vector<std::string> sets = run.sets;
  if (!sets.empty()) return sets;
  for (const Row& row : rows)
    if (row.record)
      for (const MetricRecord& metric : row.record->metrics)
        if (std::find(sets.begin(), sets.end(), metric.set) == sets.end())
          sets.push_back(metric.set);
  return sets;
}

}  // namespace

std::string_view row_state_name(Row::State state) {
  constexpr std::string_view names[] = {"unfinished", "finished", "failed", "unreadable"};
  return names[static_cast<int>(state)];
}

const MetricRecord* find_metric(const CellRecord& record, const RunRecord& run, std::size_t set) {
  const bool by_ids = run.set_fingerprints.size() == run.sets.size();
  const MetricRecord* found = nullptr;  // the latest one where there are several
  for (const MetricRecord& metric : record.metrics) {
    if (run.evaluation_length != 0 && metric.length != run.evaluation_length) continue;
    if (by_ids ? metric.ids_fingerprint == run.set_fingerprints[set] : metric.set == run.sets[set])
      found = &metric;
  }
  return found;
}

const TaskRecord* find_task(const CellRecord& record, const RunRecord& run, std::size_t task) {
  for (const TaskRecord& candidate : record.tasks)
    if (candidate.fingerprint == run.task_fingerprints[task]) return &candidate;
  return nullptr;
}

const TaskMetric* find_task_metric(const TaskRecord& task, const std::string& scope,
                                   const std::string& metric) {
  for (const TaskMetric& candidate : task.metrics)
    if (candidate.scope == scope && candidate.metric == metric) return &candidate;
  return nullptr;
}

Rows collect_rows(const Reader& reader) {
  Rows table;
  table.run = reader.run();
  for (const Reader::Entry& entry : reader.cells())
    if (entry.listed) table.rows.push_back(row_of(reader, entry));
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [](const Row& a, const Row& b) { return a.bits > b.bits; });
  table.run.sets = sets_of(table.run, table.rows);
  return table;
}

std::string bits_text(double bits) { return fmt::format("{:g}", bits); }

std::string group_text(const Row& row) {
  if (!row.quantizes) return "–";
  if (row.one_scale) return "linear";
  return row.group < 0 ? "channel" : std::to_string(row.group);
}

std::string method_text(const Row& row) {
  return row.options.empty() ? row.method : fmt::format("{} ({})", row.method, row.options);
}

bool has_comparisons(const Rows& table) {
  for (const Row& row : table.rows)
    for (std::size_t set = 0; set < table.run.sets.size(); ++set)
      if (const MetricRecord* metric =
              row.record ? find_metric(*row.record, table.run, set) : nullptr)
        if (metric->compared()) return true;
  return false;
}

std::string divergence_text(const Comparison& comparison) {
  return fmt::format("{:.4f}", comparison.divergence);
}

std::string agreement_text(const Comparison& comparison) {
  return fmt::format("{:.2f}", 100 * comparison.agreement);
}

std::string perplexity_text(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : "inf";
  if (value < 99.995) return fmt::format("{:.2f}", value);
  if (value < 999.95) return fmt::format("{:.1f}", value);
  if (value < 9999.5) return fmt::format("{:.0f}", value);
  return fmt::format("{:.1e}", value);
}

std::size_t text_width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, text_width(text)), ' ');
  return right ? space + text : text + space;
}

}  // namespace bitgrid::results

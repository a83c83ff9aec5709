#include "results/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/error.hpp"
#include "results/rows.hpp"

namespace bitgrid::results {
namespace {

using Json = nlohmann::ordered_json;
using Line = std::vector<std::string>;

std::string_view state_name(Row::State state) {
  constexpr std::string_view names[] = {"unfinished", "finished", "failed", "unreadable"};
  return names[static_cast<int>(state)];
}

// The cells of one line, as people read them: #Bits, method, group, bits per weight, one perplexity
// per set.
Line display_line(const Row& row, const Rows& table) {
  Line line = {bits_text(row.bits), method_text(row), group_text(row)};
  const bool finished = row.state == Row::State::finished;
  line.push_back(finished ? fmt::format("{:.2f}", row.record->bits_per_weight) : "–");
  for (std::size_t set = 0; set < table.run.sets.size(); ++set) {
    const MetricRecord* metric = finished ? find_metric(*row.record, table.run, set) : nullptr;
    if (metric != nullptr)
      line.push_back(perplexity_text(metric->value.perplexity));
    else
      line.push_back(row.state == Row::State::failed || row.state == Row::State::unreadable
                         ? std::string(state_name(row.state))
                         : "–");
  }
  return line;
}

Line display_head(const Rows& table) {
  Line head = {"#Bits", "Method", "Group", "Bits/weight"};
  head.insert(head.end(), table.run.sets.begin(), table.run.sets.end());
  return head;
}

bool right_aligned(std::size_t column) { return column != 1; }

std::string escaped_markdown(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '_' || c == '`' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string escaped_latex(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\textbackslash{}";
    else if (c == '~')
      out += "\\textasciitilde{}";
    else if (c == '^')
      out += "\\textasciicircum{}";
    else if (std::string_view("#$%&_{}").find(c) != std::string_view::npos)
      out += {'\\', c};
    else
      out += c;
  }
  return out;
}

// 1.2e+05 -> $1.2\times10^{5}$; an en dash has a spelling of its own.
std::string latex_cell(const std::string& text) {
  if (text == "–") return "--";
  const auto e = text.find("e+");
  if (e != text.npos && text.find_first_not_of("0123456789.e+") == text.npos)
    return fmt::format("${}\\times10^{{{}}}$", text.substr(0, e), std::stoi(text.substr(e + 2)));
  return escaped_latex(text);
}

std::vector<Line> display_lines(const Rows& table, std::string (*escape)(const std::string&)) {
  std::vector<Line> lines = {display_head(table)};
  for (const Row& row : table.rows) lines.push_back(display_line(row, table));
  for (Line& line : lines)
    for (std::string& cell : line) cell = escape(cell);
  return lines;
}

std::vector<std::size_t> widths_of(const std::vector<Line>& lines) {
  std::vector<std::size_t> widths(lines.front().size(), 3);
  for (const Line& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], text_width(line[i]));
  return widths;
}

std::string markdown(const Rows& table) {
  const std::vector<Line> lines = display_lines(table, escaped_markdown);
  const std::vector<std::size_t> widths = widths_of(lines);
  std::string out;
  for (std::size_t n = 0; n < lines.size(); ++n) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      out.append(i == 0 ? "| " : " | ").append(padded(lines[n][i], widths[i], right_aligned(i)));
    out += " |\n";
    if (n > 0) continue;
    for (std::size_t i = 0; i < widths.size(); ++i)
      out.append("|").append(widths[i] + 1, '-').append(right_aligned(i) ? ":" : "-");
    out += "|\n";
  }
  return out;
}

std::string latex(const Rows& table) {
  const std::vector<Line> lines = display_lines(table, latex_cell);
  const std::vector<std::size_t> widths = widths_of(lines);
  std::string columns;
  for (std::size_t i = 0; i < widths.size(); ++i) columns += right_aligned(i) ? 'r' : 'l';
  std::string out =
      "% needs \\usepackage{booktabs}\n\\begin{tabular}{" + columns + "}\n\\toprule\n";
  for (std::size_t n = 0; n < lines.size(); ++n) {
    if (n == 1 || (n > 1 && table.rows[n - 1].bits != table.rows[n - 2].bits)) out += "\\midrule\n";
    for (std::size_t i = 0; i < widths.size(); ++i)
      out.append(i == 0 ? "" : " & ").append(padded(lines[n][i], widths[i], right_aligned(i)));
    out += " \\\\\n";
  }
  return out + "\\bottomrule\n\\end{tabular}\n";
}

// RFC 4180, but for line ends.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string csv(const Rows& table) {
  std::string out = "cell,bits,method,options,group,status,bits_per_weight";
  for (const std::string& set : table.run.sets)
    out += fmt::format(",{},{}", csv_cell(set), csv_cell(set + " standard error"));
  out += "\n";
  for (const Row& row : table.rows) {
    const bool finished = row.state == Row::State::finished;
    out +=
        fmt::format("{},{},{},{},{},{},{}", csv_cell(row.entry.name), row.bits,
                    csv_cell(row.method), csv_cell(row.options), row.group, state_name(row.state),
                    finished ? fmt::format("{}", row.record->bits_per_weight) : "");
    for (std::size_t set = 0; set < table.run.sets.size(); ++set) {
      const MetricRecord* metric = finished ? find_metric(*row.record, table.run, set) : nullptr;
      out += metric == nullptr
                 ? ",,"
                 : fmt::format(",{},{}", metric->value.perplexity, metric->value.perplexity_error);
    }
    out += "\n";
  }
  return out;
}

// JSON has no NaN and no infinity: null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json metric_json(const MetricRecord& metric) {
  return {{"set", metric.set},
          {"protocol", metric.protocol},
          {"length", metric.length},
          {"bos", metric.bos},
          {"text_fingerprint", metric.text_fingerprint},
          {"ids_fingerprint", metric.ids_fingerprint},
          {"perplexity", number(metric.value.perplexity)},
          {"perplexity_error", number(metric.value.perplexity_error)},
          {"cross_entropy", number(metric.value.cross_entropy)},
          {"cross_entropy_error", number(metric.value.cross_entropy_error)},
          {"windows", metric.value.windows},
          {"tokens", metric.value.tokens}};
}

Json recipe_json(const Recipe& recipe) {
  Json options = Json::object();
  for (const auto& [key, value] : recipe.options)
    std::visit([&, &name = key](const auto& v) { options[name] = v; }, value);
  return {{"chain", recipe.chain},
          {"bits", recipe.bits},
          {"group", recipe.group},
          {"options", options}};
}

Json record_json(const CellRecord& record) {
  const CellHeader& header = record.header;
  Json metrics = Json::array();
  for (const MetricRecord& metric : record.metrics) metrics.push_back(metric_json(metric));
  return {{"recipe", recipe_json(header.recipe)},
          {"calibration", header.calibration},
          {"calibration_fingerprint", header.calibration_fingerprint},
          {"shards", header.shards},
          {"seed", header.seed},
          {"version", header.version},
          {"blas", header.blas},
          {"failure", record.failure},
          {"bits_per_weight", number(record.bits_per_weight)},
          {"metrics", metrics},
          {"tensors_kept", record.tensors_kept},
          {"wall_s", number(record.wall_s)},
          {"seconds", record.seconds},
          {"peak_memory_bytes", record.peak_memory_bytes},
          {"hosts", record.hosts},
          {"finished_s", number(record.finished_s)}};
}

std::string json(const Rows& table) {
  const RunRecord& run = table.run;
  Json cells = Json::array();
  for (const Row& row : table.rows) {
    Json cell = {{"name", row.entry.name},
                 {"key", row.entry.key},
                 {"status", state_name(row.state)},
                 {"bits", row.bits},
                 {"method", row.method},
                 {"options", row.options},
                 {"group", row.group},
                 {"layers_stored", row.entry.layers.size()}};
    if (row.record) cell.update(record_json(*row.record));
    if (!row.fault.empty()) cell["fault"] = row.fault;
    cells.push_back(std::move(cell));
  }
  const Json all = {{"sweep", run.name},
                    {"model", run.model},
                    {"model_fingerprint", run.model_fingerprint},
                    {"version", run.version},
                    {"device", run.device},
                    {"ranks", run.ranks},
                    {"stages", run.stages},
                    {"replicas", run.replicas},
                    {"threads", run.threads},
                    {"started_s", run.started_s},
                    {"finished_s", run.finished_s},
                    {"evaluation_length", run.evaluation_length},
                    {"sets", table.run.sets},
                    {"cells", cells}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string table(const Reader& reader, TableFormat format) {
  const Rows rows = collect_rows(reader);
  switch (format) {
    case TableFormat::markdown:
      return markdown(rows);
    case TableFormat::csv:
      return csv(rows);
    case TableFormat::latex:
      return latex(rows);
    case TableFormat::json:
      return json(rows);
  }
  throw Error("no such table format");
}

}  // namespace bitgrid::results

#include "results/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.hpp"
#include "results/rows.hpp"
#include "results/table_json.hpp"
#include "results/task_columns.hpp"

namespace bitgrid::results {
namespace {

using Line = std::vector<std::string>;

// The cells of one line, as people read them: #Bits, method, group, bits per weight, one perplexity
// per set, one accuracy per question set.
Line display_line(const Row& row, const Rows& table, const TableChoice& choice) {
  Line line = {bits_text(row.bits), method_text(row), group_text(row)};
  const bool finished = row.state == Row::State::finished;
  line.push_back(finished ? fmt::format("{:.2f}", row.record->bits_per_weight) : "–");
  const bool faulty = row.state == Row::State::failed || row.state == Row::State::unreadable;
  const std::string instead = faulty ? std::string(row_state_name(row.state)) : "–";
  for (std::size_t set = 0; set < table.run.sets.size(); ++set) {
    const MetricRecord* metric = finished ? find_metric(*row.record, table.run, set) : nullptr;
    line.push_back(metric != nullptr ? perplexity_text(metric->value.perplexity) : instead);
    if (!choice.divergences) continue;
    const bool compared = metric != nullptr && metric->compared();
    line.push_back(compared ? divergence_text(metric->comparison) : instead);
    line.push_back(compared ? agreement_text(metric->comparison) : instead);
  }
  const Line tasks = finished ? task_texts(*row.record, table.run, choice.metric)
                              : Line(task_heads(table, choice.metric).size(), instead);
  line.insert(line.end(), tasks.begin(), tasks.end());
  return line;
}

Line display_head(const Rows& table, const TableChoice& choice) {
  Line head = {"#Bits", "Method", "Group", "Bits/weight"};
  for (const std::string& set : table.run.sets) {
    head.push_back(set);
    if (choice.divergences) head.insert(head.end(), {set + " KL", set + " top-1"});
  }
  const Line tasks = task_heads(table, choice.metric);
  head.insert(head.end(), tasks.begin(), tasks.end());
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

std::vector<Line> display_lines(const Rows& table, const TableChoice& choice,
                                std::string (*escape)(const std::string&)) {
  std::vector<Line> lines = {display_head(table, choice)};
  for (const Row& row : table.rows) lines.push_back(display_line(row, table, choice));
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

std::string markdown(const Rows& table, const TableChoice& choice) {
  const std::vector<Line> lines = display_lines(table, choice, escaped_markdown);
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

std::string latex(const Rows& table, const TableChoice& choice) {
  const std::vector<Line> lines = display_lines(table, choice, latex_cell);
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

// The sign of a NaN means nothing.
std::string csv_number(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{}", value);
}
std::string csv_numbers(double value, double error) {
  return "," + csv_number(value) + "," + csv_number(error);
}

std::string csv_head(const Rows& table, const std::vector<TaskColumn>& tasks,
                     TableMetric metric_shown) {
  std::string out = "cell,bits,method,options,group,status,bits_per_weight";
  const auto add = [&](const std::string& name) {
    out += fmt::format(",{},{}", csv_cell(name), csv_cell(name + " standard error"));
  };
  const bool compared = has_comparisons(table);
  for (const std::string& set : table.run.sets) {
    add(set);
    if (!compared) continue;
    add(set + " divergence");
    add(set + " agreement");
  }
  for (const TaskColumn& column : tasks) add(column.scope + " " + column.metric);
  if (has_mean(table.run)) out += metric_shown == TableMetric::acc ? ",mean acc" : ",mean acc_norm";
  return out + "\n";
}

// What is not there is an empty cell.
std::string csv_row(const Row& row, const Rows& table, const std::vector<TaskColumn>& tasks,
                    TableMetric metric_shown) {
  const CellRecord* record = row.state == Row::State::finished ? &*row.record : nullptr;
  std::string out =
      fmt::format("{},{},{},{},{},{},{}", csv_cell(row.entry.name), row.bits, csv_cell(row.method),
                  csv_cell(row.options), row.group, row_state_name(row.state),
                  record != nullptr ? fmt::format("{}", record->bits_per_weight) : "");
  const bool compared = has_comparisons(table);
  for (std::size_t set = 0; set < table.run.sets.size(); ++set) {
    const MetricRecord* metric = record ? find_metric(*record, table.run, set) : nullptr;
    out += metric ? csv_numbers(metric->value.perplexity, metric->value.perplexity_error) : ",,";
    if (!compared) continue;
    const bool here = metric != nullptr && metric->compared();
    const Comparison c = here ? metric->comparison : Comparison();
    out += here ? csv_numbers(c.divergence, c.divergence_error) +
                      csv_numbers(c.agreement, c.agreement_error)
                : ",,,,";
  }
  for (const TaskColumn& column : tasks) {
    const TaskRecord* task = record ? find_task(*record, table.run, column.task) : nullptr;
    const TaskMetric* metric =
        task ? find_task_metric(*task, column.scope, column.metric) : nullptr;
    out += metric ? csv_numbers(metric->value, metric->error) : ",,";
  }
  if (has_mean(table.run)) {
    const auto mean = record ? task_mean(*record, table.run, metric_shown) : std::nullopt;
    out += mean ? fmt::format(",{}", *mean) : ",";
  }
  return out + "\n";
}

std::string csv(const Rows& table, TableMetric metric_shown) {
  const std::vector<TaskColumn> tasks = task_columns(table);
  std::string out = csv_head(table, tasks, metric_shown);
  for (const Row& row : table.rows) out += csv_row(row, table, tasks, metric_shown);
  return out;
}

}  // namespace

std::string table(const Reader& reader, const TableChoice& choice) {
  const Rows rows = collect_rows(reader);
  switch (choice.format) {
    case TableFormat::markdown:
      return markdown(rows, choice);
    case TableFormat::csv:
      return csv(rows, choice.metric);
    case TableFormat::latex:
      return latex(rows, choice);
    case TableFormat::json:
      return table_json(rows);
  }
  throw Error("no such table format");
}

}  // namespace bitgrid::results

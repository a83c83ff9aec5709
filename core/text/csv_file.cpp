#include "core/text/csv_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

bool ends_line(char c) { return c == '\n' || c == '\r'; }

// The cell at `at`, which it moves to the comma, line end or end of text behind it. A quote opens
// only at the cell's first character; what follows its closing one belongs to the cell.
std::string take_cell(std::string_view text, std::size_t& at, const std::string& where) {
  std::string cell;
  if (at < text.size() && text[at] == '"') {
    for (++at;; ++at) {
      const std::size_t quote = text.find('"', at);
      if (quote == text.npos)
        throw InputError(fmt::format("{}: a quote that opens in this row is never closed", where));
      cell += text.substr(at, quote - at);
      at = quote + 1;
      if (at == text.size() || text[at] != '"') break;
      cell += '"';
    }
  }
  const std::size_t end = std::min(text.find_first_of(",\r\n", at), text.size());
  cell += text.substr(at, end - at);
  at = end;
  return cell;
}

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file) {
  if (text.starts_with("\xef\xbb\xbf"))
    throw InputError(fmt::format("{}:1: starts with a byte order mark", file));
  std::vector<CsvRow> rows;
  std::size_t line = 1, counted = 0;  // lines are counted up to the byte `counted`
  for (std::size_t at = 0; at < text.size();) {
    line +=
        static_cast<std::size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(counted),
                                            text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
    counted = at;
    if (ends_line(text[at])) {
      ++at;
      continue;
    }
    CsvRow row{line, {}};
    const std::string where = fmt::format("{}:{}", file, line);
    row.cells.push_back(take_cell(text, at, where));
    while (at < text.size() && text[at] == ',') row.cells.push_back(take_cell(text, ++at, where));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace bitgrid

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

struct CsvRow {
  std::size_t line = 0;  // of the file where the row begins, from 1
  std::vector<std::string> cells;
};

// Rows of a comma-separated file as Python's csv module reads them (RFC 4180: quoted cells may hold
// commas, line ends and doubled quotes); empty lines are no rows. text is valid UTF-8. Throws
// InputError "FILE:LINE: …" for a quote that is never closed and for a byte order mark.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& file);

}  // namespace bitgrid

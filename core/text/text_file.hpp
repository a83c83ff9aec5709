#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitgrid {

// A file's bytes; a name that ends in .gz is decompressed (several members end to end are fine).
// Throws InputError "PATH: …": missing, not a file, not gzip, truncated or damaged. needed_for says
// what wanted it ("the set wikitext2").
std::string read_file(const std::string& path, std::string_view needed_for);

// The same, and checked to be UTF-8: InputError names the byte and its line. Bytes are kept as they
// are.
std::string read_text(const std::string& path, std::string_view needed_for);

// Lines as Python's text files count them: they end at LF, CR LF or CR, which are not part of the
// line; what follows the last line end is a line if there is something.
struct TextLine {
  std::string_view text;
  bool ended = true;  // by a line end, rather than by the end of the file
};
std::vector<TextLine> text_lines(std::string_view text);

// A JSON-lines file, one object per line, read row by row: shards have hundreds of thousands of
// rows of which a run reads a few hundred. Every line must look like an object at once; the rest of
// a row is checked when it is read.
class JsonLines {
 public:
  JsonLines(const std::string& path, std::string_view needed_for);
  std::size_t size() const { return lines_.size(); }
  // A string field of row i. Throws InputError "PATH:LINE: …".
  std::string text(std::size_t i, const char* field) const;
  // Row i as it stands in the file, and its line, from 1.
  std::string_view row(std::size_t i) const {
    return std::string_view(bytes_).substr(lines_[i].first, row_bytes(i));
  }
  std::size_t line(std::size_t i) const { return i + 1; }
  std::size_t row_bytes(std::size_t i) const { return lines_[i].second - lines_[i].first; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::string bytes_;
  std::vector<std::pair<std::size_t, std::size_t>> lines_;  // begin and end in bytes_
};

}  // namespace bitgrid

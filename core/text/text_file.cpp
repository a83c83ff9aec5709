#include "core/text/text_file.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/text/json_input.hpp"
#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

std::string read_plain(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  std::string bytes;
  std::string chunk(kChunkBytes, '\0');
  while (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || in.gcount() > 0) {
    bytes.append(chunk, 0, static_cast<std::size_t>(in.gcount()));
  }
  if (in.bad())
    throw InputError(fmt::format("{}: reading failed after {} bytes", path, bytes.size()));
  return bytes;
}

struct CloseGzip {
  void operator()(gzFile file) const { gzclose_r(file); }
};

std::string read_gzip(const std::string& path) {
  const std::unique_ptr<gzFile_s, CloseGzip> file(gzopen(path.c_str(), "rb"));
  if (!file) throw InputError(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  gzbuffer(file.get(), kChunkBytes);
  if (gzdirect(file.get()) == 1)
    throw InputError(fmt::format("{}: is not a gzip file, but is named .gz", path));
  std::string bytes;
  std::string chunk(kChunkBytes, '\0');
  int count = 0;
  while ((count = gzread(file.get(), chunk.data(), static_cast<unsigned>(chunk.size()))) > 0) {
    bytes.append(chunk, 0, static_cast<std::size_t>(count));
  }
  int error = Z_OK;
  const char* message = gzerror(file.get(), &error);
  if (error == Z_BUF_ERROR) {
    throw InputError(
        fmt::format("{}: the gzip file is truncated after {} bytes of text", path, bytes.size()));
  }
  if (count < 0 || error != Z_OK) {
    const std::string why = error == Z_ERRNO ? std::strerror(errno) : message;
    throw InputError(fmt::format("{}: the gzip file is damaged after {} bytes of text: {}", path,
                                 bytes.size(), why));
  }
  return bytes;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

}  // namespace

std::string read_file(const std::string& path, std::string_view needed_for) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::none)  // such as a loop of symbolic links
    throw InputError(fmt::format("{}: cannot be opened: {}", path, error.message()));
  if (!fs::exists(status))
    throw InputError(fmt::format("{}: no such file; needed for {}", path, needed_for));
  if (fs::is_directory(status))
    throw InputError(fmt::format("{}: is a directory, expected a file", path));
  if (!fs::is_regular_file(status)) throw InputError(path + ": is not a regular file");
  return path.ends_with(".gz") ? read_gzip(path) : read_plain(path);
}

std::string read_text(const std::string& path, std::string_view needed_for) {
  std::string text = read_file(path, needed_for);
  if (const std::size_t bad = find_invalid_utf8(text); bad != text.npos) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    throw InputError(fmt::format("{}:{}: not UTF-8 at byte {} of the text", path, line, bad));
  }
  return text;
}

std::vector<TextLine> text_lines(std::string_view text) {
  std::vector<TextLine> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
    lines.push_back({text.substr(begin, end - begin), end < text.size()});
    begin = end + (text.substr(end).starts_with("\r\n") ? 2 : 1);
  }
  return lines;
}

JsonLines::JsonLines(const std::string& path, std::string_view needed_for)
    : path_(path), bytes_(read_file(path, needed_for)) {
  const std::string_view bytes = bytes_;
  std::size_t rows = 0;  // without the blank lines at the end
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
    lines_.emplace_back(begin, end);
    if (!is_blank(bytes.substr(begin, end - begin))) rows = lines_.size();
    begin = end + 1;
  }
  lines_.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const auto [begin, end] = lines_[i];
    const std::string_view line = bytes.substr(begin, end - begin);
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos || line[first] != '{' || line[line.find_last_not_of(" \t\r")] != '}') {
      throw InputError(fmt::format("{}:{}: expected a JSON object on every line", path_, i + 1));
    }
  }
  if (rows == 0) throw InputError(fmt::format("{}: has no rows; needed for {}", path_, needed_for));
}

std::string JsonLines::text(std::size_t i, const char* field) const {
  const std::string_view line = std::string_view(bytes_).substr(lines_[i].first, row_bytes(i));
  const std::string where = fmt::format("{}:{}", path_, i + 1);
  const nlohmann::json row = parse_json(line, where);
  const auto found = row.find(field);
  if (found == row.end()) throw InputError(fmt::format("{}: the row has no \"{}\"", where, field));
  if (!found->is_string())
    throw InputError(fmt::format("{}: \"{}\" must be a string", where, field));
  return found->get_ref<const std::string&>();
}

}  // namespace bitgrid

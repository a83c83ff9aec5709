#include "core/text/text_sets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <numeric>

#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBlankLine = "\n\n";
constexpr std::size_t kC4NewDocuments = 1100;
constexpr std::int64_t kC4NewWindowsMax = 256;

// A named set whose part is one text: where its rows lie and what is put between them.
struct JoinedSet {
  const char* name;
  const char* folder;  // under the data directory
  const char* prefix;  // of the original files, "wiki." test ".raw"
  const char* suffix;
  const char* field;  // of the JSON-lines exports
  const char* separator;
  const char* evaluated;  // the split: "test", or "valid"
};
constexpr JoinedSet kJoinedSets[] = {
    {"wikitext2", "wikitext2", "wiki.", ".raw", "text", kBlankLine, "test"},
    {"ptb", "ptb", "ptb.", ".txt", "sentence", kBlankLine, "valid"},
    {"ptb-new", "ptb", "ptb.", ".txt", "sentence", " ", "test"},
};
constexpr const char* kDocumentSets[] = {"c4", "c4-new"};

bool is_path(const std::string& set, const char* suffix) {
  return set.ends_with(suffix) || set.ends_with(std::string(suffix) + ".gz");
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The first of the candidates that exists; the message names the first, which is the public set's
// own file.
std::string find_file(const TextSource& source, const std::vector<std::string>& candidates) {
  const fs::path folder = source.data_dir;
  for (const std::string& name : candidates) {
    if (std::error_code error; fs::exists(folder / name, error)) return folder / name;
  }
  const std::vector<std::string> others(candidates.begin() + 1, candidates.end());
  throw InputError(fmt::format("{}: no such file; the set {} needs it, or {} beside it",
                               (folder / candidates.front()).string(), source.set,
                               fmt::join(others, ", ")));
}

// WikiText keeps each line's own spaces and its line end, except that a blank line is an empty row;
// PTB rows are stripped. Both are what the public sets' loaders do.
std::vector<std::string> original_rows(std::string_view text, bool stripped) {
  std::vector<std::string> rows;
  for (const TextLine& line : text_lines(text)) {
    const std::string_view content = python_strip(line.text);
    if (stripped || content.empty()) {
      rows.emplace_back(content);
    } else {
      rows.emplace_back(line.text);
      if (line.ended) rows.back() += '\n';
    }
  }
  return rows;
}

std::vector<std::string> json_rows(const JsonLines& lines, const char* field, std::size_t count) {
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < std::min(count, lines.size()); ++i)
    rows.push_back(lines.text(i, field));
  return rows;
}

std::string join(const std::vector<std::string>& rows, std::string_view separator) {
  std::string text;
  for (const std::string& row : rows) {
    if (&row != &rows.front()) text += separator;
    text += row;
  }
  return text;
}

TextPart read_joined(const TextSource& source, const JoinedSet& set, Part part) {
  const std::string split = part == Part::calibration ? "train" : set.evaluated;
  const std::string original = set.prefix + split + set.suffix;
  const std::string exported = (split == "valid" ? "validation" : split) + ".jsonl";
  std::vector<std::string> candidates;
  for (const std::string& name : {original, exported}) {
    candidates.push_back(fmt::format("{}/{}", set.folder, name));
    candidates.push_back(candidates.back() + ".gz");
  }
  TextPart read;
  read.file = find_file(source, candidates);
  read.protocol = std::string("gptq-") + set.name;
  const std::string needed_for = "the set " + source.set;
  const std::vector<std::string> rows =
      is_path(read.file, ".jsonl")
          ? json_rows(JsonLines(read.file, needed_for), set.field, std::string::npos)
          : original_rows(read_text(read.file, needed_for), std::string_view(set.folder) == "ptb");
  read.text = join(rows, set.separator);
  return read;
}

TextPart read_c4(const TextSource& source, Part part) {
  const std::string base = part == Part::calibration ? "c4/en/c4-train.00000-of-01024"
                                                     : "c4/en/c4-validation.00000-of-00008";
  TextPart read;
  read.file =
      find_file(source, {base + ".json.gz", base + ".json", base + ".jsonl", base + ".jsonl.gz"});
  read.protocol = "gptq-" + source.set;
  JsonLines documents(read.file, "the set " + source.set);
  if (part == Part::calibration || source.set == "c4") {
    read.documents = std::move(documents);
  } else {
    read.text = join(json_rows(documents, "text", kC4NewDocuments), " ");
    read.windows_max = kC4NewWindowsMax;
  }
  return read;
}

TextPart read_path(const TextSource& source, Part part) {
  TextPart read;
  read.file = source.set;
  const fs::path under = fs::path(source.data_dir) / source.set;
  std::error_code error;
  if (!fs::exists(read.file, error) && fs::exists(under, error)) read.file = under;
  const std::string needed_for = "the data set of that name";
  if (is_path(source.set, ".txt")) {
    read.protocol = "text-whole";
    read.text = read_text(read.file, needed_for);
    return read;
  }
  read.protocol = "jsonl-joined";
  JsonLines documents(read.file, needed_for);
  if (part == Part::calibration) {
    read.documents = std::move(documents);
  } else {
    read.text = join(json_rows(documents, "text", std::string::npos), kBlankLine);
  }
  return read;
}

}  // namespace

std::vector<std::string> text_set_names() {
  std::vector<std::string> names;
  for (const JoinedSet& set : kJoinedSets) names.emplace_back(set.name);
  names.insert(names.end(), std::begin(kDocumentSets), std::end(kDocumentSets));
  return names;
}

void check_text_set(const std::string& set) {
  const std::vector<std::string> names = text_set_names();
  if (std::find(names.begin(), names.end(), set) != names.end()) return;
  if (is_path(set, ".txt") || is_path(set, ".jsonl")) return;
  const auto nearest = std::min_element(
      names.begin(), names.end(),
      [&](const auto& a, const auto& b) { return edit_distance(set, a) < edit_distance(set, b); });
  throw InputError(
      fmt::format("unknown data set '{}'; did you mean '{}'? Known are {}, and paths that end in "
                  ".txt or .jsonl",
                  set, *nearest, fmt::join(names, ", ")));
}

TextPart read_text_part(const TextSource& source, Part part) {
  check_text_set(source.set);
  for (const JoinedSet& set : kJoinedSets) {
    if (source.set == set.name) return read_joined(source, set, part);
  }
  for (const char* name : kDocumentSets) {
    if (source.set == name) return read_c4(source, part);
  }
  return read_path(source, part);
}

}  // namespace bitgrid

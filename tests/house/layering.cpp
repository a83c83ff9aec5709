#include "tests/house/layering.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string_view>

namespace bitgrid::house {
namespace {

namespace fs = std::filesystem;

// kernels <- core <- results, kernels <- dist, and sweeps sits on all. What a folder may include,
// itself apart.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"kernels", {}},
    {"core", {"kernels"}},
    {"dist", {"kernels"}},
    {"results", {"kernels", "core"}},
    {"sweeps", {"kernels", "core", "dist", "results"}},
    {"tests", {"kernels", "core", "dist", "results", "sweeps"}},
};

// Third-party headers that slow down every file that sees them, or that tie it to a build: for
// sources only. A whole name, or a beginning.
constexpr std::string_view kHeavy[] = {
    "nlohmann/", "toml++/",  "toml.hpp", "CLI/",   "H5",     "hdf5",      "mpi.h",   "tbb/",
    "oneapi/",   "openssl/", "cuda",     "cublas", "nccl",   "cusolver",  "cblas.h", "lapacke.h",
    "zlib.h",    "utf8proc", "pcre2",    "gtest/", "gmock/", "benchmark/"};

// The two headers that look at the compiler: everything else means the same in every build.
const std::set<std::string> kConditional = {"kernels/host_device.hpp", "kernels/multiversion.hpp"};

struct Line {
  const std::string& file;  // from root, such as "core/model/linear.hpp"
  int number;
  std::string_view text;
};

std::string folder_of(std::string_view path) { return std::string(path.substr(0, path.find('/'))); }

bool is_header(const std::string& file) { return file.ends_with(".hpp"); }

// The name in an #include line, with its opening quote or bracket; empty if the line is none.
std::string_view included(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos || text[begin] != '#') return {};
  const auto word = text.find_first_not_of(" \t", begin + 1);
  if (word == std::string_view::npos || !text.substr(word).starts_with("include")) return {};
  const auto open = text.find_first_of("\"<", word);
  if (open == std::string_view::npos) return {};
  const auto close = text.find_first_of("\">", open + 1);
  return text.substr(open, close == std::string_view::npos ? close : close - open);
}

// What is wrong with one line; empty if nothing is.
std::string fault_of(const std::string& root, const Line& line) {
  const std::string folder = folder_of(line.file);
  const std::string_view include = included(line.text);
  if (include.starts_with('"')) {
    const std::string target(include.substr(1));
    // A test may name the files of its own folder shortly.
    if (folder == "tests" && fs::exists((fs::path(root) / line.file).parent_path() / target))
      return {};
    const std::string to = folder_of(target);
    if (!kArrows.contains(to) || !fs::exists(fs::path(root) / target))
      return fmt::format("\"{}\" is not a file of the project, named from its root", target);
    if (to != folder && !kArrows.at(folder).contains(to))
      return fmt::format("{} must not include {} (\"{}\")", folder, to, target);
    return {};
  }
  if (!is_header(line.file)) return {};
  for (const std::string_view heavy : kHeavy)
    if (include.starts_with('<') && include.substr(1).starts_with(heavy) && folder != "tests" &&
        !include.ends_with("_fwd.hpp"))
      return fmt::format("{}> belongs in a source, not in a header", include);
  const auto begin = std::min(line.text.find_first_not_of(" \t"), line.text.size());
  const std::string_view code = line.text.substr(begin);
  if (code.starts_with("#if") && !kConditional.contains(line.file))
    return "a header has no #if: it means the same in every build";
  if (code.starts_with("using namespace")) return "a header has no using namespace";
  return {};
}

void check_file(const std::string& root, const std::string& file, LayeringReport& report) {
  std::ifstream in(fs::path(root) / file);
  bool once = false;
  int number = 0;
  for (std::string text; std::getline(in, text);) {
    once = once || text.starts_with("#pragma once");
    const std::string fault = fault_of(root, {file, ++number, text});
    if (!fault.empty()) report.faults.push_back(fmt::format("{}:{}: {}", file, number, fault));
  }
  if (is_header(file) && !once)
    report.faults.push_back(fmt::format("{}:1: a header begins with #pragma once", file));
  ++report.files;
}

}  // namespace

LayeringReport check_layering(const std::string& root) {
  std::set<std::string> files;  // sorted, so that the report is the same everywhere
  for (const auto& [folder, arrows] : kArrows) {
    if (!fs::exists(fs::path(root) / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(root) / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".hpp" || extension == ".cpp" || extension == ".cu")
        files.insert(fs::relative(entry.path(), root).generic_string());
    }
  }
  LayeringReport report;
  for (const std::string& file : files) check_file(root, file, report);
  return report;
}

}  // namespace bitgrid::house

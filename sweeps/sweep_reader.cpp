#include "sweeps/sweep_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid {

std::string SweepSource::where(int line) const {
  if (line < 0) return "--set " + one_line(set.at(static_cast<std::size_t>(-line - 1)));
  return line > 0 ? fmt::format("{}:{}", file, line) : file;
}

void SweepSource::fail(int line, std::string_view message) const {
  // Messages quote the file, and a hostile file is not to write several lines or megabytes of them.
  constexpr std::size_t kBytesMax = 2000;
  throw InputError(one_line(fmt::format("{}: {}", where(line), message.substr(0, kBytesMax))));
}

void SweepSource::fail_kind(std::string_view label, std::string_view expected,
                            const TomlValue& found) const {
  fail(found.line, fmt::format("{}: expected {}, found {}", label, expected, toml_kind(found)));
}

std::string suggestion(std::string_view text, std::span<const std::string> words) {
  // Nobody mistypes a hundred letters; the distance of long words would be costly.
  const std::string nearest = text.size() <= 64 ? nearest_word(text, words) : "";
  if (!nearest.empty()) return fmt::format("; did you mean '{}'?", nearest);
  constexpr std::size_t kShown = 20;
  const auto shown = words.first(std::min(words.size(), kShown));
  return fmt::format("; known: {}{}", fmt::join(shown, ", "), words.size() > kShown ? ", …" : "");
}

SectionReader::SectionReader(const SweepSource& source, std::string name,
                             const TomlValue::Table& table, std::vector<std::string> known)
    : source_(source), name_(std::move(name)), table_(table) {
  std::sort(known.begin(), known.end());
  for (const auto& entry : table) {
    if (std::binary_search(known.begin(), known.end(), entry.key)) continue;
    const std::string in = name_.empty() ? "" : fmt::format(" in [{}]", name_);
    source_.fail(entry.line,
                 fmt::format("unknown {} {}{}{}", entry.value.is_table() ? "table" : "key",
                             quote_for_message(entry.key), in, suggestion(entry.key, known)));
  }
}

std::string SectionReader::label(std::string_view key) const {
  return name_.empty() ? std::string(key) : fmt::format("{}.{}", name_, key);
}

void SectionReader::fail(std::string_view key, const TomlValue& value,
                         std::string_view what) const {
  source_.fail(value.line, fmt::format("{}: {}", label(key), what));
}

std::int64_t SectionReader::integer(std::string_view key, std::int64_t fallback,
                                    Range range) const {
  const TomlValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto* integer = value->get_if<std::int64_t>();
  if (integer == nullptr) source_.fail_kind(label(key), "an integer", *value);
  if (*integer < range.min || *integer > range.max)
    fail(
        key, *value,
        fmt::format("expected an integer from {} to {}, found {}", range.min, range.max, *integer));
  return *integer;
}

std::int64_t SectionReader::integer_or_auto(std::string_view key, Range range) const {
  const TomlValue* value = find(key);
  if (value == nullptr) return 0;
  if (const auto* text = value->get_if<std::string>()) {
    if (*text == "auto") return 0;
    fail(key, *value,
         fmt::format("expected an integer or \"auto\", found {}", quote_for_message(*text)));
  }
  if (!value->get_if<std::int64_t>())
    source_.fail_kind(label(key), "an integer or \"auto\"", *value);
  return integer(key, 0, range);
}

bool SectionReader::flag(std::string_view key, bool fallback) const {
  const TomlValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto* flag = value->get_if<bool>();
  if (flag == nullptr) source_.fail_kind(label(key), "true or false", *value);
  return *flag;
}

std::string SectionReader::text(std::string_view key, const TomlValue& value) const {
  constexpr std::size_t kBytesMax = 4096;
  const auto* text = value.get_if<std::string>();
  if (text == nullptr) source_.fail_kind(label(key), "a string", value);
  if (text->empty()) fail(key, value, "expected a string that is not empty");
  if (text->size() > kBytesMax)
    fail(key, value, fmt::format("expected a string of at most {} bytes", kBytesMax));
  if (one_line(*text) != *text) fail(key, value, "expected a string without control characters");
  return *text;
}

std::string SectionReader::text(std::string_view key, const std::string& fallback) const {
  const TomlValue* value = find(key);
  return value == nullptr ? fallback : text(key, *value);
}

std::string SectionReader::word(std::string_view key, const std::string& fallback,
                                const std::vector<std::string>& choices) const {
  const TomlValue* value = find(key);
  if (value == nullptr) return fallback;
  const std::string word = text(key, *value);
  if (std::find(choices.begin(), choices.end(), word) == choices.end())
    fail(key, *value,
         fmt::format("expected one of {}, found {}", fmt::join(choices, ", "),
                     quote_for_message(word)));
  return word;
}

const TomlValue::Table& SectionReader::table(std::string_view key) const {
  static const TomlValue::Table kNone;
  const TomlValue* value = find(key);
  if (value == nullptr) return kNone;
  const auto* table = value->get_if<TomlValue::Table>();
  if (table == nullptr)
    source_.fail_kind(label(key), fmt::format("a table [{}]", label(key)), *value);
  return *table;
}

}  // namespace bitgrid

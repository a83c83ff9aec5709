#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sweeps/sweep_toml.hpp"

namespace bitgrid {

// Where the values of a sweep come from: turns lines into the first words of a message.
struct SweepSource {
  std::string file;
  std::vector<std::string> set;  // "calibration.windows=16"

  std::string where(int line) const;  // "demo.toml:7" or "--set calibration.windows=16"
  // Throws InputError "WHERE: message".
  [[noreturn]] void fail(int line, std::string_view message) const;
  // Throws "WHERE: LABEL: expected a number, found a string".
  [[noreturn]] void fail_kind(std::string_view label, std::string_view expected,
                              const TomlValue& found) const;
};

// "; did you mean 'windows'?", or "; known: data, length" where no word is close.
std::string suggestion(std::string_view text, std::span<const std::string> words);

// One table of a sweep file, read key by key: the type and the range of each value are checked,
// messages name the key.
class SectionReader {
 public:
  // name: "calibration"; "" for the top level. Throws for a key that is not in `known`.
  SectionReader(const SweepSource& source, std::string name, const TomlValue::Table& table,
                std::vector<std::string> known);

  const TomlValue* find(std::string_view key) const { return toml_find(table_, key); }
  std::string label(std::string_view key) const;  // "calibration.windows"

  struct Range {
    std::int64_t min, max;
  };
  std::int64_t integer(std::string_view key, std::int64_t fallback, Range range) const;
  // 0 for "auto" and where the key is missing.
  std::int64_t integer_or_auto(std::string_view key, Range range) const;
  bool flag(std::string_view key, bool fallback) const;
  // Not empty, one line, at most 4096 bytes.
  std::string text(std::string_view key, const std::string& fallback) const;
  std::string text(std::string_view key, const TomlValue& value) const;
  std::string word(std::string_view key, const std::string& fallback,
                   const std::vector<std::string>& choices) const;
  // The table of that name; an empty one where it is missing.
  const TomlValue::Table& table(std::string_view key) const;

  [[noreturn]] void fail(std::string_view key, const TomlValue& value, std::string_view what) const;

 private:
  const SweepSource& source_;
  std::string name_;
  const TomlValue::Table& table_;
};

}  // namespace bitgrid

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace bitgrid {

struct TomlEntry;

// A TOML value with its place. Unlike a toml++ table, ours keeps the order of the file: the order
// of a grid's axes means something.
struct TomlValue {
  using Array = std::vector<TomlValue>;
  using Table = std::vector<TomlEntry>;
  struct Date {};  // dates and times: legal TOML, of no use here

  std::variant<bool, std::int64_t, double, std::string, Date, Array, Table> value;
  int line = 0;  // of the file; −k: the k-th --set

  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&value);
  }
  bool is_table() const { return std::holds_alternative<Table>(value); }
  bool is_array() const { return std::holds_alternative<Array>(value); }
};

struct TomlEntry {
  std::string key;
  int line = 0;  // of the key; as above
  TomlValue value;
};

// "an integer", "a string": for messages.
std::string_view toml_kind(const TomlValue& value);
const TomlValue* toml_find(const TomlValue::Table& table, std::string_view key);

// Reads a whole document. Throws InputError "FILE:LINE: what is wrong", also for documents nested
// deeper than a sweep file can be and for more than 4 MiB.
TomlValue::Table parse_toml(std::string_view text, const std::string& file);

// The value of --set: TOML if it is TOML, else the text itself. Throws InputError for control
// characters, for text that is not UTF-8, and for what starts like a TOML array, table, string or
// integer and is none. The line of everything inside is `line`.
TomlValue parse_toml_value(const std::string& text, int line, const std::string& where);

// A TOML basic string, quotes included.
std::string toml_quote(std::string_view text);

// Control characters become '?'.
std::string one_line(std::string text);
// For messages: 'text' on one line, cut where it is long.
std::string quote_for_message(std::string_view text);

}  // namespace bitgrid

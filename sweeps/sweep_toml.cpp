#include "sweeps/sweep_toml.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "core/text/utf8.hpp"
#include "kernels/error.hpp"
#include "sweeps/toml_guard.hpp"

namespace bitgrid {
namespace {

constexpr std::size_t kTextBytesMax = std::size_t{4} << 20;
constexpr int kDepthMax = 16;  // a sweep file needs four

// Converts toml++'s tree. line_override ≠ 0 replaces every line.
class Converter {
 public:
  Converter(const std::string& file, int line_override) : file_(file), override_(line_override) {}

  TomlValue convert(const toml::node& node, int depth) const {
    TomlValue out;
    out.line = line(node.source());
    if (depth > kDepthMax)
      throw InputError(
          fmt::format("{}:{}: nested deeper than {} levels", file_, out.line, kDepthMax));
    if (const auto* table = node.as_table()) {
      out.value = convert_table(*table, depth);
    } else if (const auto* array = node.as_array()) {
      TomlValue::Array items;
      items.reserve(array->size());
      for (const auto& item : *array) items.push_back(convert(item, depth + 1));
      out.value = std::move(items);
    } else if (const auto* text = node.as_string()) {
      out.value = text->get();
    } else if (const auto* integer = node.as_integer()) {
      out.value = integer->get();
    } else if (const auto* real = node.as_floating_point()) {
      out.value = real->get();
    } else if (const auto* flag = node.as_boolean()) {
      out.value = flag->get();
    } else {
      out.value = TomlValue::Date{};
    }
    return out;
  }

  TomlValue::Table convert_table(const toml::table& table, int depth) const {
    struct Place {
      toml::source_position position;
      TomlEntry entry;
    };
    std::vector<Place> places;
    places.reserve(table.size());
    for (const auto& [key, node] : table)
      places.push_back({key.source().begin,
                        {std::string(key.str()), line(key.source()), convert(node, depth + 1)}});
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.position < b.position; });
    TomlValue::Table out;
    out.reserve(places.size());
    for (auto& place : places) out.push_back(std::move(place.entry));
    return out;
  }

 private:
  int line(const toml::source_region& region) const {
    return override_ != 0 ? override_ : static_cast<int>(region.begin.line);
  }

  const std::string& file_;
  int override_;
};

}  // namespace

std::string_view toml_kind(const TomlValue& value) {
  constexpr std::string_view kKinds[] = {"a boolean", "an integer", "a number", "a string",
                                         "a date",    "an array",   "a table"};
  return kKinds[value.value.index()];
}

const TomlValue* toml_find(const TomlValue::Table& table, std::string_view key) {
  for (const auto& entry : table)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

TomlValue::Table parse_toml(std::string_view text, const std::string& file) {
  if (text.size() > kTextBytesMax)
    throw InputError(fmt::format("{}: larger than {} MiB, the limit of a sweep file", file,
                                 kTextBytesMax >> 20));
  guard_toml(text, file);
  try {
    return Converter(file, 0).convert_table(toml::parse(text), 0);
  } catch (const toml::parse_error& e) {
    throw InputError(
        one_line(fmt::format("{}:{}: {}", file, e.source().begin.line, e.description())));
  }
}

namespace {

// Whether a value that is no TOML was meant as some: an array, a table, a quoted text or an integer
// beyond 64 bits. Anything else is taken for a plain text.
bool looks_like_toml(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  if (text.empty()) return false;
  if (std::string_view("[{\"'").find(text.front()) != text.npos) return true;
  if (text.front() == '+' || text.front() == '-') text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789_") == text.npos;
}

}  // namespace

TomlValue parse_toml_value(const std::string& text, int line, const std::string& where) {
  if (one_line(text) != text) throw InputError(where + ": control characters in the value");
  if (find_invalid_utf8(text) != std::string::npos)
    throw InputError(where + ": the value is not UTF-8");
  const auto parse = [&](const std::string& value) {
    const std::string document = "value = " + value;
    if (document.size() > kTextBytesMax) throw InputError(where + ": the value is too long");
    guard_toml(document, where);
    return Converter(where, line).convert(*toml::parse(document).get("value"), 1);
  };
  try {
    return parse(text);
  } catch (const toml::parse_error& e) {  // not TOML: a plain text
    if (looks_like_toml(text))
      throw InputError(one_line(fmt::format("{}: not a TOML value: {}", where, e.description())));
  } catch (const InputError&) {  // such as the path "/models/größer"
    if (looks_like_toml(text)) throw;
  }
  return parse(toml_quote(text));
}

std::string toml_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

std::string quote_for_message(std::string_view text) {
  constexpr std::size_t kMax = 80;
  std::size_t size = std::min(text.size(), kMax);
  // Not in the middle of a character: behind the cut there must not be a UTF-8 continuation byte.
  while (size > 0 && size < text.size() && (text[size] & 0xC0) == 0x80) --size;
  return fmt::format("'{}{}'", one_line(std::string(text.substr(0, size))),
                     size < text.size() ? "…" : "");
}

}  // namespace bitgrid

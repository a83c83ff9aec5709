#include "core/checkpoint/strict_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

// nlohmann's parser keeps its own stack on the heap: the limit on depth protects the handlers.
class Adapter final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Adapter(const std::string& file, const JsonLimits& limits, JsonEvents& events)
      : file_(file), limits_(limits), events_(events) {}

  bool null() override { return scalar({}); }
  bool boolean(bool) override { return scalar({.kind = JsonScalar::Kind::boolean}); }
  bool number_unsigned(number_unsigned_t v) override {
    return scalar({.kind = JsonScalar::Kind::unsigned_integer, .integer = v});
  }
  bool number_integer(number_integer_t) override {
    return scalar({.kind = JsonScalar::Kind::other_number});
  }
  bool number_float(number_float_t, const string_t&) override {
    return scalar({.kind = JsonScalar::Kind::other_number});
  }
  bool string(string_t& v) override { return scalar({.kind = JsonScalar::Kind::text, .text = v}); }
  bool binary(binary_t&) override { return false; }  // not in JSON text

  bool start_object(std::size_t) override {
    open();
    events_.begin_object();
    return true;
  }
  bool start_array(std::size_t) override {
    open();
    events_.begin_array();
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    keys_.push_back(name);
    events_.key(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    throw InputError(fmt::format("{}: not valid JSON (byte {})", file_, position));
  }

 private:
  bool scalar(const JsonScalar& value) {
    events_.scalar(value);
    return true;
  }
  void open() {
    if (first_key_.size() == static_cast<std::size_t>(limits_.depth))
      throw InputError(fmt::format("{}: JSON nested deeper than {} levels", file_, limits_.depth));
    first_key_.push_back(keys_.size());
  }
  bool close() {
    const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(first_key_.back());
    std::sort(first, keys_.end());
    if (const auto twice = std::adjacent_find(first, keys_.end()); twice != keys_.end())
      throw InputError(
          fmt::format("{}: the key {} appears twice in one object", file_, quote(*twice)));
    keys_.erase(first, keys_.end());
    first_key_.pop_back();
    events_.end();
    return true;
  }

  const std::string& file_;
  const JsonLimits& limits_;
  JsonEvents& events_;
  std::vector<std::string> keys_;       // of the open objects, the outermost first
  std::vector<std::size_t> first_key_;  // of each open object or array, into keys_
};

}  // namespace

void read_json(std::string_view text, const std::string& file, const JsonLimits& limits,
               JsonEvents& events) {
  if (const auto bad = find_invalid_utf8(text); bad != std::string_view::npos)
    throw InputError(fmt::format("{}: not valid UTF-8 (byte {})", file, bad + 1));
  // nlohmann's lexer takes a zero byte for the end of the text and skips a byte order mark; JSON
  // allows neither.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    throw InputError(fmt::format("{}: not valid JSON (byte {})", file, zero + 1));
  if (text.starts_with("\xef\xbb\xbf"))
    throw InputError(fmt::format("{}: not valid JSON (starts with a byte order mark)", file));
  Adapter adapter(file, limits, events);
  nlohmann::json::sax_parse(text, &adapter);
}

std::string quote(std::string_view text) {
  constexpr std::size_t shown_max = 120;
  std::string out = "\"";
  for (const char c : text.substr(0, shown_max)) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (c >= 0x20 && c < 0x7f)
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  out += text.size() > shown_max ? "…\"" : "\"";
  return out;
}

}  // namespace bitgrid

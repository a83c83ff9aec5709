#include "core/text/json_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

using nlohmann::json;

// "[json.exception.parse_error.101] parse error at line 3, column 7: syntax error …; last read:
// '…'" without the tag and without what was read, which can be a whole document.
std::string syntax_message(const json::exception& error) {
  std::string_view what = error.what();
  if (const auto tag = what.find("] "); tag != what.npos) what.remove_prefix(tag + 2);
  return std::string(what.substr(0, what.find("; last read")));
}

}  // namespace

json parse_json(std::string_view text, const std::string& where, int depth_max) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= depth_max) {
      throw InputError(fmt::format("{}: JSON nested deeper than {} levels", where, depth_max));
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
      const std::string key = shown_text(parsed.get_ref<const std::string&>());
      throw InputError(fmt::format("{}: the key {} appears twice in one object", where, key));
    }
    return true;
  };
  // nlohmann's lexer takes a zero byte for the end of the text and skips a byte order mark; JSON
  // allows neither.
  if (const auto zero = text.find('\0'); zero != text.npos)
    throw InputError(fmt::format("{}: not valid JSON: a zero byte (byte {})", where, zero + 1));
  if (text.starts_with("\xef\xbb\xbf"))
    throw InputError(fmt::format("{}: not valid JSON: starts with a byte order mark", where));
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    throw InputError(fmt::format("{}: not valid JSON: {}", where, syntax_message(error)));
  }
}

std::string shown_text(std::string_view text) {
  constexpr std::size_t kShown = 40;
  const bool cut = text.size() > kShown;
  return json(std::string(text.substr(0, kShown)))
             .dump(-1, ' ', true, json::error_handler_t::replace) +
         (cut ? "…" : "");
}

JsonField JsonField::root(const json& value, const std::string& file) {
  if (!value.is_object()) throw InputError(fmt::format("{}: must hold a JSON object", file));
  return {value, file, true};
}

void JsonField::fail(std::string_view what) const {
  const bool goes_on = !what.empty() && std::isalpha(static_cast<unsigned char>(what.front())) != 0;
  throw InputError(fmt::format("{}{}{}", where_, goes_on ? " " : ": ", what));
}

JsonField JsonField::operator[](std::string_view key) const {
  static const json null;
  if (!value_->is_object()) fail("must be an object");
  const auto found = value_->find(key);
  const bool is_word = std::all_of(key.begin(), key.end(),
                                   [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  const std::string name =
      is_word ? (is_root_ ? ": " : ".") + std::string(key) : fmt::format("[{}]", shown_text(key));
  return {found == value_->end() ? null : *found, where_ + name};
}

JsonField JsonField::at(std::size_t i) const {
  return {(*value_)[i], fmt::format("{}[{}]", where_, i)};
}

std::size_t JsonField::size() const {
  if (!value_->is_array()) fail("must be an array");
  return value_->size();
}

bool JsonField::is_null() const { return value_->is_null(); }

bool JsonField::is(std::string_view wanted) const {
  return value_->is_string() && text() == wanted;
}

const std::string& JsonField::text() const {
  if (!value_->is_string()) fail("must be a string");
  return value_->get_ref<const std::string&>();
}

bool JsonField::flag(bool otherwise) const {
  if (is_null()) return otherwise;
  if (!value_->is_boolean()) fail("must be true or false");
  return value_->get<bool>();
}

std::int32_t JsonField::id(std::int64_t limit) const {
  const bool fits = value_->is_number_unsigned() &&
                    value_->get<std::uint64_t>() < static_cast<std::uint64_t>(limit);
  if (!fits)
    fail(fmt::format("is {}; expected an id from 0 to {}, twice the number of tokens", shown(),
                     limit - 1));
  return static_cast<std::int32_t>(value_->get<std::uint64_t>());
}

std::string JsonField::shown() const {
  if (value_->is_string()) return shown_text(text());
  if (value_->is_object() && value_->contains("type")) return (*this)["type"].shown();
  return value_->is_primitive() ? value_->dump() : fmt::format("an {}", value_->type_name());
}

}  // namespace bitgrid

#include "core/evaluation/json_path.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/text/json_input.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

using nlohmann::json;

std::string scalar_text(const json& value, std::string_view path) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  throw InputError(fmt::format("\"{}\" must be a text, an integer, or true or false; found {}",
                               path, value.is_primitive() ? value.dump() : value.type_name()));
}

FieldValue value_of(const json& value, std::string_view path) {
  FieldValue out;
  out.is_list = value.is_array();
  if (out.is_list) {
    for (const json& item : value) out.items.push_back(scalar_text(item, path));
  } else {
    out.text = scalar_text(value, path);
  }
  return out;
}

// One path without "+". rest: what is left of it at `value`.
std::optional<FieldValue> single(const json& value, std::string_view rest, std::string_view path) {
  if (value.is_null()) return std::nullopt;
  if (rest.empty()) return value_of(value, path);
  const std::size_t dot = rest.find('.');
  std::string_view key = rest.substr(0, dot);
  rest = dot == rest.npos ? std::string_view() : rest.substr(dot + 1);
  const bool each = key.ends_with("[]");
  if (each) key.remove_suffix(2);
  if (!value.is_object()) return std::nullopt;
  const auto found = value.find(key);
  if (found == value.end()) return std::nullopt;
  if (!each) return single(*found, rest, path);
  if (!found->is_array()) return std::nullopt;
  FieldValue out;
  out.is_list = true;
  for (const json& item : *found) {
    const std::optional<FieldValue> inner = single(item, rest, path);
    if (!inner) return std::nullopt;
    if (inner->is_list) throw InputError(fmt::format("\"{}\" is a list of lists", path));
    out.items.push_back(inner->text);
  }
  return out;
}

}  // namespace

std::optional<FieldValue> value_at(const json& row, std::string_view path) {
  if (path.find('+') == path.npos) return single(row, path, path);
  FieldValue out;
  out.is_list = true;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('+', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    const std::optional<FieldValue> value = single(row, part, part);
    if (!value) return std::nullopt;
    if (value->is_list) throw InputError(fmt::format("\"{}\" is a list, expected a text", part));
    out.items.push_back(value->text);
    at = end + 1;
  }
  return out;
}

}  // namespace bitgrid

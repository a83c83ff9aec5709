#include "core/evaluation/task_template.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/text/json_input.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

bool is_field_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

std::int32_t FieldSlots::slot_of(std::string_view name) {
  const auto found = std::find(names_.begin(), names_.end(), name);
  const auto slot = static_cast<std::int32_t>(found - names_.begin());
  if (found == names_.end()) names_.emplace_back(name);
  return slot;
}

// field, field.2, field|filter|filter
TaskTemplate::Part TaskTemplate::parse_insertion(std::string_view inside, FieldSlots& slots) {
  Part part;
  const std::string_view whole = inside;
  const auto next = [&inside](char end) {
    const std::size_t at = std::min(inside.find(end), inside.size());
    const std::string_view word = inside.substr(0, at);
    inside.remove_prefix(std::min(at + 1, inside.size()));
    return word;
  };
  std::string_view field = next('|');
  if (const std::size_t dot = field.find('.'); dot != field.npos) {
    const std::string_view digits = field.substr(dot + 1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), part.element);
    if (error != std::errc{} || end != digits.data() + digits.size() || part.element < 0)
      throw InputError(
          fmt::format("{{{}}}: expected the number of an element behind the dot", whole));
    field = field.substr(0, dot);
  }
  if (!is_field_name(field))
    throw InputError(fmt::format(
        "{{{}}}: expected a name of letters, digits and _; {{{{ stands for a brace", whole));
  part.slot = slots.slot_of(field);
  while (!inside.empty()) part.filters.push_back(find_filter(next('|')));
  return part;
}

TaskTemplate::TaskTemplate(std::string_view text, FieldSlots& slots) {
  std::string literal;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c != '{' && c != '}') {
      literal += c;
      ++at;
    } else if (at + 1 < text.size() && text[at + 1] == c) {
      literal += c;
      at += 2;
    } else {
      const std::size_t end = c == '{' ? text.find('}', at) : text.npos;
      if (end == text.npos)
        throw InputError(fmt::format("a single {} without its partner in {}; {}{} stands for one",
                                     c, shown_text(text), c, c));
      parts_.push_back(parse_insertion(text.substr(at + 1, end - at - 1), slots));
      parts_.back().literal = std::move(literal);
      literal.clear();
      at = end + 1;
    }
  }
  if (!literal.empty()) parts_.emplace_back().literal = std::move(literal);
}

bool TaskTemplate::uses(std::int32_t slot) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [slot](const Part& part) { return part.slot == slot; });
}

std::vector<std::int32_t> TaskTemplate::slots() const {
  std::vector<std::int32_t> used;
  for (const Part& part : parts_) {
    if (part.slot >= 0) used.push_back(part.slot);
  }
  return used;
}

std::string TaskTemplate::render(std::span<const FieldValue> values,
                                 const FieldSlots& slots) const {
  std::string out;
  for (const Part& part : parts_) {
    out += part.literal;
    if (part.slot < 0) continue;
    const FieldValue& value = values[static_cast<std::size_t>(part.slot)];
    const std::string& name = slots.name(part.slot);
    if (value.is_list != (part.element >= 0))
      throw InputError(fmt::format("\"{}\" is {}", name,
                                   value.is_list
                                       ? "a list; the template wants a text"
                                       : "no list; the template wants an element of one"));
    if (value.is_list && static_cast<std::size_t>(part.element) >= value.items.size())
      throw InputError(fmt::format("\"{}\" has {} elements; the template wants number {}, from 0",
                                   name, value.items.size(), part.element));
    const std::string& text =
        value.is_list ? value.items[static_cast<std::size_t>(part.element)] : value.text;
    if (part.filters.empty()) {
      out += text;
    } else {
      out += with_context(fmt::format("\"{}\"", name),
                          [&] { return apply_filters(part.filters, text); });
    }
  }
  return out;
}

}  // namespace bitgrid

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

// What a row has under one name.
struct FieldValue {
  std::string text;
  std::vector<std::string> items;
  bool is_list = false;
  bool operator==(const FieldValue&) const = default;
};

// The names that a task's templates use, each with a slot; the slots of {subset} and {option} are
// fixed.
class FieldSlots {
 public:
  static constexpr std::int32_t kSubset = 0, kOption = 1;
  std::int32_t slot_of(std::string_view name);  // a new one for a new name
  const std::string& name(std::int32_t slot) const {
    return names_[static_cast<std::size_t>(slot)];
  }
  std::size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_ = {"subset", "option"};
};

using TextFilter = std::string (*)(std::string_view);
// Throws InputError with the nearest name.
TextFilter find_filter(std::string_view name);
std::string apply_filters(std::span<const TextFilter> filters, std::string text);

// A template, parsed: literal text and insertions by turns.
class TaskTemplate {
 public:
  TaskTemplate() = default;
  // Throws InputError saying what is wrong and where in the template.
  TaskTemplate(std::string_view text, FieldSlots& slots);
  bool uses(std::int32_t slot) const;
  std::vector<std::int32_t> slots() const;  // that it reads
  // values by slot. Throws InputError: a list where a text is needed, no such element, or a filter
  // that cannot be applied.
  std::string render(std::span<const FieldValue> values, const FieldSlots& slots) const;

 private:
  struct Part {
    std::string literal;        // in front of the insertion
    std::int32_t slot = -1;     // −1: none, the end of the template
    std::int64_t element = -1;  // of a list
    std::vector<TextFilter> filters;
  };
  static Part parse_insertion(std::string_view inside, FieldSlots& slots);
  std::vector<Part> parts_;
};

}  // namespace bitgrid

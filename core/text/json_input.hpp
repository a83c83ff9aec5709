#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bitgrid {

// A JSON document from a file that nobody vouches for, as a tree; checkpoint/strict_json reads the
// large tables of tensors without one. Throws InputError, "where: …", on anything but one value in
// UTF-8 and whitespace around it, a repeated key (parsers differ in which of the two they keep) and
// nesting deeper than depth_max.
nlohmann::json parse_json(std::string_view text, const std::string& where, int depth_max = 32);

// A short printable form of text for one-line messages: in quotes, escaped, cut after some 40
// characters.
std::string shown_text(std::string_view text);

// A JSON value with the place where it stands ("tokenizer.json: model.merges[3]"), so that every
// complaint names it. A member that is missing reads as null. The value must outlive the field.
class JsonField {
 public:
  static JsonField root(const nlohmann::json& value,
                        const std::string& file);  // value must be an object

  [[noreturn]] void fail(
      std::string_view what) const;  // InputError "place what"; ": " before a quotation

  JsonField operator[](std::string_view key) const;  // this value must be an object
  JsonField at(std::size_t i) const;
  std::size_t size() const;  // this value must be an array

  const nlohmann::json& value() const { return *value_; }
  bool is_null() const;
  bool is(std::string_view wanted) const;  // this very string
  const std::string& text() const;         // this value must be a string
  bool flag(bool otherwise) const;         // true or false; otherwise where it is null
  std::int32_t id(std::int64_t limit) const;
  std::string shown() const;  // a word for what is there: a "type", a value, or the kind of value

 private:
  JsonField(const nlohmann::json& value, std::string where, bool is_root = false)
      : value_(&value), where_(std::move(where)), is_root_(is_root) {}
  const nlohmann::json* value_;
  std::string where_;
  bool is_root_;
};

}  // namespace bitgrid

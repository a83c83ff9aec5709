#pragma once

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "core/methods/recipe.hpp"
#include "kernels/error.hpp"
#include "results/node.hpp"
#include "results/records.hpp"

namespace bitgrid::results {

template <class T>
constexpr DType kColumnType = DType::i64;
template <>
constexpr DType kColumnType<double> = DType::f64;
template <>
constexpr DType kColumnType<std::int32_t> = DType::i32;
template <>
constexpr DType kColumnType<std::uint8_t> = DType::u8;

// One list of fields serves writing and reading: `fields(io, record)` calls io(key, field), and io
// is one of these two.

// Fields become attributes, columns become datasets.
struct Writer {
  Node& node;

  template <class T>
  void operator()(const char* key, const T& value) {
    if constexpr (std::is_same_v<T, int>)
      node.attributes[key] = static_cast<std::int64_t>(value);
    else
      node.attributes[key] = value;
  }
  void column(const char* key, const std::vector<std::string>& values) {
    node.datasets[key].content = values;
  }
  template <class T>
  void column(const char* key, const std::vector<T>& values) {
    Numbers numbers;
    numbers.dtype = kColumnType<T>;
    numbers.shape = {static_cast<std::int64_t>(values.size())};
    const auto bytes = std::as_bytes(std::span(values));
    numbers.storage.assign(bytes.begin(), bytes.end());
    numbers.bytes = numbers.storage;
    node.datasets[key].content = std::move(numbers);
  }
  void optional_column(const char* key, const std::vector<std::string>& values) {
    column(key, values);
  }
  template <class T>
  void optional(const char* key, const T& value) {
    (*this)(key, value);
  }
  void seconds(const Seconds& seconds) {
    Node& terms = node.groups["seconds"];
    for (const auto& [term, s] : seconds) terms.attributes[term] = s;
  }
};

struct Loader {
  const Node& node;
  std::string where;

  template <class T>
  void operator()(const char* key, T& value) {
    using Stored = std::conditional_t<std::is_same_v<T, int>, std::int64_t, T>;
    const auto it = node.attributes.find(key);
    if (it == node.attributes.end())
      throw Error(fmt::format("{}: attribute {} is missing", where, key));
    const auto* stored = std::get_if<Stored>(&it->second);
    if (stored == nullptr)
      throw Error(fmt::format("{}: attribute {} has the wrong type", where, key));
    value = static_cast<T>(*stored);
  }
  void column(const char* key, std::vector<std::string>& values) {
    const auto* texts = std::get_if<std::vector<std::string>>(&content(key));
    if (texts == nullptr) throw Error(fmt::format("{}: dataset {} has the wrong type", where, key));
    values = *texts;
  }
  template <class T>
  void column(const char* key, std::vector<T>& values) {
    const auto* numbers = std::get_if<Numbers>(&content(key));
    if (numbers == nullptr || numbers->shape.size() != 1 || numbers->dtype != kColumnType<T>)
      throw Error(fmt::format("{}: dataset {} has the wrong type or shape", where, key));
    values.resize(static_cast<std::size_t>(numbers->shape[0]));
    if (numbers->bytes.size() != values.size() * sizeof(T))
      throw Error(fmt::format("{}: dataset {} has {} bytes for {} values", where, key,
                              numbers->bytes.size(), values.size()));
    if (!values.empty()) std::memcpy(values.data(), numbers->bytes.data(), numbers->bytes.size());
  }
  // One that files of older versions do not have.
  void optional_column(const char* key, std::vector<std::string>& values) {
    if (node.datasets.contains(key)) column(key, values);
  }
  template <class T>
  void optional(const char* key, T& value) {
    if (node.attributes.contains(key)) (*this)(key, value);
  }
  void seconds(Seconds& seconds) {
    for (const auto& [term, value] : group("seconds").attributes) {
      const auto* s = std::get_if<double>(&value);
      if (s == nullptr) throw Error(fmt::format("{}: seconds: {} has the wrong type", where, term));
      seconds[term] = *s;
    }
  }
  const Node& group(const std::string& name) const {
    const auto it = node.groups.find(name);
    if (it == node.groups.end()) throw Error(fmt::format("{}: group {} is missing", where, name));
    return it->second;
  }

 private:
  const std::variant<Numbers, std::vector<std::string>>& content(const char* key) const {
    const auto it = node.datasets.find(key);
    if (it == node.datasets.end())
      throw Error(fmt::format("{}: dataset {} is missing", where, key));
    return it->second.content;
  }
};

// What every (cell, layer) and every cell says about its cell.
template <class Io, class Header>
void header_fields(Io& io, Header& h) {
  io("name", h.name);
  io("key", h.key);
  io("method_title", h.method_title);
  io("model_fingerprint", h.model_fingerprint);
  io("calibration", h.calibration);
  io("calibration_fingerprint", h.calibration_fingerprint);
  io("shards", h.shards);
  io("seed", h.seed);
  io("version", h.version);
  io("blas", h.blas);
}
Node recipe_node(const Recipe& recipe);
Recipe recipe_of(const Node& node, const std::string& where);

// "0007": the names of groups that are lists.
std::string numbered(std::size_t i);

// The root group of a file of this kind, with the schema's number; and the check that it is one.
Node root_node(const char* kind);
void check_kind(Loader& io, const std::string& kind);

}  // namespace bitgrid::results

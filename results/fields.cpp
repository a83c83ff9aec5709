#include "results/fields.hpp"

#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

template <class Io, class Recipe>
void recipe_fields(Io& io, Recipe& r) {
  io("chain", r.chain);
  io("bits", r.bits);
  io("group", r.group);
}

}  // namespace

Node recipe_node(const Recipe& recipe) {
  Node node;
  Writer io{node};
  recipe_fields(io, recipe);
  Node& options = node.groups["options"];
  for (const auto& [key, value] : recipe.options)
    std::visit([&, &name = key](const auto& v) { options.attributes[name] = v; }, value);
  return node;
}

Recipe recipe_of(const Node& node, const std::string& where) {
  Recipe recipe;
  Loader io{node, where};
  recipe_fields(io, recipe);
  for (const auto& [key, value] : io.group("options").attributes)
    std::visit(
        [&, &name = key](const auto& v) {
          if constexpr (std::is_constructible_v<OptionValue, decltype(v)>)
            recipe.options[name] = v;
          else
            throw Error(fmt::format("{}: option {} has the wrong type", where, name));
        },
        value);
  return recipe;
}

std::string numbered(std::size_t i) { return fmt::format("{:04}", i); }

Node root_node(const char* kind) {
  Node node;
  Writer io{node};
  io("kind", std::string(kind));
  io("schema", kSchema);
  return node;
}

void check_kind(Loader& io, const std::string& kind) {
  std::string stored;
  std::int64_t schema = 0;
  io("kind", stored);
  io("schema", schema);
  if (schema != kSchema)
    throw Error(fmt::format("{}: has schema {}, this version of bitgrid reads {}", io.where, schema,
                            kSchema));
  if (stored != kind) throw Error(fmt::format("{}: holds a {}, not a {}", io.where, stored, kind));
}

bool MetricRecord::same_measurement(const MetricRecord& other) const {
  return protocol == other.protocol && length == other.length && bos == other.bos &&
         text_fingerprint == other.text_fingerprint && ids_fingerprint == other.ids_fingerprint;
}

}  // namespace bitgrid::results

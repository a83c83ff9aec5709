#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "core/evaluation/task_template.hpp"

namespace bitgrid {

// What a row has at a path (TaskField says how paths are written), nothing where a key is missing
// or null. Throws InputError where something else than texts, integers and truth values stands
// there; these are written as Python writes them.
std::optional<FieldValue> value_at(const nlohmann::json& row, std::string_view path);

}  // namespace bitgrid

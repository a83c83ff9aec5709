#pragma once

#include <string>
#include <string_view>

#include "core/evaluation/task_definition.hpp"

namespace bitgrid {

// A multiple-choice set of the user's own, from a TOML file; README.md shows one. The result has
// passed check_task. Throws InputError "FILE:LINE: …", with the nearest key for an unknown one.
TaskDefinition parse_task_toml(std::string_view text, const std::string& file);
TaskDefinition read_task_toml(const std::string& path);

}  // namespace bitgrid

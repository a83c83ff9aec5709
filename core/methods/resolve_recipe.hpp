#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/methods/recipe.hpp"

namespace bitgrid {

// A recipe checked and completed; where several methods of a chain have an option of the same key,
// the first one's default holds. Chain names, bits, group, options by key. Throws InputError in
// one sentence that names the offending key or value, what is legal and, for an unknown key or
// method, the nearest valid one. group is checked against a linear's columns by check_group.
Recipe resolve_recipe(const std::string& method_chain, double bits, std::int64_t group,
                      const std::map<std::string, OptionValue>& options);
// Throws InputError unless the group is −1 or a divisor of cols.
void check_group(const Recipe& recipe, std::string_view linear, std::int64_t cols);

}  // namespace bitgrid

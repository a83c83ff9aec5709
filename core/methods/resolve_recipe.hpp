#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/methods/recipe.hpp"

namespace bitgrid {

struct Method;
struct OptionSpec;

// A recipe checked and completed; where several methods of a chain have an option of the same key,
// the first one's default holds. Chain names, bits, group, options by key. Throws InputError in
// one sentence that names the offending key or value, what is legal and, for an unknown key or
// method, the nearest valid one. group is checked against a linear's columns by check_group.
Recipe resolve_recipe(const std::string& method_chain, double bits, std::int64_t group,
                      const std::map<std::string, OptionValue>& options);
// "; a chain that starts with smoothquant takes it, such as smoothquant+gptq": how an option of
// another method is to be had, as the end of a sentence. "" where there is no such way.
std::string way_to_have(const Method& owner, const OptionSpec& option, const std::string& chain);

// Bits that the chain surely takes, if it is a legal one.
double legal_bits(const std::string& chain);
// Throws InputError unless the group is −1 or a divisor of cols.
void check_group(const Recipe& recipe, std::string_view linear, std::int64_t cols);

}  // namespace bitgrid

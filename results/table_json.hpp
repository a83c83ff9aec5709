#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "results/rows.hpp"

namespace bitgrid::results {

// Everything that is stored of the listed cells, but tensors and single scores.
std::string table_json(const Rows& table);

// JSON has no NaN and no infinity: null.
nlohmann::ordered_json json_number(double value);
nlohmann::ordered_json recipe_json(const Recipe& recipe);
nlohmann::ordered_json digests_json(const RequestDigests& digests);

}  // namespace bitgrid::results

#pragma once

#include <string>

#include "core/methods/quantized_linear.hpp"

namespace bitgrid {

// Stored formats, each with the function that rebuilds the fp32 weight [rows, cols] from a linear's
// arrays. A rebuild function may rely on rows, cols, bits and group being sensible; it throws Error
// naming linear and array where arrays are missing or do not fit together.
using RebuildWeight = Matrix<float> (*)(const Place&, const QuantizedLinear&);
RebuildWeight find_format(const std::string& format);  // null: unknown

// "uniform", see rebuild_weight.
Matrix<float> rebuild_uniform(const Place& place, const QuantizedLinear& linear);

}  // namespace bitgrid

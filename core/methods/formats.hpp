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

// "two-binary": w[r, j] = scales1[r, g]·plane1[r, j] + scales2[r, g]·plane2[r, j], g = floor(j /
// group); where both bits are set, the sum of both scales in fp32.
Matrix<float> rebuild_two_binary(const Place& place, const QuantizedLinear& linear);

}  // namespace bitgrid

#pragma once

namespace bitgrid {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace bitgrid

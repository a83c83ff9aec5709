#pragma once

#include <string>

namespace bitgrid {

// What methods there are, with their bits and options; with a name, only that one. Throws
// InputError naming the nearest one where there is none.
std::string methods_text(const std::string& name);

}  // namespace bitgrid

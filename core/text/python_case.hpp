#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bitgrid {

// Python's str.capitalize of valid UTF-8: the first character in title case, all others in lower
// case, by Unicode's full mappings (a leading "ß" becomes "Ss", a capital sigma at the end of a
// word the final one).
std::string python_capitalize(std::string_view text);

// Python's len(str) of valid UTF-8.
std::int64_t count_code_points(std::string_view text);

}  // namespace bitgrid

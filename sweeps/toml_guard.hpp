#pragma once

#include <string>
#include <string_view>

namespace bitgrid {

// Refuses what toml++ 3.3 cannot be trusted with. It limits the nesting of arrays, but not the
// parts of a dotted key, each of which is one more level of tables; and it takes for granted that a
// table header holds a key. Throws InputError "WHERE:LINE: ..." for a key of too many parts, for
// [headers] that do not start with a key, and for characters beyond ASCII outside of strings and
// comments, which TOML does not know either.
void guard_toml(std::string_view text, const std::string& where);

}  // namespace bitgrid

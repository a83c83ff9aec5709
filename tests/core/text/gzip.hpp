#pragma once

#include <string>
#include <string_view>

namespace bitgrid::test {

std::string gzip(std::string_view bytes);  // one member

}  // namespace bitgrid::test

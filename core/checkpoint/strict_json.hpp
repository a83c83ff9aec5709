#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bitgrid {

struct JsonScalar {
  // Integers that fit 64 bits without a sign are told from all other numbers ("-1", "4.0", "1e3").
  enum class Kind { null, boolean, unsigned_integer, other_number, text };
  Kind kind = Kind::null;
  std::uint64_t integer = 0;
  std::string_view text = {};
};

// What a JSON text holds, in its order. A handler stops the reading by throwing.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin_object() = 0;
  virtual void key(std::string_view name) = 0;
  virtual void begin_array() = 0;
  virtual void end() = 0;  // of the innermost object or array
  virtual void scalar(const JsonScalar& value) = 0;
};

struct JsonLimits {
  int depth = 8;
};

// Reads JSON that nobody vouches for. Throws InputError ("FILE: rule") for anything but one value
// in valid UTF-8 and JSON whitespace around it, for an object with a key twice and for nesting
// beyond the limit. Needs memory for the keys of the open objects, nothing else.
void read_json(std::string_view text, const std::string& file, const JsonLimits& limits,
               JsonEvents& events);

// text in double quotes for a one-line message: what is not printable ASCII is escaped, a long text
// is cut.
std::string quote(std::string_view text);

}  // namespace bitgrid

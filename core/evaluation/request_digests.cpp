#include <fmt/format.h>

#include <algorithm>

#include "core/evaluation/token_requests.hpp"
#include "core/text/utf8.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

void append_escape(std::string& out, char32_t unit) {
  out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(unit));
}

// A string as Python's json.dumps writes it: ASCII alone, surrogate pairs beyond U+FFFF.
std::string python_json(std::string_view text) {
  constexpr std::string_view kShort = "\"\\\n\r\t\b\f", kShortNames = "\"\\nrtbf";
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_valid_utf8(text.data() + i);
    i += c.bytes;
    const std::size_t name = c.value < 0x80 ? kShort.find(static_cast<char>(c.value)) : kShort.npos;
    if (name != kShort.npos) {
      out += '\\';
      out += kShortNames[name];
    } else if (c.value >= 0x20 && c.value <= 0x7E) {
      out += static_cast<char>(c.value);
    } else if (c.value <= 0xFFFF) {
      append_escape(out, c.value);
    } else {
      append_escape(out, 0xD800 + ((c.value - 0x10000) >> 10));
      append_escape(out, 0xDC00 + ((c.value - 0x10000) & 0x3FF));
    }
  }
  return out + '"';
}

// [[context, continuation], …]
class TextDigest {
 public:
  TextDigest() { sha_.update("["); }
  void add(const Task& task, std::int64_t document) {
    const TaskDocument& d = task.documents()[static_cast<std::size_t>(document)];
    const DocumentTexts texts = task.texts(document);
    std::vector<std::string> contexts;
    for (const std::string& context : texts.contexts) contexts.push_back(python_json(context));
    for (std::int32_t k = 0; k < d.option_count; ++k) {
      const auto option = static_cast<std::size_t>(task.option_at(d, k));
      sha_.update(first_ ? "[" : ", [");
      sha_.update(contexts[contexts.size() == 1 ? 0 : option]);
      sha_.update(", ");
      sha_.update(python_json(texts.continuations[option]));
      sha_.update("]");
      first_ = false;
    }
  }
  std::string hex() {
    sha_.update("]");
    return sha_.hex();
  }

 private:
  Sha256 sha_;
  bool first_ = true;
};

class TokenDigest {
 public:
  void add(std::span<const std::int32_t> lead, std::span<const std::int32_t> context,
           std::span<const std::int32_t> continuation) {
    const std::int32_t counts[] = {static_cast<std::int32_t>(lead.size() + context.size()),
                                   static_cast<std::int32_t>(continuation.size())};
    for (const auto part : {std::span<const std::int32_t>(counts), lead, context, continuation})
      sha_.update(std::as_bytes(part));
  }
  std::string hex() { return sha_.hex(); }

 private:
  Sha256 sha_;
};

}  // namespace

std::string text_digest(const Task& task) {
  TextDigest digest;
  for (std::size_t d = 0; d < task.documents().size(); ++d)
    digest.add(task, static_cast<std::int64_t>(d));
  return digest.hex();
}

RequestDigests request_digests(const Task& task, const TokenRequests& requests,
                               const Tokenizer& tokenizer, std::int64_t subset) {
  RequestDigests out;
  TextDigest texts;
  TokenDigest plain, led;
  const std::int32_t bos = tokenizer.bos_id();
  for (const TokenRequest& r : requests.requests) {
    const TaskDocument& document = task.documents()[static_cast<std::size_t>(r.document)];
    if (subset >= 0 && document.subset != subset) continue;
    if (r.option == task.option_at(document, 0)) texts.add(task, r.document);
    const auto context = requests.context(r).subspan(r.bos_added ? 1 : 0);
    const auto continuation = requests.continuation(r);
    const bool has_bos = context.front() == bos;
    plain.add({}, context, continuation);
    led.add(std::span(&bos, has_bos ? 0 : 1), context, continuation);
    ++out.requests;
    out.context_tokens += static_cast<std::int64_t>(context.size());
    out.continuation_tokens += r.continuation_tokens;
    out.longest =
        std::max(out.longest, static_cast<std::int64_t>(context.size()) + r.continuation_tokens);
  }
  out.json = texts.hex();
  out.tokens = plain.hex();
  if (bos >= 0) out.tokens_with_bos = led.hex();
  return out;
}

}  // namespace bitgrid

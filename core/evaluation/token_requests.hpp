#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/evaluation/task.hpp"
#include "core/text/tokenizer.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// One option of one document: log p(continuation | context) is wanted.
struct TokenRequest {
  std::int32_t document = 0;  // index of Task::documents()
  std::int32_t option = 0;
  // Where its ids begin in TokenRequests::ids. Requests of one document that ask with the same
  // context have the same context_begin; with BOS if the profile adds it.
  std::int64_t context_begin = 0;
  std::int64_t continuation_begin = 0;
  std::int32_t context_tokens = 0;       // at least 1, also once the first ones are cut off
  std::int32_t continuation_tokens = 0;  // at least 1
  std::int32_t cut_tokens = 0;  // of the context, at its left end: more than the model can take
  bool bos_added = false;       // the context begins with a BOS that is not in its text
  bool operator==(const TokenRequest&) const = default;
};

// All requests of a task, in the harness's order: documents in order, options in order.
//   fed to the model   fed_context ++ continuation without its last token, at most max_length
//   tokens scored             the last continuation_tokens positions of that predict the
//   continuation
struct TokenRequests {
  std::int64_t max_length = 0;
  std::vector<std::int32_t> ids;  // every context once per document, and the continuations
  std::vector<TokenRequest> requests;

  std::span<const std::int32_t> context(const TokenRequest& r) const {  // before cutting
    return std::span(ids).subspan(static_cast<std::size_t>(r.context_begin),
                                  static_cast<std::size_t>(r.context_tokens));
  }
  std::span<const std::int32_t> fed_context(const TokenRequest& r) const {
    return context(r).subspan(static_cast<std::size_t>(r.cut_tokens));
  }
  std::span<const std::int32_t> continuation(const TokenRequest& r) const {
    return std::span(ids).subspan(static_cast<std::size_t>(r.continuation_begin),
                                  static_cast<std::size_t>(r.continuation_tokens));
  }
};

// max_length: the positions of the model. The result does not depend on the place's threads.
// Throws InputError "FILE:LINE: …": a context of blanks only, an option that tokenizes to nothing
// or to more than max_length tokens, a tokenizer without the token that an empty context needs.
TokenRequests token_requests(const Place& place, const Task& task, const Tokenizer& tokenizer,
                             std::int64_t max_length);

// Fingerprints by which two programs can tell that they ask the same questions.
struct RequestDigests {
  std::int64_t requests = 0;
  std::int64_t context_tokens = 0;       // Σ, without added BOS
  std::int64_t continuation_tokens = 0;  // Σ
  std::int64_t longest = 0;              // most tokens of one request, without added BOS
  std::string json;                      // SHA-256 of the texts as Python's json.dumps writes them
  // SHA-256 of int32 len(context), len(continuation), context…, continuation… of every request:
  std::string tokens;           // without added BOS
  std::string tokens_with_bos;  // with; "" where the tokenizer has none
  bool operator==(const RequestDigests&) const = default;
};
std::string text_digest(const Task& task);  // RequestDigests::json alone, without a tokenizer
// subset: of that one alone; −1: of all.
RequestDigests request_digests(const Task& task, const TokenRequests& requests,
                               const Tokenizer& tokenizer, std::int64_t subset = -1);

}  // namespace bitgrid

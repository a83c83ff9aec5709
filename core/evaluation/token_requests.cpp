#include "core/evaluation/token_requests.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/text/utf8.hpp"
#include "kernels/error.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {

using Ids = std::vector<std::int32_t>;

void append(Ids& ids, std::span<const std::int32_t> more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

// Text that is tokenized again and again with other ends: its ids up to the last place where it can
// be cut are kept.
class OpenText {
 public:
  OpenText(const Tokenizer& tokenizer, std::string_view text, bool cuts, std::string_view known,
           std::span<const std::int32_t> known_ids)
      : tokenizer_(tokenizer), text_(text) {
    if (cuts && !known.empty() && text.starts_with(known) && can_cut(known.size())) {
      append(head_, known_ids);
      cut_ = known.size();
    }
    if (const std::size_t last = cuts ? last_cut() : 0; last > cut_) {
      append(head_, tokenizer.encode(text.substr(cut_, last - cut_), false));
      cut_ = last;
    }
    whole_ = head_;
    append(whole_, tokenizer.encode(text.substr(cut_), false));
  }

  const Ids& ids() const { return whole_; }
  // What the ids of text + end have behind as many as text alone has.
  Ids behind(std::string_view end) const {
    const Ids tail = tokenizer_.encode(std::string(text_.substr(cut_)).append(end), false);
    const std::size_t skipped = std::min(whole_.size() - head_.size(), tail.size());
    return {tail.begin() + static_cast<std::ptrdiff_t>(skipped), tail.end()};
  }

 private:
  // Behind a line feed and in front of what is surely no white space.
  bool can_cut(std::size_t at) const {
    return at > 0 && at < text_.size() && text_[at - 1] == '\n' && text_[at] > ' ' &&
           text_[at] < '\x7f';
  }
  std::size_t last_cut() const {
    std::size_t at = text_.size();
    while (at > cut_ && !can_cut(at)) --at;
    return at;
  }

  const Tokenizer& tokenizer_;
  std::string_view text_;
  std::size_t cut_ = 0;
  Ids head_, whole_;
};

// The requests of one document; begins count from its own ids.
struct DocumentRequests {
  Ids ids;
  std::vector<TokenRequest> requests;
};

class Encoder {
 public:
  Encoder(const Task& task, const Tokenizer& tokenizer, std::int64_t max_length)
      : task_(task),
        tokenizer_(tokenizer),
        max_length_(max_length),
        cuts_(tokenizer.cuts_behind_lines()) {
    if (task.profile().add_bos && tokenizer.bos_id() < 0)
      throw InputError(
          fmt::format("profile {} puts a begin-of-text token in front; the tokenizer "
                      "has none",
                      task.profile().name));
    for (std::size_t i = 0; i < task.subsets().size(); ++i)
      prefix_ids_.push_back(
          tokenizer.encode(task.common_prefix(static_cast<std::int64_t>(i)), false));
  }

  void encode(std::int64_t document, DocumentRequests& out) const {
    with_context(task_.place_of(document), [&] {
      const TaskDocument& d = task_.documents()[static_cast<std::size_t>(document)];
      const DocumentTexts texts = task_.texts(document);
      const bool shared = texts.contexts.size() == 1;
      std::vector<Context> contexts;  // by option, or one
      for (const std::string& text : texts.contexts) contexts.push_back(open(text, d.subset));
      if (shared) place(contexts.front(), out);
      for (std::int32_t k = 0; k < d.option_count; ++k) {
        const std::int32_t option = task_.option_at(d, k);
        Context& context = contexts[shared ? 0 : static_cast<std::size_t>(option)];
        if (!shared) place(context, out);
        TokenRequest& request = out.requests.emplace_back();
        request.document = static_cast<std::int32_t>(document);
        request.option = option;
        add(context, texts.continuations[static_cast<std::size_t>(option)], request, out);
      }
    });
  }

 private:
  struct Context {
    OpenText open;
    std::string blanks;  // moved to the front of every continuation
    bool empty = false;
    Ids ids;
    bool bos_added = false;
    std::int64_t begin = 0;  // of ids in the document's
  };

  Context open(const std::string& text, std::int32_t subset) const {
    const std::string_view kept = python_rstrip(text);
    if (kept.empty() && !text.empty())
      throw InputError("the context is nothing but blanks, so nothing is left to ask with");
    const auto s = static_cast<std::size_t>(subset);
    Context context{
        OpenText(tokenizer_, kept, cuts_, task_.common_prefix(static_cast<std::int64_t>(subset)),
                 prefix_ids_[s]),
        text.substr(kept.size()),
        text.empty(),
        {},
        false,
        0};
    context.ids = context.empty ? Ids{prefix_token()} : context.open.ids();
    if (task_.profile().add_bos && context.ids.front() != tokenizer_.bos_id()) {
      context.ids.insert(context.ids.begin(), tokenizer_.bos_id());
      context.bos_added = true;
    }
    return context;
  }

  // What stands for an empty context.
  std::int32_t prefix_token() const {
    if (task_.profile().eos_when_empty) {
      const Ids ids = tokenizer_.encode("<|end_of_text|>", false);
      if (ids.size() == 1) return ids.front();
    } else if (tokenizer_.bos_id() >= 0) {
      return tokenizer_.bos_id();
    }
    throw InputError("the context is empty, and the tokenizer has no token to put in its place");
  }

  static void place(Context& context, DocumentRequests& out) {
    context.begin = static_cast<std::int64_t>(out.ids.size());
    append(out.ids, context.ids);
  }

  void add(const Context& context, const std::string& text, TokenRequest& request,
           DocumentRequests& out) const {
    const std::string continuation = context.blanks + text;
    Ids ids = context.empty || task_.profile().encode_apart ? tokenizer_.encode(continuation, false)
                                                            : context.open.behind(continuation);
    // A continuation that begins with the token that stands for an empty context does not get it
    // twice.
    if (context.empty && !task_.profile().eos_when_empty && !ids.empty() &&
        ids.front() == context.ids.front())
      ids.erase(ids.begin());
    const auto tokens = static_cast<std::int64_t>(ids.size());
    if (tokens == 0)
      throw InputError(fmt::format("option {} tokenizes to nothing", request.option));
    if (tokens > max_length_)
      throw InputError(fmt::format("option {} has {} tokens, but the model takes {}",
                                   request.option, tokens, max_length_));
    const auto context_tokens = static_cast<std::int64_t>(context.ids.size());
    request.context_begin = context.begin;
    request.context_tokens = static_cast<std::int32_t>(context_tokens);
    request.bos_added = context.bos_added;
    request.continuation_begin = static_cast<std::int64_t>(out.ids.size());
    request.continuation_tokens = static_cast<std::int32_t>(tokens);
    // The last token is not fed, so one more than max_length fits.
    request.cut_tokens = static_cast<std::int32_t>(
        std::max<std::int64_t>(0, context_tokens + tokens - (max_length_ + 1)));
    append(out.ids, ids);
  }

  const Task& task_;
  const Tokenizer& tokenizer_;
  std::int64_t max_length_;
  bool cuts_;
  std::vector<Ids> prefix_ids_;  // by subset
};

}  // namespace

TokenRequests token_requests(const Place& place, const Task& task, const Tokenizer& tokenizer,
                             std::int64_t max_length) {
  if (max_length < 1)
    throw Error(fmt::format("token requests: a model of {} positions", max_length));
  const Encoder encoder(task, tokenizer, max_length);
  std::vector<DocumentRequests> documents(task.documents().size());
  parallel_for(place, static_cast<std::int64_t>(documents.size()),
               [&](std::int64_t d) { encoder.encode(d, documents[static_cast<std::size_t>(d)]); });
  TokenRequests out;
  out.max_length = max_length;
  std::size_t ids = 0, requests = 0;
  for (const DocumentRequests& document : documents) {
    ids += document.ids.size();
    requests += document.requests.size();
  }
  out.ids.reserve(ids);
  out.requests.reserve(requests);
  for (DocumentRequests& document : documents) {
    const auto begin = static_cast<std::int64_t>(out.ids.size());
    append(out.ids, document.ids);
    for (TokenRequest request : document.requests) {
      request.context_begin += begin;
      request.continuation_begin += begin;
      out.requests.push_back(request);
    }
    document = {};
  }
  return out;
}

}  // namespace bitgrid

#include "core/text/tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/text/bpe.hpp"
#include "core/text/special_tokens.hpp"
#include "core/text/split.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer_file.hpp"
#include "core/text/utf8.hpp"
#include "kernels/error.hpp"

namespace bitgrid {

struct Tokenizer::State {
  explicit State(TokenizerFile file)
      : bpe(std::move(file.vocab), std::move(file.merges), file.whole_pieces),
        specials(file.added),
        adds_bos(file.adds_bos),
        bos_id(file.bos_id) {
    tokens.assign(bpe.vocab().begin(), bpe.vocab().end());
    for (AddedToken& token : file.added) {
      const auto id = static_cast<std::size_t>(token.id);
      if (tokens.size() <= id) tokens.resize(id + 1);
      if (is_special.size() <= id) is_special.resize(id + 1);
      is_special[id] = token.special;
      added_texts.push_back(std::make_unique<std::string>(std::move(token.content)));
      tokens[id] = *added_texts.back();
    }
    is_special.resize(tokens.size());
  }

  void encode_plain(std::string_view text, BpeScratch& scratch,
                    std::vector<std::int32_t>& ids) const {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = piece_end(text, begin);
      bpe.encode(text.substr(begin, end - begin), scratch, ids);
      begin = end;
    }
  }

  Bpe bpe;
  SpecialTokens specials;
  std::vector<std::unique_ptr<std::string>> added_texts;
  std::vector<std::string_view> tokens;  // bytes by id, ordinary and added; empty: no such token
  std::vector<bool> is_special;          // by id
  bool adds_bos;
  std::int32_t bos_id;
  mutable BpeScratchPool scratches;
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
  const std::string bytes = read_file(path, "a tokenizer");
  if (path.ends_with(".model"))
    return Tokenizer(std::make_unique<State>(read_rank_file(bytes, path)));
  return parse(bytes, path);
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& file) {
  return Tokenizer(std::make_unique<State>(read_tokenizer_json(json, file)));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_bos,
                                            Specials specials) const {
  if (const std::size_t bad = find_invalid_utf8(text); bad != text.npos) {
    throw InputError(fmt::format("text to tokenize: not UTF-8 at byte {}", bad));
  }
  if (text.size() >= std::size_t{1} << 31) throw InputError("text to tokenize: longer than 2 GiB");
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 4 + 2);
  if (add_bos) {
    if (state_->bos_id < 0)
      throw InputError("the tokenizer has no begin-of-text token to put in front");
    ids.push_back(state_->bos_id);
  }
  BpeScratchPool::Loan scratch(state_->scratches);
  std::size_t begin = 0;
  while (specials == Specials::recognise) {
    const SpecialTokens::Match match = state_->specials.find(text, begin);
    if (match.id < 0) break;
    state_->encode_plain(text.substr(begin, match.begin - begin), *scratch, ids);
    ids.push_back(match.id);
    begin = match.end;
  }
  state_->encode_plain(text.substr(begin), *scratch, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_specials) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    const auto i = static_cast<std::size_t>(id);
    if (id < 0 || i >= state_->tokens.size() || state_->tokens[i].empty()) {
      throw Error(
          fmt::format("decode: {} is not an id of the tokenizer, which has {}", id, vocab_size()));
    }
    if (!(skip_specials && state_->is_special[i])) bytes += state_->tokens[i];
  }
  return replace_invalid_utf8(bytes);
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(state_->tokens.size());
}
bool Tokenizer::adds_bos() const { return state_->adds_bos; }
std::int32_t Tokenizer::bos_id() const { return state_->bos_id; }
bool Tokenizer::cuts_behind_lines() const {
  return std::none_of(state_->added_texts.begin(), state_->added_texts.end(),
                      [](const auto& text) { return text->find('\n') != text->npos; });
}

}  // namespace bitgrid

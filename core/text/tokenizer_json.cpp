#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/text/byte_alphabet.hpp"
#include "core/text/json_input.hpp"
#include "core/text/split.hpp"
#include "core/text/tokenizer_file.hpp"

namespace bitgrid {
namespace {

using nlohmann::json;

void expect(bool supported, const JsonField& field, std::string_view wanted) {
  if (supported) return;
  field.fail(
      fmt::format("is {}, expected {}: bitgrid reads byte-level BPE tokenizers with Llama-3's "
                  "splitting rule only",
                  field.shown(), wanted));
}

void check_model_options(const JsonField& model) {
  expect(model["type"].is("BPE"), model["type"], "\"BPE\"");
  for (const char* key : {"byte_fallback", "fuse_unk"})
    expect(!model[key].flag(false), model[key], "false");
  for (const char* key : {"dropout", "unk_token"}) expect(model[key].is_null(), model[key], "null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    expect(model[key].is_null() || model[key].is(""), model[key], "null");
  }
}

bool has_type(const JsonField& field, std::string_view type) {
  return field.value().is_object() && field["type"].is(type);
}

void check_pipeline(const JsonField& root) {
  const JsonField pre = root["pre_tokenizer"];
  constexpr std::string_view kParts = "a Sequence of Split and ByteLevel";
  expect(has_type(pre, "Sequence"), pre, kParts);
  const JsonField parts = pre["pretokenizers"];
  expect(parts.size() == 2 && has_type(parts.at(0), "Split") && has_type(parts.at(1), "ByteLevel"),
         parts, kParts);
  const JsonField split = parts.at(0);
  const JsonField pattern = split["pattern"]["Regex"];
  expect(pattern.is(kLlama3Pattern), pattern, "Llama-3's pattern");
  expect(split["behavior"].is("Isolated"), split["behavior"], "\"Isolated\"");
  expect(!split["invert"].flag(false), split["invert"], "false");
  const JsonField bytes = parts.at(1);
  expect(!bytes["add_prefix_space"].flag(true), bytes["add_prefix_space"], "false");
  expect(!bytes["use_regex"].flag(true), bytes["use_regex"], "false");

  expect(root["normalizer"].is_null(), root["normalizer"], "null");
  expect(has_type(root["decoder"], "ByteLevel"), root["decoder"], "ByteLevel");
}

using IdsByText = std::unordered_map<std::string_view, std::int32_t>;  // in the byte alphabet; the
                                                                       // JSON owns the texts

// Ids index tables, so a file may leave some out but not claim billions.
std::int64_t id_limit(const JsonField& vocab, const JsonField& added) {
  constexpr std::int64_t kSpare = 1024;
  const std::size_t tokens = vocab.value().size() + added.value().size();
  return 2 * static_cast<std::int64_t>(tokens) + kSpare;
}

IdsByText read_vocab(const JsonField& vocab, std::int64_t limit, TokenizerFile& file) {
  if (!vocab.value().is_object()) vocab.fail("must be an object");
  IdsByText ids;
  ids.reserve(vocab.value().size());
  for (const auto& [text, unused] : vocab.value().get_ref<const json::object_t&>()) {
    const auto bytes = bytes_of_alphabet(text);
    if (!bytes || bytes->empty())
      vocab.fail(fmt::format("{} is not written in the byte alphabet", shown_text(text)));
    const std::int32_t id = vocab[text].id(limit);
    if (file.vocab.size() <= static_cast<std::size_t>(id))
      file.vocab.resize(static_cast<std::size_t>(id) + 1);
    std::string& place = file.vocab[static_cast<std::size_t>(id)];
    if (!place.empty())
      vocab.fail(fmt::format("{} has id {}, which is another token's", shown_text(text), id));
    place = *bytes;
    ids.emplace(text, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!ids.contains(byte_alphabet_text(static_cast<unsigned char>(byte)))) {
      vocab.fail(fmt::format("has no token for the single byte 0x{:02X}", byte));
    }
  }
  return ids;
}

// "left right", or ["left", "right"] in newer files.
std::pair<std::string_view, std::string_view> merge_sides(const JsonField& merges, std::size_t i) {
  const json& entry = merges.value()[i];
  if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
    return {entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>()};
  }
  if (entry.is_string()) {
    const std::string_view text = entry.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space != text.npos && text.find(' ', space + 1) == text.npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  merges.at(i).fail("must be \"left right\" or [\"left\", \"right\"]");
}

void read_merges(const JsonField& merges, const IdsByText& ids, TokenizerFile& file) {
  const std::size_t count = merges.size();
  std::unordered_set<std::uint64_t> seen;
  seen.reserve(count);
  file.merges.reserve(count);
  std::string both;
  const auto id_of = [&](std::string_view text, std::size_t i) {
    const auto found = ids.find(text);
    if (found == ids.end())
      merges.at(i).fail(fmt::format("{} is not in model.vocab", shown_text(text)));
    return found->second;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const auto [left, right] = merge_sides(merges, i);
    both.assign(left).append(right);
    const Merge merge{id_of(left, i), id_of(right, i), id_of(both, i)};
    const std::uint64_t pair =
        static_cast<std::uint64_t>(merge.left) << 32 | static_cast<std::uint32_t>(merge.right);
    if (!seen.insert(pair).second) merges.at(i).fail("is there twice");
    file.merges.push_back(merge);
  }
}

void read_added(const JsonField& added, const IdsByText& ids, std::int64_t limit,
                TokenizerFile& file) {
  if (added.is_null()) return;
  std::unordered_set<std::string_view> contents;
  std::unordered_set<std::int32_t> taken;
  for (std::size_t i = 0; i < added.size(); ++i) {
    const JsonField token = added.at(i);
    const std::string& content = token["content"].text();
    const std::int32_t id = token["id"].id(limit);
    if (content.empty()) token["content"].fail("must not be empty");
    if (!contents.insert(content).second) token["content"].fail("is there twice");
    if (!taken.insert(id).second)
      token["id"].fail(fmt::format("is {}, which is another added token's", id));
    for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) {
      expect(!token[key].flag(false), token[key], "false");
    }
    // A file may list an added token among the ordinary ones as well, but then under the same id.
    const auto ordinary = ids.find(content);
    const bool id_is_free = static_cast<std::size_t>(id) >= file.vocab.size() ||
                            file.vocab[static_cast<std::size_t>(id)].empty();
    if (ordinary == ids.end() ? !id_is_free : ordinary->second != id) {
      token["id"].fail(fmt::format("is {}, which contradicts model.vocab", id));
    }
    file.added.push_back({id, content, token["special"].flag(false)});
  }
}

const AddedToken* find_added(const TokenizerFile& file, std::string_view content) {
  const auto found =
      std::find_if(file.added.begin(), file.added.end(),
                   [content](const AddedToken& token) { return token.content == content; });
  return found == file.added.end() ? nullptr : &*found;
}

// A template is [text] or [begin-of-text, text]; nothing else is known to Llama-3 files.
void read_template(const JsonField& processor, TokenizerFile& file) {
  const JsonField single = processor["single"];
  const std::size_t size = single.size();
  constexpr std::string_view kForm = "must be the text, or one special token and the text";
  if (size < 1 || size > 2 || single.at(size - 1)["Sequence"].is_null()) single.fail(kForm);
  if (size == 1) return;
  if (single.at(0)["SpecialToken"].is_null()) single.fail(kForm);
  const std::string& name = single.at(0)["SpecialToken"]["id"].text();
  const AddedToken* bos = find_added(file, name);
  if (bos == nullptr)
    single.fail(fmt::format("{} is not among the added tokens", shown_text(name)));
  const JsonField listed = processor["special_tokens"][name]["ids"];
  if (listed.value() != json::array({bos->id})) listed.fail(fmt::format("must be [{}]", bos->id));
  if (file.adds_bos) single.fail("is the second template that adds a token");
  file.adds_bos = true;
  file.bos_id = bos->id;
}

void read_post_processor(const JsonField& processor, TokenizerFile& file) {
  if (processor.is_null() || has_type(processor, "ByteLevel")) return;
  if (has_type(processor, "TemplateProcessing")) return read_template(processor, file);
  expect(has_type(processor, "Sequence"), processor,
         "ByteLevel, TemplateProcessing or a Sequence of them");
  const JsonField parts = processor["processors"];
  for (std::size_t i = 0; i < parts.size(); ++i) read_post_processor(parts.at(i), file);
}

}  // namespace

TokenizerFile read_tokenizer_json(std::string_view text, const std::string& name) {
  const json document = parse_json(text, name);
  const JsonField root = JsonField::root(document, name);
  const JsonField model = root["model"];
  check_model_options(model);
  check_pipeline(root);

  TokenizerFile file;
  const JsonField added = root["added_tokens"];
  const std::int64_t limit = id_limit(model["vocab"], added);
  const IdsByText ids = read_vocab(model["vocab"], limit, file);
  read_merges(model["merges"], ids, file);
  file.whole_pieces = model["ignore_merges"].flag(false);
  read_added(added, ids, limit, file);
  if (const AddedToken* bos = find_added(file, "<|begin_of_text|>")) file.bos_id = bos->id;
  read_post_processor(root["post_processor"], file);
  return file;
}

}  // namespace bitgrid

#include "runtime/tokenizer/TokenizerFile.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace lathe {

using nlohmann::json;

namespace {

/// The number that serde_json, which `tokenizers` reads files with, makes of a decimal: up to 19 digits as an integer,
/// then one product or quotient with a power of ten. That may miss the nearest number by its last bit, and where
/// segmentations tie, as in a run of spaces, that bit decides.
double roundedLikeSerde(std::string_view text) {
  size_t position = text.starts_with('-');
  uint64_t significand = 0;
  int64_t exponent = 0;
  bool fraction = false, full = false;
  for (; position < text.size(); ++position) {
    if (text[position] == '.') {
      fraction = true;
      continue;
    }
    if (text[position] < '0' || text[position] > '9')
      break;
    uint64_t digit = static_cast<uint64_t>(text[position] - '0');
    full |= significand > (~uint64_t(0) - digit) / 10;
    if (!full)
      significand = significand * 10 + digit;
    exponent += full ? !fraction : -int64_t(fraction);
  }
  if (position + 1 < text.size()) { // behind the e
    bool negative = text[position + 1] == '-';
    int64_t power = 0;
    for (char c : text.substr(position + 1))
      if (c >= '0' && c <= '9')
        power = std::min<int64_t>(power * 10 + (c - '0'), 100'000);
    exponent += negative ? -power : power;
  }
  double number = static_cast<double>(significand);
  for (; exponent < -308 && number != 0; exponent += 308)
    number /= 1e308;
  // As literals, powers of ten are the nearest numbers, which products of tens need not be.
  static const std::array<double, 309> powers = [] {
    std::array<double, 309> result;
    for (size_t power = 0; power < result.size(); ++power) {
      std::string literal = fmt::format("1e{}", power);
      std::from_chars(literal.data(), literal.data() + literal.size(), result[power]);
    }
    return result;
  }();
  double scale = powers[static_cast<size_t>(std::min<int64_t>(std::abs(exponent), 308))];
  number = exponent >= 0 ? number * scale : number / scale;
  return text.starts_with('-') ? -number : number;
}

/// Events of the JSON parser. A function that returns false ends the parse; `error` then says why.
class Reader {
public:
  // The names and the signatures are those of nlohmann::json_sax.
  using number_integer_t = json::number_integer_t;
  using number_unsigned_t = json::number_unsigned_t;
  using number_float_t = json::number_float_t;
  using string_t = json::string_t;
  using binary_t = json::binary_t;

  Reader(std::string_view text, TokenizerFile &file) : text(text), file(file) {}

  std::optional<Error> error;

  bool null() { return value(nullptr); }
  bool boolean(bool flag) { return value(flag); }
  bool number_integer(number_integer_t number) {
    return region == Region::scored ? score(static_cast<double>(number)) : value(number);
  }
  bool number_float(number_float_t number, const string_t &text) {
    return region == Region::scored ? score(roundedLikeSerde(text)) : value(number);
  }
  bool binary(binary_t &) { return reject("expected JSON text"); }

  bool number_unsigned(number_unsigned_t number) {
    if (region == Region::scored)
      return score(static_cast<double>(number));
    if (region != Region::vocabulary)
      return value(number);
    if (Result<void> added = file.vocabulary.add(token, number); !added)
      return reject(added.error().message);
    return true;
  }

  bool string(string_t &text) {
    switch (region) {
    case Region::merges:
      return spacedMerge(text);
    case Region::pair:
      if (pairCount < 2)
        pair[pairCount] = text;
      ++pairCount;
      return true;
    case Region::scored:
      if (pairCount++ != 0)
        return reject("expected [token, score], found a second text");
      token = text;
      return true;
    default:
      return value(text);
    }
  }

  bool key(string_t &text) {
    if (region == Region::vocabulary)
      token = text;
    else if (region == Region::rest)
      frames.back().key = text;
    return true;
  }

  bool start_object(size_t) {
    if (region == Region::rest && inModel("vocab")) {
      if (std::exchange(file.hasVocabulary, true))
        return reject("appears twice");
      region = Region::vocabulary;
      return true;
    }
    return open(json::object());
  }

  bool start_array(size_t) {
    if (region == Region::rest && inModel("merges")) {
      if (std::exchange(file.hasMerges, true))
        return reject("appears twice");
      region = Region::merges;
      return true;
    }
    if (region == Region::rest && inModel("vocab")) {
      if (std::exchange(file.hasVocabulary, true))
        return reject("appears twice");
      file.vocabularyIsList = true;
      region = Region::list;
      return true;
    }
    if (region == Region::merges || region == Region::list) {
      region = region == Region::merges ? Region::pair : Region::scored;
      pairCount = 0;
      return true;
    }
    return open(json::array());
  }

  bool end_object() { return close(); }
  bool end_array() { return close(); }

  template <typename Exception> bool parse_error(size_t position, const std::string &, const Exception &exception) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: why; last read: 'the whole token'"
    std::string_view why = exception.what();
    if (size_t colon = why.find(": "); why.starts_with('[') && colon != why.npos)
      why.remove_prefix(colon + 2);
    why = why.substr(0, std::min(why.find("; last read"), why.find(" - unexpected")));
    size_t end = std::min(position, text.size());
    std::string_view before = text.substr(0, end ? end - 1 : 0);
    size_t line = 1 + std::ranges::count(before, '\n');
    size_t column = before.size() - (before.rfind('\n') + 1) + 1;
    std::string message =
        fmt::format("tokenizer.json:{}:{}: not valid JSON: {}", line, column, std::string(why.substr(0, 120)));
    error = Error{ExitCode::badInput, message};
    return false;
  }

private:
  // Of what is kept as a tree, real files have a few thousand values. A value takes up to 200 bytes of memory.
  static constexpr size_t valueLimit = size_t(1) << 19;
  static constexpr size_t depthLimit = 32;

  enum class Region { rest, vocabulary, list, scored, merges, pair };
  struct Frame {
    json *container;
    std::string key; ///< of an object: the member that is being read
  };

  std::string_view text;
  TokenizerFile &file;
  Region region = Region::rest;
  std::vector<Frame> frames;
  size_t valueCount = 0;
  std::string token;
  std::string pair[2];
  size_t pairCount = 0;

  bool inModel(std::string_view key) const {
    return frames.size() == 2 && frames[0].key == "model" && frames[1].key == key && frames[1].container->is_object();
  }

  std::string path() const {
    std::string result;
    for (const Frame &frame : frames) {
      // An open container is in its array already, the value that is being read is not.
      if (frame.container->is_array())
        result += fmt::format("[{}]", frame.container->size() - (&frame == &frames.back() ? 0 : 1));
      else
        result += fmt::format("{}{}", result.empty() ? "" : ".", frame.key.substr(0, 60));
    }
    if (region == Region::merges || region == Region::pair)
      result += fmt::format("[{}]", file.merges.size());
    if (region == Region::list || region == Region::scored)
      result += fmt::format("[{}]", file.scores.size());
    return result;
  }

  bool reject(std::string_view why) {
    std::string where = path();
    error = Error{ExitCode::badInput, fmt::format("tokenizer.json: {}{}{}", where, where.empty() ? "" : ": ", why)};
    return false;
  }

  /// Puts a value where the parse stands and returns its place, null after an error.
  json *place(json &&value) {
    if (++valueCount > valueLimit)
      return reject(fmt::format("more than {} values outside model.vocab and model.merges", valueLimit)), nullptr;
    if (frames.empty())
      return &(file.rest = std::move(value));
    Frame &frame = frames.back();
    if (frame.container->is_array()) {
      frame.container->push_back(std::move(value));
      return &frame.container->back();
    }
    auto [member, inserted] = frame.container->get_ref<json::object_t &>().emplace(frame.key, std::move(value));
    if (!inserted)
      return reject("appears twice"), nullptr;
    return &member->second;
  }

  bool value(json &&value) {
    switch (region) {
    case Region::rest:
      return place(std::move(value)) != nullptr;
    case Region::vocabulary:
      return reject(fmt::format("token {}: expected an id from 0 to {}, found {}", quote(token),
                                Vocabulary::idLimit - 1, value.type_name()));
    case Region::merges:
    case Region::pair:
      return reject(fmt::format("expected two tokens as \"a b\" or [\"a\", \"b\"], found {}", value.type_name()));
    case Region::list:
    case Region::scored:
      return reject(fmt::format("expected [token, score], found {}", value.type_name()));
    }
    return false;
  }

  bool score(double number) {
    if (pairCount++ != 1 || !std::isfinite(number))
      return reject("expected [token, score], found another number");
    if (Result<void> added = file.vocabulary.add(token, file.scores.size()); !added)
      return reject(added.error().message);
    file.scores.push_back(number);
    return true;
  }

  bool open(json &&container) {
    if (region != Region::rest)
      return value(std::move(container));
    if (frames.size() == depthLimit)
      return reject(fmt::format("nested deeper than {} levels", depthLimit));
    json *placed = place(std::move(container));
    if (placed)
      frames.push_back({placed, {}});
    return placed != nullptr;
  }

  bool close() {
    switch (region) {
    case Region::rest:
      frames.pop_back();
      return true;
    case Region::scored:
      region = Region::list;
      return pairCount == 2 || reject(fmt::format("expected [token, score], found {} values", pairCount));
    case Region::pair:
      region = Region::merges;
      return pairCount == 2 ? addMerge(pair[0], pair[1])
                            : reject(fmt::format("expected two tokens, found {}", pairCount));
    case Region::vocabulary:
    case Region::list:
    case Region::merges:
      region = Region::rest;
      return true;
    }
    return false;
  }

  bool spacedMerge(std::string_view merge) {
    if (merge.starts_with("#version"))
      return true;
    size_t space = merge.find(' ');
    if (space == merge.npos || merge.find(' ', space + 1) != merge.npos)
      return reject(fmt::format("expected two tokens with one space between, found {}", quote(merge)));
    return addMerge(merge.substr(0, space), merge.substr(space + 1));
  }

  bool addMerge(std::string_view left, std::string_view right) {
    if (file.merges.size() == MergeList::limit)
      return reject(fmt::format("more than {} merges", MergeList::limit));
    file.merges.add(left, right);
    return true;
  }
};

} // namespace

void MergeList::add(std::string_view left, std::string_view right) {
  text += left;
  uint32_t end = static_cast<uint32_t>(text.size());
  text += right;
  ends.push_back({end, static_cast<uint32_t>(text.size())});
}

Result<TokenizerFile> TokenizerFile::parse(std::string_view json) {
  if (json.size() > byteLimit)
    return lathe::fail(ExitCode::badInput, "tokenizer.json: {} bytes long, expected at most {}", json.size(),
                       byteLimit);
  TokenizerFile file;
  Reader reader(json, file);
  if (!nlohmann::json::sax_parse(json.data(), json.data() + json.size(), &reader))
    return std::unexpected(reader.error.value_or(Error{ExitCode::badInput, "tokenizer.json: not valid JSON"}));
  if (!file.rest.is_object())
    return lathe::fail(ExitCode::badInput, "tokenizer.json: expected an object, found {}", file.rest.type_name());
  return file;
}

} // namespace lathe

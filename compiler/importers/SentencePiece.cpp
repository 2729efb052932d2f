#include "compiler/importers/SentencePiece.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_map>

namespace lathe {
namespace {

using nlohmann::json;

constexpr size_t kMaxPieces = size_t{1} << 21;
constexpr size_t kMaxPieceBytes = 1024; // merges ask for every way to part a piece
constexpr size_t kMaxMerges = size_t{1} << 21;

/// One message of a protocol buffer, field by field (protobuf.dev/programming-guides/encoding).
class WireReader {
public:
  WireReader(std::string_view bytes, size_t offset, const std::string &path)
      : bytes(bytes), offset(offset), path(path) {}

  uint32_t field = 0;
  uint64_t number = 0;   ///< of a varint
  float single = 0;      ///< of four bytes
  std::string_view text; ///< of a length-delimited field

  /// False at the end.
  Result<bool> next() {
    if (position == bytes.size())
      return false;
    auto tag = varint();
    if (!tag)
      return propagate(tag);
    field = static_cast<uint32_t>(*tag >> 3);
    text = {};
    number = 0;
    single = 0;
    switch (*tag & 7) {
    case 0: {
      auto value = varint();
      if (!value)
        return propagate(value);
      number = *value;
      return true;
    }
    case 1:
      return take(8);
    case 2: {
      auto size = varint();
      if (!size)
        return propagate(size);
      return take(*size);
    }
    case 5: {
      auto taken = take(4);
      if (taken) {
        uint32_t value = 0;
        for (size_t byte = 4; byte-- > 0;)
          value = value << 8 | static_cast<uint8_t>(text[byte]);
        single = std::bit_cast<float>(value);
      }
      return taken;
    }
    default:
      return refuse("a field of an unknown kind");
    }
  }

  /// A reader of the message that `text` is.
  WireReader inner() const { return {text, offset + position - text.size(), path}; }
  std::unexpected<Error> refuse(std::string_view what) const {
    return fail(ExitCode::badInput, "{}: byte {}: expected a sentencepiece model, found {}", path, offset + position,
                what);
  }

private:
  std::string_view bytes;
  size_t offset, position = 0;
  const std::string &path;

  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && position < bytes.size(); shift += 7) {
      uint8_t byte = static_cast<uint8_t>(bytes[position++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80)
        return value;
    }
    return refuse("a number without end");
  }

  Result<bool> take(uint64_t size) {
    if (size > bytes.size() - position)
      return refuse(fmt::format("a field of {} bytes where {} are left", size, bytes.size() - position));
    text = bytes.substr(position, size);
    position += size;
    return true;
  }
};

/// Calls `each(reader)` for every field of a message.
template <typename Each> Result<void> eachField(WireReader reader, Each each) {
  while (true) {
    Result<bool> more = reader.next();
    if (!more)
      return propagate(more);
    if (!*more)
      return {};
    if (Result<void> done = each(reader); !done)
      return done;
  }
}

Result<void> readPiece(const WireReader &message, SentencePieceModel &model) {
  SentencePiece piece;
  Result<void> read = eachField(message.inner(), [&](const WireReader &field) -> Result<void> {
    if (field.field == 1)
      piece.text = field.text;
    else if (field.field == 2)
      piece.score = field.single;
    else if (field.field == 3 && field.number >= 1 && field.number <= 6)
      piece.type = static_cast<PieceType>(field.number);
    else if (field.field == 3)
      return field.refuse(fmt::format("a piece of type {}", field.number));
    return {};
  });
  if (!read)
    return read;
  if (model.pieces.size() == kMaxPieces)
    return message.refuse(fmt::format("more than {} pieces", kMaxPieces));
  model.pieces.push_back(piece);
  return {};
}

Result<void> readTrainer(const WireReader &message, SentencePieceModel &model) {
  return eachField(message.inner(), [&](const WireReader &field) -> Result<void> {
    auto id = [&]() -> std::optional<int64_t> {
      int64_t value = static_cast<int32_t>(field.number);
      return value < 0 ? std::nullopt : std::optional(value);
    };
    if (field.field == 3 && (field.number < 1 || field.number > 4))
      return field.refuse(fmt::format("model_type {}", field.number));
    if (field.field == 3)
      model.algorithm = static_cast<SentencePieceModel::Algorithm>(field.number);
    else if (field.field == 24)
      model.whitespaceAsSuffix = field.number != 0;
    else if (field.field == 35)
      model.byteFallback = field.number != 0;
    else if (field.field == 41)
      model.bosId = id();
    else if (field.field == 42)
      model.eosId = id();
    return {};
  });
}

Result<void> readNormalizer(const WireReader &message, SentencePieceModel &model) {
  return eachField(message.inner(), [&](const WireReader &field) -> Result<void> {
    if (field.field == 2)
      model.charsMap = field.text;
    else if (field.field == 3)
      model.addDummyPrefix = field.number != 0;
    else if (field.field == 4)
      model.removeExtraWhitespaces = field.number != 0;
    else if (field.field == 5)
      model.escapeWhitespaces = field.number != 0;
    return {};
  });
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t byte = 0; byte < 3; ++byte)
      bits = bits << 8 | (byte < count ? static_cast<uint8_t>(bytes[at + byte]) : 0);
    for (size_t digit = 0; digit < 4; ++digit)
      text += digit <= count ? digits[bits >> (18 - 6 * digit) & 63] : '=';
  }
  return text;
}

class Translator {
public:
  Translator(const SentencePieceModel &model, const std::string &place) : model(model), place(place) {}

  Result<TokenizerParts> run() {
    if (model.algorithm == SentencePieceModel::Algorithm::word)
      return fail(ExitCode::badInput, "{}: models of whole words are not supported: unigram, BPE and characters are",
                  place);
    if (model.whitespaceAsSuffix)
      return fail(ExitCode::badInput, "{}: treat_whitespace_as_suffix is not supported", place);
    if (auto checked = checkPieces(); !checked)
      return propagate(checked);
    normalize();
    auto written = model.algorithm == SentencePieceModel::Algorithm::unigram ? writeUnigram() : writeBytePair();
    if (!written)
      return propagate(written);
    writeDecoder();
    return std::move(parts);
  }

private:
  const SentencePieceModel &model;
  const std::string &place;
  TokenizerParts parts;
  std::unordered_map<std::string_view, size_t> ids;
  size_t unknown = 0;

  bool bytePair() const { return model.algorithm != SentencePieceModel::Algorithm::unigram; }

  Result<void> checkPieces() {
    ImportedFacts::SentencePiece rules;
    bool hasUnknown = false;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const SentencePiece &piece = model.pieces[id];
      if (piece.text.size() > kMaxPieceBytes || !isUtf8(piece.text))
        return fail(ExitCode::badInput, "{}: piece {}: expected UTF-8 of at most {} bytes", place, id, kMaxPieceBytes);
      if (!std::isfinite(piece.score))
        return fail(ExitCode::badInput, "{}: piece {}: expected a finite score", place, id);
      if (!ids.emplace(piece.text, id).second)
        return fail(ExitCode::badInput, "{}: piece {} repeats {}", place, id, inQuotes(piece.text));
      bool special = piece.type == PieceType::unknown || piece.type == PieceType::control;
      bool cuts = piece.type == PieceType::userDefined && model.cutsAtUserDefined;
      if (piece.type == PieceType::unknown && !std::exchange(hasUnknown, true))
        unknown = id;
      if (piece.type == PieceType::unused && bytePair() && !model.cutsAtUserDefined)
        return fail(ExitCode::badInput, "{}: piece {} is unused; that is not supported in BPE", place, id);
      if (special || cuts)
        parts.addedTokens.push_back(addedTokenJson(static_cast<int64_t>(id), piece.text, special));
      if (piece.type == PieceType::userDefined && !cuts)
        rules.userDefinedIds.push_back(static_cast<int64_t>(id));
      else if (piece.type != PieceType::normal)
        rules.unmatchedIds.push_back(static_cast<int64_t>(id));
    }
    if (!hasUnknown)
      return fail(ExitCode::badInput, "{}: expected a piece of type unknown among {}", place, model.pieces.size());
    parts.facts.sentencePiece = std::move(rules);
    parts.facts.bosTokenId = model.bosId;
    if (model.eosId)
      parts.facts.eosTokenIds = {*model.eosId};
    return {};
  }

  void normalize() {
    std::vector<json> steps;
    std::string_view space = model.escapeWhitespaces ? "▁" : " ";
    // A space stands in front of what is nothing in the end, too, unless extra ones go.
    if (model.addDummyPrefix && !model.removeExtraWhitespaces && !model.charsMap.empty())
      steps.push_back({{"type", "Prepend"}, {"prepend", " "}});
    if (!model.charsMap.empty())
      steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", base64(model.charsMap)}});
    if (model.removeExtraWhitespaces) {
      steps.push_back(replaceJson("Regex", R"(\A +)", ""));
      steps.push_back(replaceJson("Regex", "  +", " "));
    }
    if (model.addDummyPrefix && (model.removeExtraWhitespaces || model.charsMap.empty()))
      steps.push_back({{"type", "Prepend"}, {"prepend", space}});
    if (model.escapeWhitespaces)
      steps.push_back(replaceJson("String", " ", space));
    if (model.removeExtraWhitespaces)
      steps.push_back(replaceJson("Regex", fmt::format(R"((?:{})+\z)", space), ""));
    parts.normalizer = sequenceJson("normalizers", std::move(steps));
  }

  Result<void> checkSize(const char *what) const {
    if (parts.model.size() > kMaxTokenizerPart)
      return fail(ExitCode::badInput, "{}: expected at most {} bytes of {}", place, kMaxTokenizerPart, what);
    return {};
  }

  Result<void> writeUnigram() {
    parts.model =
        fmt::format(R"({{"type":"Unigram","unk_id":{},"byte_fallback":{},"vocab":[)", unknown, model.byteFallback);
    for (const SentencePiece &piece : model.pieces) {
      parts.model += &piece == model.pieces.data() ? "[" : ",[";
      appendJsonString(parts.model, piece.text);
      // What is user-defined is taken wherever it stands, as all other scores are negative: 0.1 for each byte but one.
      double score = piece.type == PieceType::userDefined
                         ? 0.1 * static_cast<double>(std::max<size_t>(piece.text.size(), 1) - 1)
                         : static_cast<double>(piece.score);
      fmt::format_to(std::back_inserter(parts.model), ",{}]", score);
      if (auto fine = checkSize("pieces"); !fine)
        return fine;
    }
    parts.model += "]}";
    return {};
  }

  /// Every way to make a piece of two others, the best score first: what the library finds by trying.
  Result<void> writeBytePair() {
    parts.model = fmt::format(
        R"({{"type":"BPE","dropout":null,"unk_token":{},"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":{},"ignore_merges":false,"vocab":{{)",
        printJson(model.pieces[unknown].text), model.byteFallback);
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      parts.model += id > 0 ? "," : "";
      appendJsonString(parts.model, model.pieces[id].text);
      fmt::format_to(std::back_inserter(parts.model), ":{}", id);
      if (auto fine = checkSize("pieces"); !fine)
        return fine;
    }
    parts.model += "},\"merges\":[";
    std::vector<size_t> order;
    for (size_t id = 0; id < model.pieces.size() && model.algorithm == SentencePieceModel::Algorithm::bytePair; ++id)
      if (model.pieces[id].type == PieceType::normal)
        order.push_back(id);
    std::ranges::stable_sort(order, std::greater{}, [&](size_t id) { return model.pieces[id].score; });
    size_t count = 0;
    auto isNormal = [&](std::string_view text) {
      auto found = ids.find(text);
      return found != ids.end() && model.pieces[found->second].type == PieceType::normal;
    };
    for (size_t id : order) {
      std::string_view text = model.pieces[id].text;
      for (size_t at = 1; at < text.size(); ++at) {
        if ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80 || !isNormal(text.substr(0, at)) ||
            !isNormal(text.substr(at)))
          continue;
        if (++count > kMaxMerges)
          return fail(ExitCode::badInput, "{}: expected at most {} merges", place, kMaxMerges);
        parts.model += count > 1 ? ",[" : "[";
        appendJsonString(parts.model, text.substr(0, at));
        parts.model += ',';
        appendJsonString(parts.model, text.substr(at));
        parts.model += ']';
      }
      if (parts.model.size() > 2 * kMaxTokenizerPart)
        return fail(ExitCode::badInput, "{}: expected at most {} bytes of merges", place, kMaxTokenizerPart);
    }
    parts.model += "]}";
    return {};
  }

  void writeDecoder() {
    std::vector<json> steps;
    if (model.escapeWhitespaces)
      steps.push_back(replaceJson("String", "▁", " "));
    // Without pieces for bytes "<0x41>" is a text like others.
    if (std::ranges::find(model.pieces, PieceType::byte, &SentencePiece::type) != model.pieces.end())
      steps.push_back({{"type", "ByteFallback"}});
    steps.push_back({{"type", "Fuse"}});
    // With extra spaces gone, none stands at the start of a text.
    constexpr int64_t all = 1 << 20;
    if (model.addDummyPrefix || model.removeExtraWhitespaces)
      steps.push_back(
          {{"type", "Strip"}, {"content", " "}, {"start", model.removeExtraWhitespaces ? all : 1}, {"stop", 0}});
    parts.decoder = sequenceJson("decoders", std::move(steps));
  }
};

} // namespace

Result<SentencePieceModel> parseSentencePiece(std::string_view bytes, const std::string &path) {
  SentencePieceModel model;
  auto read = eachField(WireReader(bytes, 0, path), [&](const WireReader &field) -> Result<void> {
    if (field.field == 1)
      return readPiece(field, model);
    if (field.field == 2)
      return readTrainer(field, model);
    if (field.field == 3)
      return readNormalizer(field, model);
    return {};
  });
  if (!read)
    return propagate(read);
  return model;
}

Result<TokenizerParts> translateSentencePiece(const SentencePieceModel &model, const std::string &place) {
  return Translator(model, place).run();
}

} // namespace lathe

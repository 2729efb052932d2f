#include "runtime/Tokenizer.h"

#include <algorithm>

namespace lathe {

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skipSpecial) const {
  std::unique_ptr<DecodeStream> stream = startDecoding(skipSpecial);
  std::string text;
  for (int32_t id : ids)
    text += stream->push(id);
  return text + stream->finish();
}

TextStream::TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops)
    : decoder(tokenizer->startDecoding()), stops(std::move(stops)) {
  std::erase(this->stops, "");
}

std::string TextStream::push(int32_t id) { return stopHit ? std::string() : show(decoder->push(id)); }

std::string TextStream::finish() {
  if (stopHit)
    return {};
  std::string shown = show(decoder->finish());
  return stopHit ? shown : shown + std::exchange(pending, {});
}

std::string TextStream::show(std::string text) {
  pending += text;
  // The stop that ends first holds, of those the longest, so that the cut does not depend on where tokens end.
  size_t stopBegin = pending.npos, stopEnd = pending.npos;
  size_t held = 0; // the longest end of `pending` that begins a stop
  for (const std::string &stop : stops) {
    if (size_t begin = pending.find(stop); begin != pending.npos) {
      size_t end = begin + stop.size();
      if (end < stopEnd || (end == stopEnd && begin < stopBegin))
        stopBegin = begin, stopEnd = end;
    }
    for (size_t length = std::min(stop.size() - 1, pending.size()); length > held; --length)
      if (pending.ends_with(std::string_view(stop).substr(0, length)))
        held = length;
  }
  if (stopBegin != pending.npos) {
    stopHit = true;
    pending.resize(stopBegin);
    return std::exchange(pending, {});
  }
  std::string shown = pending.substr(0, pending.size() - held);
  pending.erase(0, pending.size() - held);
  return shown;
}

} // namespace lathe

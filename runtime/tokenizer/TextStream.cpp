#include "runtime/Tokenizer.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

TextStream::TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops)
    : tokenizer(std::move(tokenizer)), stops(std::move(stops)) {
  std::erase(this->stops, "");
}

std::string TextStream::push(int32_t id) {
  if (stopHit)
    return {};
  pending += tokenizer->piece(id);
  size_t unfinished = incompleteTailLength(pending);
  std::string tail = pending.substr(pending.size() - unfinished);
  pending.resize(pending.size() - unfinished);
  pending = decodeLossy(pending);

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
  pending = pending.substr(pending.size() - held) + tail;
  return shown;
}

std::string TextStream::finish() { return decodeLossy(std::exchange(pending, {})); }

} // namespace lathe

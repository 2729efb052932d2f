//===- tokenize.cpp - drives the tokenizer from a check -------------------===//
//
//   tokenize TOKENIZER.JSON [--plain] < LINES > RESULTS
//
// A line of input is JSON: a string, or {"hex": "c3a9ff"} for bytes that are no UTF-8, gives ids; an array of ids gives
// {"text", "all", "stream"}: decoded without and with special tokens, and as a stream shows it. With --plain neither
// special tokens are added nor parsed. With --speed FILE it prints the megabytes a second of encoding and decoding that
// file.
//
//===----------------------------------------------------------------------===//
#include "runtime/Tokenizer.h"
#include "runtime/support/MappedFile.h"

#include <chrono>
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>

using namespace lathe;
using nlohmann::json;

static std::string fromHex(const std::string &hex) {
  std::string bytes;
  for (size_t index = 0; index + 1 < hex.size(); index += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(index, 2), nullptr, 16));
  return bytes;
}

int main(int argc, char **argv) {
  if (argc < 2)
    return fmt::print(stderr, "usage: tokenize TOKENIZER.JSON [--plain] < LINES\n"), 2;
  bool plain = argc > 2 && std::string_view(argv[2]) == "--plain";
  auto file = MappedFile::open(argv[1]);
  if (!file)
    return fmt::print(stderr, "{}\n", file.error().message), static_cast<int>(file.error().code);
  auto begin = std::chrono::steady_clock::now();
  auto tokenizer = Tokenizer::parse((*file)->text());
  if (!tokenizer)
    return fmt::print(stderr, "{}\n", tokenizer.error().message), static_cast<int>(tokenizer.error().code);
  std::chrono::duration<double, std::milli> parsed = std::chrono::steady_clock::now() - begin;
  fmt::print(stderr, "parse {:.1f} ms, {} ids\n", parsed.count(), (*tokenizer)->size());

  if (argc > 3 && std::string_view(argv[2]) == "--speed") {
    auto text = MappedFile::open(argv[3]);
    if (!text)
      return fmt::print(stderr, "{}\n", text.error().message), static_cast<int>(text.error().code);
    auto seconds = [start = std::chrono::steady_clock::now()]() mutable {
      auto now = std::chrono::steady_clock::now();
      return std::chrono::duration<double>(now - std::exchange(start, now)).count();
    };
    auto ids = (*tokenizer)->encode((*text)->text());
    double encoding = seconds();
    std::string decoded = (*tokenizer)->decode(ids);
    double decoding = seconds();
    fmt::print("{:.1f} {:.1f}\n", static_cast<double>((*text)->text().size()) / encoding / 1e6,
               static_cast<double>(decoded.size()) / decoding / 1e6);
    return 0;
  }
  EncodeOptions options{.addSpecial = !plain, .parseSpecial = !plain};
  std::string line;
  while (std::getline(std::cin, line)) {
    json input = json::parse(line, nullptr, false);
    json output;
    if (input.is_array()) {
      auto ids = input.get<std::vector<int32_t>>();
      TextStream stream(*tokenizer);
      std::string streamed;
      for (int32_t id : ids)
        streamed += stream.push(id);
      output = {{"text", (*tokenizer)->decode(ids)},
                {"all", (*tokenizer)->decode(ids, false)},
                {"stream", streamed + stream.finish()}};
    } else {
      output = (*tokenizer)->encode(input.is_object() ? fromHex(input["hex"]) : input.get<std::string>(), options);
    }
    std::cout << output.dump() << '\n';
  }
}

//===- render.cpp - drives the template engine from a check ---------------===//
//
//   render < LINES > RESULTS
//
// A line of input is {"template": TEXT, "variables": OBJECT, "now": SECONDS}; a line of output {"text": TEXT, "input":
// [[BEGIN, END], …]} or {"error": MESSAGE}.
//
//===----------------------------------------------------------------------===//
#include "runtime/chat/ChatTemplate.h"
#include "runtime/chat/ValueJson.h"

#include <iostream>
#include <nlohmann/json.hpp>

using namespace lathe;

static Result<chat::Text> renderLine(const std::string &line) {
  auto request = chat::parseValue(line, "line");
  if (!request)
    return propagate(request);
  const chat::Dict &fields = request->dict();
  auto parsed = ChatTemplate::parse(fields.find("template")->view());
  if (!parsed)
    return propagate(parsed);
  ChatTemplate::Options options;
  if (const chat::Value *now = fields.find("now"))
    options.clock = [now] { return static_cast<std::time_t>(now->integer()); };
  return (*parsed)->render(fields.find("variables")->dict(), options);
}

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    auto text = renderLine(line);
    nlohmann::json output;
    if (text) {
      output = {{"text", text->bytes}, {"input", nlohmann::json::array()}};
      for (const TextRange &range : text->input)
        output["input"].push_back({range.begin, range.end});
    } else {
      output = {{"error", text.error().message}};
    }
    std::cout << output.dump() << '\n';
  }
}

#include "runtime/chat/Conversation.h"

#include <algorithm>

namespace lathe {

using chat::Text;
using chat::Value;

namespace {

std::string roleOf(const Value &message) {
  const Value *role = message.dict().find("role");
  return role && role->isText() ? std::string(role->view()) : "";
}

/// An answer shorter than this is not worth a prompt: turns are dropped so that there is room for it.
int64_t leastAnswer(int64_t context) { return std::max<int64_t>(1, context / 8); }

} // namespace

Conversation::Conversation(ChatPrompt prompt, Engine &engine, std::vector<int64_t> endTokens)
    : prompt(std::move(prompt)), session(engine), endTokens(std::move(endTokens)) {}

bool Conversation::hasSystem() const { return !history.empty() && roleOf(history[0]) == "system"; }

std::string Conversation::system() const {
  const Value *content = hasSystem() ? history[0].dict().find("content") : nullptr;
  return content && content->isText() ? std::string(content->view()) : "";
}

void Conversation::setSystem(const std::string &text) {
  if (hasSystem())
    history.erase(history.begin());
  if (!text.empty())
    history.insert(history.begin(), makeMessage("system", text));
}

void Conversation::reset() {
  history.erase(history.begin() + hasSystem(), history.end());
  hidden = 0;
}

Result<void> Conversation::load(const Value &messages, const std::string &where) {
  if (auto good = checkMessages(messages, where); !good)
    return good;
  history = messages.sequence().items;
  hidden = 0;
  return {};
}

bool Conversation::hideOldest() {
  size_t begin = hasSystem() + hidden, next = begin + 1;
  while (next < history.size() && roleOf(history[next]) != "user")
    ++next;
  if (next >= history.size())
    return false;
  hidden += next - begin;
  return true;
}

/// Tokens for the messages that are not hidden. Where their text goes on from what the session holds, its tokens stay
/// as the model wrote them, and only what is new is encoded.
Result<std::vector<int32_t>> Conversation::promptTokens(std::string &text) {
  std::vector<Value> shown(history.begin(), history.begin() + hasSystem());
  shown.insert(shown.end(), history.begin() + static_cast<ptrdiff_t>(hasSystem() + hidden), history.end());
  ChatRequest request;
  request.messages = Value::list(std::move(shown));
  request.templateKwargs = options.templateKwargs;
  auto rendered = prompt.render(request);
  if (!rendered)
    return propagate(rendered);
  text = rendered->bytes;
  if (heldText.empty() || !rendered->view().starts_with(heldText) || rendered->size() == heldText.size())
    return prompt.encode(*rendered, options.parseSpecial);
  std::vector<int32_t> tokens = session.tokens();
  std::vector<int32_t> rest = prompt.encode(rendered->slice(heldText.size(), rendered->size()), options.parseSpecial);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  return tokens;
}

Result<Answer> Conversation::answer(const std::string &text, const std::function<void(std::string_view)> &onText,
                                    const std::function<bool()> &interrupted) {
  Answer answer;
  size_t before = history.size(), hiddenBefore = hidden;
  auto undo = [&] { history.resize(before), hidden = hiddenBefore; };
  history.push_back(makeMessage("user", text));
  std::string rendered;
  int64_t room = std::min(options.maxTokens, leastAnswer(context()));
  auto tokens = promptTokens(rendered);
  while (tokens && static_cast<int64_t>(tokens->size()) + room > context()) {
    if (!hideOldest()) {
      undo();
      return fail(ExitCode::badInput,
                  "this turn takes {} tokens and {} are kept for its answer, but the context has {}; shorten it, or "
                  "start with a larger -c",
                  tokens->size(), room, context());
    }
    tokens = promptTokens(rendered);
  }
  if (!tokens) {
    undo();
    return propagate(tokens);
  }
  answer.droppedMessages = static_cast<int64_t>(hidden - hiddenBefore);

  TextStream stream(prompt.tokenizer());
  std::string raw;
  auto show = [&](const std::string &piece) {
    answer.text += piece;
    onText(piece);
  };
  ChatTurn turn{options.maxTokens, options.sampling, endTokens, {}, interrupted};
  turn.onToken = [&](int32_t id) {
    raw += prompt.tokenizer()->piece(id, false);
    show(stream.push(id));
  };
  auto done = session.run(*tokens, turn);
  if (!done || done->ids.empty()) {
    undo();
    heldText.clear();
    if (!done)
      session.reset();
  } else {
    show(stream.finish());
    heldText = rendered + raw;
    history.push_back(makeMessage("assistant", answer.text));
  }
  if (!done)
    return propagate(done);
  answer.contextFull =
      done->finishReason == "length" && tokens->size() + done->ids.size() >= static_cast<size_t>(context());
  answer.turn = std::move(*done);
  return answer;
}

std::string printMessages(const std::vector<Value> &messages) {
  chat::Run run("", "messages", {.steps = UINT64_MAX / 4}, [] { return std::time_t(0); });
  std::string indent = "  ";
  chat::Dict document;
  document.set("messages", Value::list(messages));
  auto value = std::make_shared<const chat::Dict>(std::move(document));
  return run.json(Value(std::move(value)), &indent, ",", ": ", false, false).bytes + "\n";
}

} // namespace lathe

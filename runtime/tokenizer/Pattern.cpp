#include "runtime/tokenizer/Pattern.h"

#include "runtime/tokenizer/Utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace lathe {

namespace {

// Real patterns spend up to 25 units a byte, on runs of spaces and of letters; a unit costs a few nanoseconds.
constexpr uint64_t workPerByte = 100;
constexpr uint64_t workAtLeast = 100'000;
constexpr uint32_t heapLimitKib = 64 << 10; ///< of the interpreter, which runs where there is no JIT

struct Work {
  uint64_t left;
  size_t position = 0;
};

/// PCRE2's own limits do not see the bytes that a repeat runs over; the way between two callouts does.
int spendWork(pcre2_callout_block *block, void *data) {
  Work &work = *static_cast<Work *>(data);
  size_t position = block->current_position;
  uint64_t spent = 1 + (position > work.position ? position - work.position : work.position - position);
  work.position = position;
  if (spent > work.left) {
    work.left = 0;
    return PCRE2_ERROR_CALLOUT;
  }
  work.left -= spent;
  return 0;
}

struct Free {
  void operator()(pcre2_code *code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context *context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context *context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
};
template <typename T> using Owned = std::unique_ptr<T, Free>;

} // namespace

struct Pattern::Code {
  Owned<pcre2_code> code; ///< null: `literal` is looked for
  std::string literal;
};

namespace {

Result<std::shared_ptr<const Pattern::Code>> compile(std::string_view text, std::string_view written) {
  Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (!context)
    return fail(ExitCode::resource, "no memory for a pattern");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Owned<pcre2_code> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE | PCRE2_UTF | PCRE2_AUTO_CALLOUT, &error,
                    &offset, context.get()));
  if (!code) {
    char message[160] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR *>(message), sizeof message);
    return fail(ExitCode::badInput, "{} in {}", message, quote(written));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE); // where JIT is forbidden, the interpreter runs
  return std::make_shared<const Pattern::Code>(Pattern::Code{std::move(code), {}});
}

} // namespace

Result<Pattern> Pattern::fromOniguruma(std::string_view expression) {
  Result<std::string> text = translate(expression);
  if (!text)
    return propagate(text);
  auto code = compile(*text, expression);
  if (!code)
    return propagate(code);
  return Pattern{std::move(*code)};
}

Pattern Pattern::fromLiteral(std::string_view text) {
  return {std::make_shared<const Code>(Code{nullptr, std::string(text)})};
}

struct Matcher::State {
  std::shared_ptr<const Pattern::Code> code;
  Owned<pcre2_match_context> context;
  Owned<pcre2_match_data> data;
  Work work;
};

Matcher::Matcher(const Pattern &pattern, size_t textBytes) : state(std::make_unique<State>()) {
  state->code = pattern.code;
  if (!pattern.code->code)
    return;
  state->work.left = workAtLeast + workPerByte * textBytes;
  state->context.reset(pcre2_match_context_create(nullptr));
  state->data.reset(pcre2_match_data_create(1, nullptr));
  if (!state->context || !state->data) {
    state->work.left = 0;
    return;
  }
  pcre2_set_callout(state->context.get(), spendWork, &state->work);
  // The work is what ends a search; these would end it earlier on long runs of spaces.
  pcre2_set_match_limit(state->context.get(), 0x7FFFFFFF);
  pcre2_set_heap_limit(state->context.get(), heapLimitKib);
}

Matcher::~Matcher() = default;
Matcher::Matcher(Matcher &&) noexcept = default;

bool Matcher::exhausted() const { return state->code->code && state->work.left == 0; }

void Matcher::stepOver(std::string_view text, size_t &position) { nextCharacter(text, position); }

std::optional<PatternMatch> Matcher::find(std::string_view text, size_t from) {
  if (const std::string &literal = state->code->literal; !state->code->code) {
    size_t begin = text.find(literal, from);
    return begin == text.npos ? std::nullopt : std::optional(PatternMatch{begin, begin + literal.size()});
  }
  if (exhausted())
    return std::nullopt;
  state->work.position = from;
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = pcre2_match(state->code->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, state->data.get(),
                          state->context.get());
  if (found == PCRE2_ERROR_JIT_STACKLIMIT)
    found = pcre2_match(state->code->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        state->data.get(), state->context.get());
  if (found < 0) {
    if (found != PCRE2_ERROR_NOMATCH)
      state->work.left = 0;
    return std::nullopt;
  }
  const PCRE2_SIZE *match = pcre2_get_ovector_pointer(state->data.get());
  // \K and lookarounds could put the end before the start.
  return match[0] >= from && match[1] >= match[0] ? std::optional(PatternMatch{match[0], match[1]}) : std::nullopt;
}

Result<Pattern> parsePattern(const JsonNode &node) {
  bool regex = node.has("Regex");
  if (regex == node.has("String"))
    return node.fail("expected {{\"Regex\": …}} or {{\"String\": …}}");
  Result<std::string> text = node.string(regex ? "Regex" : "String", "");
  if (!text)
    return propagate(text);
  if (text->empty())
    return node.fail("the pattern is empty");
  if (!regex)
    return Pattern::fromLiteral(*text);
  Result<Pattern> pattern = Pattern::fromOniguruma(*text);
  if (!pattern)
    return node.fail("{}", pattern.error().message);
  return pattern;
}

} // namespace lathe

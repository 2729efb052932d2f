#include "runtime/chat/ChatPrompt.h"
#include "runtime/chat/ChatTemplate.h"
#include "runtime/chat/ValueJson.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

/// What a template renders to, or its error.
std::string render(std::string_view source, std::string_view variables = "{}", const chat::RenderLimits &limits = {}) {
  auto values = chat::parseValue(variables, "variables");
  EXPECT_TRUE(values);
  auto parsed = ChatTemplate::parse(source);
  if (!parsed)
    return parsed.error().message;
  auto text = (*parsed)->render(values->dict(), {limits, [] { return std::time_t(0); }});
  return text ? text->bytes : text.error().message;
}

/// The ranges of input of what a template renders to, each as its text.
std::vector<std::string> inputOf(std::string_view source, std::string_view variables) {
  auto values = chat::parseValue(variables, "variables");
  auto parsed = ChatTemplate::parse(source);
  EXPECT_TRUE(values && parsed);
  auto text = (*parsed)->render(values->dict());
  EXPECT_TRUE(text) << text.error().message;
  std::vector<std::string> parts;
  for (const TextRange &range : text->input)
    parts.push_back(text->bytes.substr(range.begin, range.end - range.begin));
  return parts;
}

TEST(Template, ErrorsSayWhere) {
  const std::pair<const char *, const char *> cases[] = {
      {"a\nb {{ x y }}", "chat template:2:8: expected '}}', found \"y\""},
      {"{{ 'é' + }}", "chat template:1:10: expected an expression, found '}}'"},
      {"{% if x %}", "chat template:1:11: a block without an end: expected 'elif' or 'else' or 'endif'"},
      {"{% extends 'x' %}", "chat template:1:4: the tag \"extends\" is not supported here; supported: for, if, set, "
                            "macro, call, filter, with, generation, raw, break, continue"},
      {"{% include 'x' %}", "chat template:1:4: the tag \"include\" is not supported here; supported: for, if, set, "
                            "macro, call, filter, with, generation, raw, break, continue"},
      {"{% for x in y recursive %}", "chat template:1:15: recursive loops are not supported; use a macro"},
      {"{% break %}", "chat template:1:4: 'break' outside of a loop"},
      {"{% set 1 = 2 %}", "chat template:1:8: expected a name to assign to"},
      {"{{ 'a }}", "chat template:1:4: a string without an end"},
      {"{{ '\\ud800' }}", "chat template:1:5: an escape sequence that is none in a string"},
      {"{# x", "chat template:1:1: a comment without an end: expected '#}'"},
      {"{% raw %}x", "chat template:1:1: a raw block without an end: expected '{% endraw %}'"},
      {"{{ x", "chat template:1:1: a print statement without an end: expected '}}'"},
      {"{{ (1] }}", "chat template:1:6: unexpected ']', expected ')'"},
      {"{{ 1 ? 2 }}", "chat template:1:6: unexpected character \"?\""},
      {"{{ 012 }}", "chat template:1:4: a number must not begin with 0: \"012\""},
      {"{{ 99999999999999999999 }}", "chat template:1:4: the number \"99999999999999999999\": expected one of 64 bits"},
      {"{{ f(a=1, 2) }}", "chat template:1:11: a positional argument behind keywords"},
      {"{{ 1 is odd is even }}", "chat template:1:13: a test behind a test: write 'and' between them"},
      {"{{ x.y }}", "chat template:1:5: \"x\" is undefined"},
      {"{{ [][0].y }}", "chat template:1:9: index 0 is out of range: a list of 0"},
      {"{{ x|nosuch }}", "chat template:1:6: the filter \"nosuch\" is not supported"},
      {"{{ 1 is nosuch }}", "chat template:1:9: the test \"nosuch\" is not supported"},
      {"{{ 'x'.encode() }}", "chat template:1:7: this method of str is not supported"},
      {"{{ [1].append(2) }}", "chat template:1:7: list.append changes its value, which templates must not"},
      {"{{ 1 + 'x' }}", "chat template:1:6: cannot compute int + str; '~' joins any values as text"},
      {"{{ 1 < 'x' }}", "chat template:1:6: cannot order int and str"},
      {"{{ 9223372036854775807 + 1 }}", "chat template:1:24: 9223372036854775807 + 1 does not fit 64 bits"},
      {"{{ 1 // 0 }}", "chat template:1:6: division by zero"},
      {"{{ {[]: 1} }}", "chat template:1:5: a list is no key of a dict"},
      {"{{ x() }}", "chat template:1:4: \"x\" is undefined"},
      {"{{ 'x'() }}", "chat template:1:4: a str cannot be called"},
      {"{{ 'x'|replace('a') }}", "chat template:1:8: replace: the argument 'new' is missing"},
      {"{{ 'x'|trim(q=1) }}", "chat template:1:8: trim: no argument is called \"q\""},
      {"{{ none|tojson }}{{ x|tojson }}", "chat template:1:23: tojson: a value that is undefined is no JSON"},
      {"{{ 5|length }}", "chat template:1:6: length: a int has none"},
      {"{% for a, b in [1] %}{% endfor %}", "chat template:1:8: a int cannot be iterated over"},
      {"{% for a, b in [(1,)] %}{% endfor %}", "chat template:1:8: expected 2 values to assign, found 1"},
      {"{% set x = 1 %}{% set x.y = 2 %}",
       "chat template:1:23: \"x\" is no namespace: only a namespace's items can be set"},
      {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
       "chat template:1:34: macro \"m\": expected at most 1 arguments, found 2"},
      {"\n\n{{ raise_exception('no such role') }}", "chat template:3:4: the template refuses: no such role"},
      {"{{ range(0, 200000) }}", "chat template:1:4: range: expected at most 100000 numbers"},
  };
  for (auto [source, message] : cases)
    EXPECT_EQ(render(source), message) << source;
  EXPECT_EQ(ChatTemplate::parse("a\xff", "t.jinja").error().message, "t.jinja: byte 1: expected UTF-8");
  EXPECT_EQ(ChatTemplate::parse(std::string(ChatTemplate::byteLimit + 1, 'x'), "t.jinja").error().message,
            "t.jinja: expected at most 1048576 bytes, found 1048577");
}

TEST(Template, WhatJinjaLeavesOpen) {
  // An int has 64 bits here; generators and functions have no text; equal texts have no identity.
  EXPECT_EQ(render("{{ '1e30'|float|int }}"), "chat template:1:17: int: the number does not fit 64 bits");
  EXPECT_EQ(render("{{ [1]|map('string') }}"), "chat template:1:8: a generator has no text; use the filter list");
  EXPECT_EQ(render("{{ 'a' is sameas 'a' }}"),
            "chat template:1:11: the test sameas is not for equal texts and numbers; use ==");
  EXPECT_EQ(render("{{ '<a>'|e }} {{ '<a>'|safe }}"), "&lt;a&gt; <a>");
  EXPECT_EQ(render("{{ strftime_now('%Y%m%d%%%f%z|%') }}").substr(0, 15), "19700101%000000");
}

TEST(Template, StaysWithinLimits) {
  std::string deep = std::string(100'000, '(') + "1" + std::string(100'000, ')'), chain = "{{ 1", names, nest;
  for (int i = 0; i < 100'000; ++i)
    chain += "+1", names += "{% set a" + std::to_string(i) + " = 1 %}";
  for (int i = 0; i < 5000; ++i)
    nest += "{% if x %}";
  const std::pair<std::string, const char *> cases[] = {
      {"{{ " + deep + " }}", "nested too deeply"},
      {"{{ " + std::string(100'000, '[') + std::string(100'000, ']') + " }}", "nested too deeply"},
      {"{{ " + std::string(100'000, '-') + "1 }}", "nested too deeply"},
      {"{{ x" + std::string(100'000, '.') + " }}", "expected a name or a number behind '.'"},
      {chain + " }}", "nested too deeply"},
      {nest, "nested too deeply"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "expected at most 800 levels of evaluation"},
      {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps of evaluation"},
      {"{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
       "steps of evaluation"},
      {"{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}",
       "a value of more than 16777216 items"},
      {"{% set n = namespace(s=[]) %}{% for i in range(999) %}{% set n.s = [n.s] %}{% endfor %}",
       "a value nested deeper than 100 levels"},
      {"{% set n = namespace(s={}) %}{% for i in range(999) %}{% set n.s = {'a': n.s.get} %}{% endfor %}",
       "a value nested deeper than 100 levels"},
      {"{{ 'x' * 9999999999 }}", "steps of evaluation"},
      {"{{ [1] * 9999999999 }}", "steps of evaluation"},
      {"{{ '%9999999s' % 1 }}", "a format of more than 10000 characters"},
      {"{{ 'x'|center(999999999) }}", "steps of evaluation"},
      {"{{ ('x' * 1000000)|replace('', 'y' * 1000000) }}", "steps of evaluation"},
      {"{{ ('x\n' * 100000)|indent(1000) }}", "at most 67108864 bytes of output"},
      {"{{ 3 ** 99999999999 }}", "does not fit 64 bits"},
      {names + "{% for i in range(99999) %}{{ a1 }}{{ a99999 }}{% endfor %}", "expected at most 1048576 bytes"},
      {names.substr(0, 600'000 / 20 * 20) + "x", ""},
      {"{% set n = namespace() %}{% for i in range(99999) %}{% macro g() %}{{ p }}{% endmacro %}{% set p = n.f %}"
       "{% set n.f = g %}{% endfor %}{{ n.x }}end",
       "end"},
      {"{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}{% for x in [1] %}{% set n.loop = loop %}"
       "{% endfor %}end",
       "end"},
      {"{% macro m(c) %}{% macro g() %}{{ c }}{% endmacro %}{% set n.f = g %}{% endmacro %}"
       "{% set n = namespace(f=0) %}{% for i in range(50000) %}{% set _ = m(n.f) %}{% endfor %}end",
       ""},
  };
  for (const auto &[source, says] : cases) {
    std::string text = render(source);
    EXPECT_NE(text.find(says), text.npos) << source.substr(0, 100) << ": " << text.substr(0, 200);
  }
  EXPECT_NE(render("{% for i in range(1000) %}0123456789{% endfor %}", "{}", {.outputBytes = 9999})
                .find("at most 9999 bytes of output"),
            std::string::npos);
}

TEST(Template, RememberWhatIsInput) {
  const char *variables = R"({"s": "a<b>c", "l": ["x", "y"], "d": {"k": "v"}, "n": 5})";
  using Parts = std::vector<std::string>;
  EXPECT_EQ(inputOf("<b>{{ s }}<b>", variables), Parts({"a<b>c"}));
  EXPECT_EQ(inputOf("{{ '<b>' + s + '<e>' + n|string }}", variables), Parts({"a<b>c"}));
  EXPECT_EQ(inputOf("{{ ('<b>' ~ s ~ '<b>')|trim|replace('b', 'q') }}", variables), Parts({"a<", ">c"}));
  EXPECT_EQ(inputOf("{{ ('<b>' ~ s)[2:5] }}", variables), Parts({"a<"}));
  EXPECT_EQ(inputOf("{{ ('<b> ' ~ s).split('<')[-1] }}", variables), Parts({"b>c"}));
  EXPECT_EQ(inputOf("{{ '-'.join(l) }}", variables), Parts({"x", "y"}));
  EXPECT_EQ(inputOf("{{ l|join(' ') }}{{ '<%s>' % s }}{{ '<{}>'.format(s) }}", variables),
            Parts({"x", "y", "a<b>c", "a<b>c"}));
  EXPECT_EQ(inputOf("{{ d|tojson }}|{{ [1]|tojson }}", variables), Parts({"{\"k\": \"v\"}"}));
  EXPECT_EQ(inputOf("{{ (s ~ '<T>').upper() }}", variables), Parts({"A<B>C"}));
  EXPECT_EQ(inputOf("{% set x %}<b>{{ s }}{% endset %}{% macro m(v) %}[{{ v }}]{% endmacro %}{{ m(x) }}", variables),
            Parts({"a<b>c"}));
  EXPECT_EQ(inputOf("{% filter indent(1) %}a\n{{ s }}\nb{% endfilter %}", variables), Parts({"a<b>c"}));
}

TEST(Messages, AreChecked) {
  const std::pair<const char *, const char *> cases[] = {
      {"{}", "m: expected a list of messages"},
      {"[]", "m: expected a list of messages"},
      {"[1]", "m[0]: expected an object with a \"role\""},
      {R"([{"role": "user"}, {"role": null}])", "m[1]: expected an object with a \"role\""},
  };
  for (auto [text, says] : cases) {
    auto good = checkMessages(*chat::parseValue(text, "m"), "m");
    ASSERT_FALSE(good) << text;
    EXPECT_EQ(good.error().message.find(says), 0u) << good.error().message;
  }
  EXPECT_TRUE(checkMessages(*chat::parseValue(R"([{"role": "user"}])", "m"), "m"));
}

TEST(ValueJson, ReadsAsPythonDoes) {
  auto print = [](const char *text) {
    auto value = chat::parseValue(text, "v");
    chat::Run run("", "v", {}, {});
    return value ? run.json(*value, nullptr, ", ", ": ", false, false).bytes : value.error().message;
  };
  EXPECT_EQ(print(R"({"z": 1, "a": [1.0, -2, true, null, "é\n"], "z": 2})"),
            R"({"z": 2, "a": [1.0, -2, true, null, "é\n"]})");
  EXPECT_EQ(print("[1e400]").substr(0, 6), "v:1:6:");
  EXPECT_EQ(print("18446744073709551615"), "v: a number does not fit 64 bits; write it as a text");
  EXPECT_EQ(print("184467440737095516150"), "v: a number does not fit 64 bits; write it as a text");
  EXPECT_EQ(print("{\"a\" 1}"), "v:1:6: expected JSON, found \"1}\"");
  EXPECT_EQ(print(std::string(65, '[').c_str()), "v: expected at most 64 levels of nesting");
}

} // namespace
} // namespace lathe

#include "tools/lathe/LineEditor.h"

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <histedit.h>
#include <langinfo.h>
#include <termios.h>
#include <unistd.h>

namespace lathe {

struct LineEditor::Impl {
  EditLine *editor = nullptr;
  History *history = nullptr;
  FILE *shown = nullptr;
  std::string prompt;
  bool interrupted = false, marksPaste = false, pasting = false;

  static Impl &of(EditLine *editor) {
    Impl *impl = nullptr;
    el_get(editor, EL_CLIENTDATA, &impl);
    return *impl;
  }
  static char *showPrompt(EditLine *editor) { return of(editor).prompt.data(); }
  static unsigned char interrupt(EditLine *editor, int) {
    of(editor).interrupted = true;
    return CC_NEWLINE;
  }
  static unsigned char beginPaste(EditLine *editor, int) { return of(editor).pasting = true, CC_NORM; }
  static unsigned char endPaste(EditLine *editor, int) { return of(editor).pasting = false, CC_NORM; }
  /// Asks the terminal to put \e[200~ and \e[201~ around what is pasted.
  void markPaste(bool on) const {
    if (!marksPaste)
      return;
    std::fputs(on ? "\033[?2004h" : "\033[?2004l", shown);
    std::fflush(shown);
  }
};

namespace {

/// While a line is edited, Ctrl-C is a key like others: it takes the line back and ends nothing.
class CtrlCAsKey {
public:
  CtrlCAsKey() {
    known = tcgetattr(STDIN_FILENO, &before) == 0;
    termios now = before;
    now.c_cc[VINTR] = _POSIX_VDISABLE;
    if (known)
      tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
  }
  ~CtrlCAsKey() {
    if (known)
      tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
  }

private:
  termios before = {};
  bool known = false;
};

} // namespace

LineEditor::LineEditor() : impl(std::make_unique<Impl>()) {
  // libedit counts columns by the locale's characters; text here is UTF-8 in any case.
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
    std::setlocale(LC_CTYPE, "C.UTF-8");
  impl->history = history_init();
  HistEvent event;
  history(impl->history, &event, H_SETSIZE, 1000);
  history(impl->history, &event, H_SETUNIQUE, 1);
  impl->shown = isatty(STDOUT_FILENO) ? stdout : stderr; // prompts are no data
  const char *terminal = std::getenv("TERM");
  impl->marksPaste = terminal && *terminal && std::strcmp(terminal, "dumb") != 0;
  impl->editor = el_init("lathe", stdin, impl->shown, stderr);
  el_set(impl->editor, EL_CLIENTDATA, impl.get());
  el_set(impl->editor, EL_PROMPT, Impl::showPrompt);
  el_set(impl->editor, EL_EDITOR, "emacs");
  el_set(impl->editor, EL_SIGNAL, 1);
  el_set(impl->editor, EL_HIST, history, impl->history);
  el_set(impl->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(impl->editor, EL_ADDFN, "interrupt", "Take the line back", Impl::interrupt);
  el_set(impl->editor, EL_BIND, "^C", "interrupt", nullptr);
  el_set(impl->editor, EL_ADDFN, "begin-paste", "What follows is pasted", Impl::beginPaste);
  el_set(impl->editor, EL_ADDFN, "end-paste", "What follows is typed again", Impl::endPaste);
  el_set(impl->editor, EL_BIND, "\\e[200~", "begin-paste", nullptr);
  el_set(impl->editor, EL_BIND, "\\e[201~", "end-paste", nullptr);
  el_set(impl->editor, EL_BIND, "^I", "ed-insert", nullptr); // nothing to complete, and pasted text has tabs
  el_source(impl->editor, nullptr);
}

LineEditor::~LineEditor() {
  el_end(impl->editor);
  history_end(impl->history);
}

LineEditor::Ending LineEditor::read(const std::string &prompt, std::string &line) {
  impl->prompt = prompt;
  impl->interrupted = false;
  CtrlCAsKey asKey;
  int count = 0;
  impl->markPaste(true);
  const char *text = el_gets(impl->editor, &count);
  line.assign(text && count > 0 ? text : "", text && count > 0 ? static_cast<size_t>(count) : 0);
  bool ended = !text || count <= 0;
  if (impl->interrupted || ended)
    impl->pasting = false;
  if (!impl->pasting)
    impl->markPaste(false);
  if (impl->interrupted) {
    std::fputs("^C\033[J\n", stderr); // of a line that wrapped, or was drawn before the window changed, nothing stays
    return Ending::interrupted;
  }
  if (ended)
    return Ending::end;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r'))
    line.pop_back();
  return Ending::line;
}

bool LineEditor::pasting() const { return impl->pasting; }

void LineEditor::remember(const std::string &line) {
  HistEvent event;
  if (!line.empty())
    history(impl->history, &event, H_ENTER, line.c_str());
}

} // namespace lathe

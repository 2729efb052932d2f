#include "runtime/support/Interrupt.h"

#include <atomic>
#include <csignal>
#include <unistd.h>

namespace lathe {
namespace {

std::atomic<const char *> doomed[8];

void end(int signal) {
  for (std::atomic<const char *> &entry : doomed)
    if (const char *path = entry.load())
      ::unlink(path);
  for (std::atomic<const char *> &entry : doomed) // now that they are empty
    if (const char *path = entry.load())
      ::rmdir(path);
  ::_exit(128 + signal);
}

volatile std::sig_atomic_t interrupted = 0;
struct sigaction beforeFlag;

} // namespace

InterruptFlag::InterruptFlag() {
  interrupted = 0;
  if (sigaction(SIGINT, nullptr, &beforeFlag) != 0 || beforeFlag.sa_handler == SIG_IGN)
    return;
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

InterruptFlag::~InterruptFlag() { sigaction(SIGINT, &beforeFlag, nullptr); }
bool InterruptFlag::raised() const { return interrupted; }
void InterruptFlag::clear() { interrupted = 0; }

void endOnInterrupt() {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old;
    if (sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN)
      continue; // nohup, and jobs that a shell starts in the background
    struct sigaction action = {};
    action.sa_handler = end;
    sigfillset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
}

void removeOnInterrupt(const char *path) {
  for (std::atomic<const char *> &entry : doomed) {
    const char *none = nullptr;
    if (entry.compare_exchange_strong(none, path))
      return;
  }
}

void keepOnInterrupt(const char *path) {
  for (std::atomic<const char *> &entry : doomed) {
    const char *same = path;
    if (entry.compare_exchange_strong(same, nullptr))
      return;
  }
}

} // namespace lathe

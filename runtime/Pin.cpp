#include "runtime/Pin.h"

#include <pthread.h>
#include <sched.h>

namespace lathe {

struct Pin::Affinity {
  cpu_set_t cpus;
};

Pin::Pin(int64_t worker) : before(std::make_unique<Affinity>()) {
  if (pthread_getaffinity_np(pthread_self(), sizeof before->cpus, &before->cpus) != 0) { // more than 1024 CPUs
    before.reset();
    return;
  }
  int64_t skipped = worker % CPU_COUNT(&before->cpus);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &before->cpus) && skipped-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      return;
    }
}

Pin::~Pin() {
  if (before)
    pthread_setaffinity_np(pthread_self(), sizeof before->cpus, &before->cpus);
}

} // namespace lathe

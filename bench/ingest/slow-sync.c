/* LD_PRELOAD: every fsync and fdatasync takes SLOW_SYNC_MS longer, as on an SD card. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowed(const char *name, int fd) {
  const char *ms = getenv("SLOW_SYNC_MS");
  usleep(1000 * (ms ? atoi(ms) : 20));
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return next(fd);
}

int fsync(int fd) { return slowed("fsync", fd); }
int fdatasync(int fd) { return slowed("fdatasync", fd); }

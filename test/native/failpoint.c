/* Where a test lets a shim end: at <where>.<step> when the bundle of its container has a file `failpoints/<where>.<step>`, which is
 * taken away by it. Linked into a shim for the tests only (make -C src/native failpoints); see test/chaos/shim-failpoints.test.ts. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "shim.h"

void failpoint(const char *where, const char *step) {
  char path[4096];
  int before = errno;
  int length = options.bundle == NULL ? -1 : snprintf(path, sizeof path, "%s/failpoints/%s.%s", options.bundle, where, step);
  if (length > 0 && (size_t) length < sizeof path && unlink(path) == 0) (void) kill(getpid(), SIGKILL);
  errno = before;
}

void failpoint_of(int op, const char *step) {
  static const char *const names[] = { "none", "create", "start", "delete", "delete", "exec" };
  failpoint(names[op >= OP_NONE && op <= OP_EXEC ? op : OP_NONE], step);
}

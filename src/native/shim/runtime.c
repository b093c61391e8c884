#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "shim.h"

enum { MOST_ARGUMENTS = 256 };

struct call call;

int runtime_error_file(void) {
  return open("runtime.err", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* The runtime's command line: its global arguments come first, since older runtimes refuse them after the subcommand. */
static int arguments(int op, const char **list, char *paths, size_t size) {
  int count = 0;
  if (options.runtime_count + 12 > MOST_ARGUMENTS) return E2BIG;
  for (int i = 0; i < options.runtime_count; i++) list[count++] = options.runtime[i];
  if (op == OP_CREATE) {
    char directory[4000];
    if (getcwd(directory, sizeof directory) == NULL) return errno;
    int pid_length = snprintf(paths, size, "%s/pid", directory) + 1;
    list[count++] = "create";
    list[count++] = "--bundle";
    list[count++] = options.bundle;
    list[count++] = "--pid-file";
    list[count++] = paths;
    if (options.terminal) {
      /* By way of /proc, since the path of a socket must fit in 108 bytes. */
      (void) snprintf(paths + pid_length, size - (size_t) pid_length, "/proc/%d/cwd/c.sock", (int) getpid());
      list[count++] = "--console-socket";
      list[count++] = paths + pid_length;
    }
    if (options.no_pivot) list[count++] = "--no-pivot";
  } else if (op == OP_START) {
    list[count++] = "start";
  } else {
    list[count++] = "delete";
    if (op == OP_DELETE_FORCE) list[count++] = "--force";
  }
  list[count++] = options.id;
  list[count] = NULL;
  return 0;
}

/* In the child, between fork and exec: only calls that are safe there. Its failure goes back through the pipe. */
static _Noreturn void become_runtime(char **list, int out, int err, int failure, pid_t shim) {
  sigset_t none;
  int error;
  sigemptyset(&none);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  /* A runtime without its shim would make a container that nobody watches. */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == shim && setpgid(0, 0) == 0 && null >= 0
      && dup2(null, 0) >= 0 && dup2(out >= 0 ? out : null, 1) >= 0 && dup2(err >= 0 ? err : null, 2) >= 0
      && signal(SIGPIPE, SIG_DFL) != SIG_ERR && signal(SIGHUP, SIG_DFL) != SIG_ERR && sigprocmask(SIG_SETMASK, &none, NULL) == 0) {
    execv(list[0], list);
  }
  error = errno == 0 ? ESRCH : errno;
  while (write(failure, &error, sizeof error) < 0 && errno == EINTR) {}
  _exit(127);
}

int runtime_start(int op, uint32_t tag, int out, int err) {
  const char *list[MOST_ARGUMENTS];
  char paths[4200];
  int failure[2];
  int error = arguments(op, list, paths, sizeof paths);
  if (error != 0) return error;
  if (pipe2(failure, O_CLOEXEC) < 0) return errno;
  pid_t shim = getpid();
  pid_t pid = fork();
  if (pid == 0) become_runtime((char **) list, out, err, failure[1], shim);
  error = pid < 0 ? errno : 0;
  close(failure[1]);
  if (pid > 0) {
    /* The pipe closes by the exec; a number in it is the errno of what failed before. */
    int told = 0;
    ssize_t length;
    do length = read(failure[0], &told, sizeof told); while (length < 0 && errno == EINTR);
    if (length == sizeof told) error = told;
    else call = (struct call) { .pid = pid, .op = op, .tag = tag };
  }
  close(failure[0]);
  return error;
}

void runtime_abort(void) {
  if (call.pid > 0) (void) kill(-call.pid, SIGKILL); /* not reaped yet, so the group is still its own */
}

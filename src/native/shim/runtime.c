/* Calls of the OCI runtime: at most one for each slot at a time. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "shim.h"

enum { MOST_ARGUMENTS = 256, PATHS_SIZE = 20000 };

/* The files of a call, in the shim's working directory: init's have plain names, a slot's bear its number. */
static void file_name(const struct process *process, const char *kind, char *name, size_t size) {
  if (process != processes) (void) snprintf(name, size, "exec-%u.%s", slot_of(process), kind);
  else (void) snprintf(name, size, "%s%s", strcmp(kind, "err") == 0 ? "runtime." : "", kind);
}

void runtime_pid_file(const struct process *process, char *name, size_t size) {
  file_name(process, "pid", name, size);
}

int runtime_error_file(const struct process *process) {
  char name[32];
  file_name(process, "err", name, sizeof name);
  return open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

struct command {
  const char *list[MOST_ARGUMENTS];
  int count;
  char paths[PATHS_SIZE]; /* one behind the other, so that few pages of the stack are touched */
  size_t used;
};

static void add(struct command *command, const char *argument) {
  command->list[command->count++] = argument;
}

static const char *keep(struct command *command, const char *directory, const char *name) {
  char *path = command->paths + command->used;
  size_t room = sizeof command->paths - command->used;
  int length = snprintf(path, room, "%s/%s", directory, name);
  if (length < 0 || (size_t) length >= room) die(SYSTEM_ERROR, "the paths of a call are too long");
  command->used += (size_t) length + 1;
  return path;
}

/* Absolute, since a runtime may change its directory to the bundle's first. */
static const char *absolute(struct command *command, const char *directory, const struct process *process, const char *kind) {
  char name[32];
  file_name(process, kind, name, sizeof name);
  return keep(command, directory, name);
}

/* The runtime's command line: its global arguments come first, since older runtimes refuse them after the subcommand. */
static int arguments(struct command *command, struct process *process, int op) {
  char directory[4000];
  if (options.runtime_count + MOST_EXTRA + 16 > MOST_ARGUMENTS) return E2BIG;
  if (getcwd(directory, sizeof directory) == NULL) return errno;
  for (int i = 0; i < options.runtime_count; i++) {
    add(command, options.runtime[i]);
    /* Several may be under way at once: each has a log of its own, or their words could not be told apart. */
    if (op == OP_EXEC && strcmp(options.runtime[i], "--log") == 0 && i + 1 < options.runtime_count) {
      const char *log = absolute(command, directory, process, "log");
      (void) unlink(log);
      add(command, log);
      i++;
    }
  }
  if (op == OP_CREATE || op == OP_EXEC) {
    if (op == OP_CREATE) {
      add(command, options.restore ? "restore" : "create");
      if (options.restore) add(command, "--detach");
      for (int i = 0; i < options.extra_count; i++) add(command, options.extra[i]);
      add(command, "--bundle");
      add(command, options.bundle);
    } else {
      add(command, "exec");
      add(command, "--detach");
      add(command, "--process");
      add(command, absolute(command, directory, process, "json"));
    }
    const char *pid_file = absolute(command, directory, process, "pid");
    (void) unlink(pid_file); /* that of an earlier process in this slot */
    add(command, "--pid-file");
    add(command, pid_file);
    if (process->terminal) {
      char name[32];
      char here[32];
      console_name(process, name, sizeof name);
      /* By way of /proc, since the path of a socket must fit in 108 bytes. */
      (void) snprintf(here, sizeof here, "/proc/%d/cwd", (int) getpid());
      add(command, "--console-socket");
      add(command, keep(command, here, name));
    }
    if (op == OP_CREATE && options.no_pivot) add(command, "--no-pivot");
  } else if (op == OP_START) {
    add(command, "start");
  } else {
    add(command, "delete");
    if (op == OP_DELETE_FORCE) add(command, "--force");
  }
  add(command, options.id);
  command->list[command->count] = NULL;
  return 0;
}

/* In the child, between fork and exec: only calls that are safe there. Its failure goes back through the pipe. */
static _Noreturn void become_runtime(char **list, const int streams[3], int failure, pid_t shim) {
  sigset_t none;
  int error;
  sigemptyset(&none);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  /* A runtime without its shim would make a container that nobody watches. */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == shim && setpgid(0, 0) == 0 && null >= 0
      && dup2(streams[0] >= 0 ? streams[0] : null, 0) >= 0 && dup2(streams[1] >= 0 ? streams[1] : null, 1) >= 0
      && dup2(streams[2] >= 0 ? streams[2] : null, 2) >= 0
      && signal(SIGPIPE, SIG_DFL) != SIG_ERR && signal(SIGHUP, SIG_DFL) != SIG_ERR && sigprocmask(SIG_SETMASK, &none, NULL) == 0) {
    execv(list[0], list);
  }
  error = errno == 0 ? ESRCH : errno;
  while (write(failure, &error, sizeof error) < 0 && errno == EINTR) {}
  _exit(127);
}

int runtime_start(struct process *process, int op, uint32_t tag, const int streams[3]) {
  struct command command;
  int failure[2];
  command.count = 0;
  command.used = 0;
  int error = arguments(&command, process, op);
  if (error != 0) return error;
  if (pipe2(failure, O_CLOEXEC) < 0) return errno;
  pid_t shim = getpid();
  failpoint_of(op, "forking");
  pid_t pid = fork();
  failpoint_of(op, pid == 0 ? "child" : "forked");
  if (pid == 0) become_runtime((char **) command.list, streams, failure[1], shim);
  error = pid < 0 ? errno : 0;
  close(failure[1]);
  if (pid > 0) {
    /* The pipe closes by the exec; a number in it is the errno of what failed before. */
    int told = 0;
    ssize_t length;
    do length = read(failure[0], &told, sizeof told); while (length < 0 && errno == EINTR);
    if (length == sizeof told) error = told;
    else process->call = (struct call) { .pid = pid, .op = op, .tag = tag };
  }
  close(failure[0]);
  return error;
}

void runtime_abort(const struct process *process) {
  if (process->call.pid > 0) (void) kill(-process->call.pid, SIGKILL); /* not reaped yet, so the group is still its own */
}

// exit-floor SOCKET RUNTIME ROOT BUNDLE: what a bare program needs from the death of a container's init to bytes at a reader.
// It is the init's parent (a subreaper, as a shim is), waits in waitpid(2), and writes one event to the one who has connected to
// SOCKET. Lines on stdin: `make ID` creates and starts a container, answers its pid; `wait N` tells of the next N ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void die(const char *what) {
  perror(what);
  exit(1);
}

// With no output, since init inherits it.
static void runtime(char *const arguments[]) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status;
  if (posix_spawn_file_actions_init(&actions) != 0) die("posix_spawn_file_actions_init");
  for (int fd = 0; fd < 3; fd++) {
    if (posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0) != 0) die("posix_spawn_file_actions_addopen");
  }
  errno = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
  if (errno != 0) die(arguments[0]);
  (void)posix_spawn_file_actions_destroy(&actions);
  if (waitpid(pid, &status, 0) != pid || status != 0) {
    fprintf(stderr, "%s %s failed\n", arguments[0], arguments[3]);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  char *const root = argv[3], *const bundle = argv[4];
  char pid_file[4096], line[256];
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die("prctl");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  snprintf(pid_file, sizeof pid_file, "%s.pid", argv[1]);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0) die("socket");
  printf("ready\n");
  fflush(stdout);
  const int reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (reader < 0) die("accept");
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "make ", 5) == 0) {
      char *const id = line + 5;
      runtime((char *[]){argv[2], "--root", root, "create", "--bundle", bundle, "--pid-file", pid_file, id, NULL});
      runtime((char *[]){argv[2], "--root", root, "start", id, NULL});
      FILE *file = fopen(pid_file, "re");
      int pid = 0;
      if (file == NULL || fscanf(file, "%d", &pid) != 1) die(pid_file);
      fclose(file);
      printf("%d\n", pid);
      fflush(stdout);
    } else if (strncmp(line, "wait ", 5) == 0) {
      for (int left = atoi(line + 5); left > 0; left--) {
        int status;
        char frame[1024];
        const pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0) die("waitpid");
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        // About as long as one of longshore's.
        const int length = snprintf(frame, sizeof frame, "id: %08x:%d\nevent: StateExit\ndata: {\"type\":\"StateExit\",\"pid\":%d,\"exit\":{\"status\":%d,\"exitedAt\":%lld.%09ld},\"labels\":\"%400s\"}\n\n",
                                    7u, pid, pid, status, (long long)t.tv_sec, t.tv_nsec, "");
        if (write(reader, frame, (size_t)length) != length) die("write");
      }
    }
  }
  return 0;
}

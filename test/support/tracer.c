/* Holds processes as a tracer that reaps nothing: PTRACE_SEIZE (ptrace(2)) for each pid of its arguments, a line on standard
 * output when it has them all, and then nothing until standard input ends. Its own end lets go of them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (ptrace(PTRACE_SEIZE, (pid_t) strtol(argv[i], NULL, 10), NULL, NULL) < 0) {
      perror("ptrace");
      return 1;
    }
  }
  if (puts("ready") < 0 || fflush(stdout) != 0) return 1;
  for (;;) {
    char byte;
    ssize_t length = read(STDIN_FILENO, &byte, 1);
    if (length <= 0) return length < 0;
  }
}

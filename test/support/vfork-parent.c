/* A process in uninterruptible sleep, state D: the parent of a vfork(2) whose child has neither ended nor executed anything. The
 * child says a line on standard output, and ends when standard input does. */
#include <unistd.h>

int main(void) {
  pid_t child = vfork();
  if (child < 0) return 1;
  if (child > 0) return 0;
  char byte;
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) _exit(1);
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  _exit(0);
}

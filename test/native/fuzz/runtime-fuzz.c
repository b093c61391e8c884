/* The shim's command line, and the runtime's that is made of it. The input is words with a zero byte between them. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

static jmp_buf out;
_Noreturn void die(int status, const char *what) {
  (void) status;
  (void) what;
  longjmp(out, 1);
}

#include "args.c"
#include "runtime.c"

struct process processes[SLOTS];
unsigned slots_used;
unsigned slot_of(const struct process *process) { return (unsigned) (process - processes); }
void console_name(const struct process *process, char *name, size_t size) { (void) snprintf(name, size, "c%u.sock", slot_of(process)); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char text[4096];
  static char *words[300];
  static struct command command;
  int count = 0;
  if (size >= sizeof text) return 0;
  memcpy(text, data, size);
  text[size] = '\0';
  words[count++] = (char *) "shim";
  for (char *word = text; word < text + size && count < 299; word += strlen(word) + 1) words[count++] = word;
  words[count] = NULL;
  options = (struct options) { .log_bytes = 4096, .log_segments = 4 };
  if (setjmp(out) != 0) return 0;
  parse_args(count, words);
  if (options.log_bytes < 4096 || options.log_segments < 1 || options.log_segments > MOST_SEGMENTS) abort();
  for (int op = OP_CREATE; op <= OP_EXEC; op++) {
    struct process *process = &processes[op == OP_EXEC ? 255 : 0];
    process->terminal = options.terminal;
    command.count = 0;
    command.used = 0;
    if (arguments(&command, process, op) != 0) continue;
    if (command.count >= MOST_ARGUMENTS || command.list[command.count] != NULL || command.list[command.count - 1] != options.id) abort();
  }
  return 0;
}

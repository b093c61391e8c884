/* Pages that were needed for a while and are not while nothing happens: most of what a shim would have of its own, since
 * calls of the runtime and paths go deep into the stack. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim.h"

/* deeper than any call goes; the kernel leaves more than that below a stack (mmap_base() in arch/x86/mm/mmap.c, 128 MiB) */
enum { STACK_DEPTH = 256 * 1024 };

void give_back(void) {
  uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
  /* The page below this one is left for what is called from here. Not a variable's address: a sanitizer may keep those elsewhere. */
  uintptr_t end = ((uintptr_t) __builtin_frame_address(0) & ~(page - 1)) - page;
  /* Below what the stack has grown to there is nothing, and ENOMEM says so; the rest is done all the same (madvise(2)). */
  (void) madvise((void *) (end - STACK_DEPTH), STACK_DEPTH, MADV_DONTNEED);
  (void) madvise(buffer, sizeof buffer, MADV_DONTNEED);
  (void) madvise(piece, sizeof piece, MADV_DONTNEED);
}

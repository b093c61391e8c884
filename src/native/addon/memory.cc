#include "memory.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace {

// The first object is the program itself (dl_iterate_phdr(3)). Segments that are never written to have no pages of their own,
// so MADV_DONTNEED (madvise(2)) only takes them out of the page table; those of the linker's relocations are in a writable one.
int DropProgram(dl_phdr_info* object, size_t, void*) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const auto& header = object->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (object->dlpi_addr + header.p_vaddr) / page * page;
    const uintptr_t end = object->dlpi_addr + header.p_vaddr + header.p_filesz;
    // One that cannot be dropped stays, which is no error: it is memory and no more.
    (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 1;
}

}  // namespace

void ReleaseMemory(const Napi::CallbackInfo&) {
  (void)malloc_trim(0);
  (void)dl_iterate_phdr(DropProgram, nullptr);
}

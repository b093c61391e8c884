#include "memory.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "unique_fd.h"

namespace {

// Of an entry of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kOfFile = uint64_t{1} << 61;
constexpr size_t kEntries = 512;

// A page of its own cannot be read again from the file: text that was moved to large pages (node --use-largepages), or that a
// debugger has put a breakpoint into.
bool CanDrop(uint64_t entry) { return (entry & kSwapped) == 0 && ((entry & kPresent) == 0 || (entry & kOfFile) != 0); }

void DropRange(uintptr_t begin, uintptr_t end, uintptr_t page, int pagemap) {
  uint64_t entries[kEntries];
  for (uintptr_t at = begin; at < end;) {
    const size_t wanted = (end - at + page - 1) / page < kEntries ? (end - at + page - 1) / page : kEntries;
    const ssize_t bytes = pread(pagemap, entries, wanted * sizeof entries[0], static_cast<off_t>(at / page * sizeof entries[0]));
    if (bytes <= 0) return;
    const size_t count = static_cast<size_t>(bytes) / sizeof entries[0];
    for (size_t i = 0; i < count;) {
      size_t next = i;
      while (next < count && CanDrop(entries[next])) next++;
      // What cannot be dropped stays, which is no error: it is memory and no more.
      if (next > i) (void)madvise(reinterpret_cast<void*>(at + i * page), (next - i) * page, MADV_DONTNEED);
      i = next + 1;
    }
    at += count * page;
  }
}

// The first object is the program itself (dl_iterate_phdr(3)). Segments that are never written to have no pages of their own, as
// a rule, so MADV_DONTNEED (madvise(2)) only takes them out of the page table; those of the linker's relocations are in a writable one.
int DropProgram(dl_phdr_info* object, size_t, void* pagemap) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const auto& header = object->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (object->dlpi_addr + header.p_vaddr) / page * page;
    DropRange(begin, object->dlpi_addr + header.p_vaddr + header.p_filesz, page, *static_cast<int*>(pagemap));
  }
  return 1;
}

}  // namespace

void ReleaseMemory(const Napi::CallbackInfo&) {
  (void)malloc_trim(0);
  const UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  int fd = pagemap.get();
  if (pagemap) (void)dl_iterate_phdr(DropProgram, &fd);
}

import { fileSteps } from './files.ts'

/** PF_FORKNOEXEC of the kernel's include/linux/sched.h: forked, and has not called execve(2) yet */
const forkedOnly = 0x40

/**
 * True once a container's init is its command and no longer the runtime's own program, or has ended. The runtime's start may return
 * a moment before that: a signal in between would be answered by the runtime's program, not by the command.
 * From the flags in /proc/PID/stat (proc(5), field 9): runtimes fork init, and its first execve(2) is the command.
 */
export async function executed (pid: number): Promise<boolean> {
  const [stat = ''] = await fileSteps([{ op: 'read', path: `/proc/${pid}/stat`, limit: 65536 }])
  // The name in the second field may hold anything, blanks and parentheses too: the rest begins behind the last one.
  const flags = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]
  return flags === undefined || (Number(flags) & forkedOnly) === 0
}

/** milliseconds */
const longestPause = 20

/** Waits until init has executed its command, `seconds` at most: false then. */
export async function whenExecuted (pid: number, seconds: number): Promise<boolean> {
  const deadline = performance.now() + seconds * 1000
  for (let pause = 1; !await executed(pid); pause = Math.min(pause * 2, longestPause)) {
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
  return true
}

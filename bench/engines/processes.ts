import { readFile, readdir } from 'node:fs/promises'

/** pids whose command line has this text */
export async function processesWith (text: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (line.includes(text)) found.push(Number(name))
  }
  return found
}

/** Ends processes and all that came from them, from the leaves: what an engine that did not stop by itself leaves. */
export async function endTree (pids: number[]): Promise<void> {
  for (const pid of pids) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
    await endTree(children.split(' ').filter((text) => text !== '').map(Number))
    try { process.kill(pid, 'SIGKILL') } catch { /* it has ended */ }
  }
}

/** Memory as the kernel divides it among those who share it (proc(5), smaps_rollup), KiB; 0 for a process that has gone. */
export async function pss (pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0)
}

/** Milliseconds of CPU that the whole machine has spent (proc(5), /proc/stat, in hundredths of a second). */
export async function machineCpu (): Promise<number> {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (/^cpu +(.*)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1] ?? '').split(' ').map(Number)
  return (user + nice + system + irq + softirq) * 10
}

/** Of which kind a container is goes by its number: some end by themselves, soon or later, some only when they are told. */

export type Kind = {
  /** what its command ends with by itself; null: it does not end */
  status: number | null
  command: string[]
  /** ends so only after SIGTERM */
  told?: true
  /** bytes that it may have: its own status is that of an OOM kill */
  memory?: number
}

export const kinds: Kind[] = [
  { status: 0, command: ['/bin/true'] },
  { status: 7, command: ['/bin/sh', '-c', 'sleep 0.3; exit 7'] },
  { status: 42, command: ['/bin/sh', '-c', "trap 'exit 42' TERM; while :; do sleep 0.2 & wait; done"], told: true },
  { status: null, command: ['/bin/sleep', '10000'] },
  { status: 3, command: ['/bin/sh', '-c', 'sleep 0.1 & sleep 0.2; exit 3'] },
  // A child is killed for its memory; with the group's limit it may be init itself instead, which no trap survives.
  { status: 4, command: ['/bin/sh', '-c', 'sleep 0.1; tail /dev/zero; exit 4'], memory: 16 * 1024 * 1024 }
]

export const kindOf = (id: string): Kind => kinds[Number(id.slice(1)) % kinds.length] as Kind

/** What an exec of this id ends with by itself; each ninth does not end. */
export const execStatus = (processId: string): number | null => {
  const number = Number(processId.slice(1))
  return number % 9 === 0 ? null : 20 + number % 5
}

export const ownStatus = (id: string, processId: string): number | null => (processId === 'init' ? kindOf(id).status : execStatus(processId))

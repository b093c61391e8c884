/**
 * Work on output is done in slices, and one turn of the event loop takes one slice, whoever's it is: a flood with many readers
 * delays everything else by a slice, not by all of them. Slices wait in the order in which they came.
 */
const waiting: (() => void)[] = []
let taken = false

function nextTurn (): void {
  const first = waiting.shift()
  if (first === undefined) {
    taken = false
    return
  }
  setImmediate(nextTurn)
  first()
}

/** Resolves when a slice may be worked on: at once if this turn of the loop had none yet. */
export function turn (): Promise<void> | undefined {
  if (!taken) {
    taken = true
    setImmediate(nextTurn)
    return undefined
  }
  return new Promise((resolve) => waiting.push(resolve))
}

/** seconds; from the publishing of an event to its write to a reader that keeps up: what is behind, or resumes, reads old events */
export const latencyBounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5] as const

/** What the streams have done since the start, counted where it costs next to nothing: once for many readers. */
export class StreamStats {
  /** bytes handed to readers */
  bytes = 0
  readonly gaps = new Map<string, number>()
  readonly byes = new Map<string, number>()
  /** writes of events by latency; the last one is of those past all bounds */
  readonly latencies: number[] = Array.from({ length: latencyBounds.length + 1 }, () => 0)
  /** seconds, of all of them */
  latencySum = 0

  gap (reason: string): void {
    this.gaps.set(reason, (this.gaps.get(reason) ?? 0) + 1)
  }

  bye (reason: string): void {
    this.byes.set(reason, (this.byes.get(reason) ?? 0) + 1)
  }

  wrote (bytes: number, readers: number): void {
    this.bytes += bytes * readers
  }

  /** Events published this many seconds ago were written to so many readers. */
  took (seconds: number, readers: number): void {
    const found = latencyBounds.findIndex((bound) => seconds <= bound)
    const index = found === -1 ? latencyBounds.length : found
    this.latencies[index] = (this.latencies[index] ?? 0) + readers
    this.latencySum += seconds * readers
  }
}

import type { WebSocket } from 'ws'
import { LongshoreError, hasCode } from '../errors.ts'
import type { LogRecord } from '../runtime/log-format.ts'
import { streamLog, type LogEnd, type LogSource } from '../runtime/log-stream.ts'
import type { Place } from '../runtime/log-tail.ts'
import { turn } from '../runtime/log-turns.ts'
import type { ExitView } from '../schemas/index.ts'
import { AttachInput } from './attach-input.ts'
import { closeCode, parseUp, type Down } from './attach-protocol.ts'

/** bytes that may wait in the daemon for a client before no more is read of the log for it */
const sendWindow = 256 * 1024
/** pings without an answer before a client counts as gone */
const mostUnanswered = 3
/** seconds that a client has to close its side */
const closeGrace = 2

const streamNumber = { stdout: 1, stderr: 2 } as const

/** The ways into a process; absent when it has ended, or the client may only look on. */
export type ProcessInput = {
  /** Resolves when the process's pipe or terminal has taken it all; rejects with EPIPE when it has closed it. */
  write: (bytes: Buffer) => Promise<void>
  close: () => Promise<void>
  /** columns and rows; throws invalid_state where there is no terminal */
  resize: (width: number, height: number) => void
}

export type AttachOptions = {
  containerId: string
  runId: string
  processId: string
  terminal: boolean
  source: LogSource
  from: Place
  until: LogEnd
  input: ProcessInput | undefined
  /** why there is no input, for one who sends some */
  inputRefused: LongshoreError | undefined
  /** the process's exit, once it is told; null when it will not be */
  exit: (signal: AbortSignal) => Promise<ExitView | null>
  heartbeatSeconds: number
  /** aborted when the daemon stops */
  leaving: AbortSignal
  log: { error: (details: object, message: string) => void }
}

/** One attached client, from its `attached` to the close of its socket. Never rejects. */
export async function attach (socket: WebSocket, options: AttachOptions): Promise<void> {
  const { source, from, until, leaving } = options
  const gone = new AbortController()
  socket.once('close', () => gone.abort())
  if (socket.readyState !== socket.OPEN) return
  const signal = AbortSignal.any([gone.signal, leaving])
  // At once, whatever is under way: a client that does not read must not keep the daemon from stopping.
  const leave = (): void => {
    socket.close(closeCode.leaving, 'the daemon stops; come back with the last offset')
    setTimeout(() => socket.terminate(), closeGrace * 1000).unref()
  }
  if (leaving.aborted) leave()
  else leaving.addEventListener('abort', leave, { once: true })
  const tell = (message: Down): void => { if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message)) }
  const input = receive(socket, options, tell)
  const beat = keepAlive(socket, input, options.heartbeatSeconds)
  tell({ type: 'attached', containerId: options.containerId, runId: options.runId, processId: options.processId, terminal: options.terminal, input: options.input !== undefined, offset: from.offset })
  try {
    for await (const records of streamLog(source, from, { until, follow: true, signal })) {
      await turn()
      await sendRecords(socket, records, tell)
    }
    if (!signal.aborted) {
      const exit = await options.exit(signal)
      if (!signal.aborted) {
        tell({ type: 'exit', exit })
        socket.close(closeCode.done, 'the process has ended')
      }
    }
  } catch (error) {
    options.log.error({ err: error, container: options.containerId, process: options.processId }, 'the output could not be read to its end')
    socket.close(closeCode.internal, 'longshore failed; its log has the reason')
  } finally {
    clearInterval(beat)
    leaving.removeEventListener('abort', leave)
    await closed(socket, gone.signal)
  }
}

/** A portion of records: output of one stream that follows on itself in one message, then the position behind all of it. */
async function sendRecords (socket: WebSocket, records: LogRecord[], tell: (message: Down) => void): Promise<void> {
  let pending: Buffer[] = []
  let stream: 1 | 2 = 1
  const flush = (): void => {
    if (pending.length > 0 && socket.readyState === socket.OPEN) socket.send(Buffer.concat([Buffer.of(stream), ...pending]))
    pending = []
  }
  for (const record of records) {
    if (record.kind === 'lost') {
      flush()
      tell({ type: 'lost', offset: record.next, bytes: record.bytes, reason: record.reason })
    } else if (record.bytes.length > 0) {
      const number = streamNumber[record.stream]
      if (number !== stream) flush()
      stream = number
      pending.push(record.bytes)
    }
  }
  flush()
  const position = JSON.stringify({ type: 'position', offset: records.at(-1)?.next ?? 0 } satisfies Down)
  if (socket.readyState !== socket.OPEN) return
  if (socket.bufferedAmount < sendWindow) {
    socket.send(position)
    return
  }
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.removeListener('close', done)
      resolve()
    }
    // Called once all before it has been taken by the kernel.
    socket.once('close', done)
    socket.send(position, done)
  })
}

/** Takes what the client sends: binary messages are input, text messages control. */
function receive (socket: WebSocket, options: AttachOptions, tell: (message: Down) => void): AttachInput {
  const { input, inputRefused } = options
  let open = true
  let told = false
  const problem = (error: LongshoreError): void => tell({ type: 'error', code: error.code, detail: error.message })
  const refuse = (): void => {
    if (!told && inputRefused !== undefined) problem(inputRefused)
    told = true
  }
  const closeInput = (): void => {
    if (open) tell({ type: 'stdin-closed' })
    open = false
  }
  const failed = (error: unknown): void => {
    if (hasCode(error, 'EPIPE') || hasCode(error, 'ESRCH') || hasCode(error, 'EBADF') || (error instanceof Error && error.name === 'ShimGone')) closeInput()
    else if (error instanceof LongshoreError) problem(error)
    else {
      options.log.error({ err: error, container: options.containerId, process: options.processId }, 'input could not be given to a process')
      tell({ type: 'error', code: 'internal', detail: 'longshore failed at this; the log has the reason' })
    }
  }
  const queue = new AttachInput(socket, async (bytes) => { if (open) await input?.write(bytes) }, failed)
  socket.on('message', (data, binary) => {
    const bytes = Buffer.isBuffer(data) ? data : Buffer.concat([data].flat() as Uint8Array[])
    if (input === undefined) {
      refuse()
    } else if (binary) {
      if (open) queue.push(bytes)
    } else {
      try {
        const message = parseUp(bytes.toString())
        if (message.type === 'resize') input.resize(message.width, message.height)
        else {
          queue.after(async () => {
            if (open) await input.close()
            closeInput()
          })
        }
      } catch (error) {
        failed(error)
      }
    }
  })
  return queue
}

/** Pings; a client that answers none of several is gone. One that is not listened to cannot be blamed. */
function keepAlive (socket: WebSocket, input: AttachInput, seconds: number): NodeJS.Timeout {
  let unanswered = 0
  const heard = (): void => { unanswered = 0 }
  socket.on('pong', heard).on('message', heard)
  return setInterval(() => {
    if (input.paused || socket.readyState !== socket.OPEN) return
    if (unanswered >= mostUnanswered) {
      socket.terminate()
      return
    }
    unanswered++
    socket.ping()
  }, seconds * 1000)
}

/** Waits for the close of the socket, and not for ever. */
async function closed (socket: WebSocket, gone: AbortSignal): Promise<void> {
  if (gone.aborted) return
  // A client that does not read cannot see the close either.
  const timer = setTimeout(() => socket.terminate(), closeGrace * 1000)
  await new Promise<void>((resolve) => gone.addEventListener('abort', () => resolve(), { once: true }))
  clearTimeout(timer)
}

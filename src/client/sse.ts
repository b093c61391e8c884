/** A message of a stream, as EventSource would give it. */
export type Message = {
  /** the last event id as of this message; empty when there has been none */
  id: string
  /** `message` where the stream names none */
  event: string
  data: string
}

const lineEnd = /[\r\n]/g

/**
 * Reads Server-Sent Events (HTML, 9.2.6) from text that comes in pieces, cut anywhere. Lazy: a message that is not taken from the
 * iterator has not been read, so `lastEventId` never runs ahead of who takes them. Time is linear in the text, however it is cut.
 */
export class SseParser {
  /** where a new connection goes on: after the last message taken, or where a message without data has moved it to */
  lastEventId: string
  /** milliseconds that the server wants a client to wait; undefined until it says so */
  retry: number | undefined
  /** pieces of a line whose end has not come */
  #rest: string[] = []
  /** the last piece ended with CR: a LF at the start of the next belongs to it */
  #afterCr = false
  #id: string
  #event = ''
  #data: string[] = []

  constructor (lastEventId = '') {
    this.lastEventId = this.#id = lastEventId
  }

  * push (text: string): Generator<Message, void, void> {
    let start = this.#afterCr && text.startsWith('\n') ? 1 : 0
    if (text !== '') this.#afterCr = false
    for (;;) {
      lineEnd.lastIndex = start
      const end = lineEnd.exec(text)?.index
      if (end === undefined) break
      const line = this.#rest.join('') + text.slice(start, end)
      this.#rest = []
      start = end + 1
      if (text[end] === '\r') {
        if (start === text.length) this.#afterCr = true
        else if (text[start] === '\n') start++
      }
      const message = this.#line(line)
      if (message !== undefined) yield message
    }
    if (start < text.length) this.#rest.push(text.slice(start))
  }

  #line (line: string): Message | undefined {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'data') this.#data.push(value)
    else if (name === 'event') this.#event = value
    else if (name === 'id' && !value.includes('\0')) this.#id = value
    else if (name === 'retry' && /^\d+$/.test(value)) this.retry = Number(value)
  }

  #dispatch (): Message | undefined {
    this.lastEventId = this.#id
    const message = this.#data.length === 0 ? undefined : { id: this.#id, event: this.#event === '' ? 'message' : this.#event, data: this.#data.join('\n') }
    this.#event = ''
    this.#data = []
    return message
  }
}

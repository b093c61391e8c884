/** The frames of Server-Sent Events (HTML, 9.2.5 and 9.2.6). */

/** A comment: no client sees it, and every proxy sees traffic. */
export const heartbeat = Buffer.from(':\n\n')

/** seconds: the shortest wait of a client before it connects again, how much more it may be, and that for each reader of a crowd */
const retryFloor = 1
const retrySpread = 3
const retrySpreadEach = 0.001

/** An `id` or `event` ends at its line's end, so a line break in it would begin a field of the sender's choosing; an id with NUL is ignored as a whole. */
function field (text: string): string {
  return text.replace(/[\r\n\0]/g, '')
}

/** JSON.stringify leaves neither line breaks nor lone surrogates in its output, so one data line holds `json` whatever strings are in it. */
export function eventFrame (id: string, type: string, json: string): string {
  return `id: ${field(id)}\nevent: ${field(type)}\ndata: ${json}\n\n`
}

/** A frame that is not in the journal: it has no id and so never moves a reader's cursor. */
export function controlFrame (event: 'Gap' | 'Bye' | 'Snapshot' | 'Ping' | 'Lost' | 'End', data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}

/** Moves the reader's cursor and fires no event: the last event id is set before empty data is let go (HTML, 9.2.6). */
export function bookmark (id: string): string {
  return `id: ${field(id)}\n\n`
}

/** How long to wait before connecting again; jittered, since readers that were lost together must not come back together; `readers`: how many those are. */
export function retry (readers = 0): string {
  return `retry: ${Math.round((retryFloor + Math.random() * (retrySpread + readers * retrySpreadEach)) * 1000)}\n\n`
}

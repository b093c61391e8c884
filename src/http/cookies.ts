/**
 * The value of a cookie (RFC 6265, 5.4), the first one of that name; undefined when there is none. For names and values that need no
 * decoding, as those of a session are.
 */
export function cookieOf (header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const at = pair.indexOf('=')
    if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return undefined
}

import { LongshoreError } from '../errors.ts'

const seconds = /^(-?\d{1,11})(?:\.(\d{1,9})\d*)?$/
const rfc3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/

/** Nanoseconds since 1970 of a parameter: RFC 3339, or seconds since 1970, which may have a fraction. Throws bad_request. */
export function parseMoment (field: string, text: string): bigint {
  const [whole, count = '', part = ''] = seconds.exec(text) ?? []
  if (whole !== undefined) {
    const fraction = BigInt(part.padEnd(9, '0'))
    return BigInt(count) * 1_000_000_000n + (count.startsWith('-') ? -fraction : fraction)
  }
  // An unencoded + comes as a space.
  const [, moment = '', fraction = '', zone = ''] = rfc3339.exec(text.toUpperCase().replace(' ', '+')) ?? []
  const milliseconds = Date.parse(moment + zone)
  if (Number.isNaN(milliseconds)) {
    const rule = 'must be an RFC 3339 time, or seconds since 1970'
    throw new LongshoreError('bad_request', `${field} ${rule}`, { extra: { errors: [{ field, rule }] } })
  }
  return BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0'))
}

/**
 * The media type of `offered` (in the server's order) that an Accept header likes best; undefined when it wants none.
 * RFC 9110, 12.5.1: for each type its most specific range counts. Of types that are liked the same, one that was named
 * goes before one that only a wildcard lets in.
 */
export function preferred<T extends string> (accept: string | undefined, offered: readonly T[]): T | undefined {
  const ranges = (accept === undefined || accept.trim() === '' ? '*/*' : accept).split(',').map((text) => {
    const [range = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
    const quality = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1)
    return { range, quality: Number.isNaN(quality) ? 0 : quality }
  })
  let best: { type: T, quality: number, precision: number } | undefined
  for (const type of offered) {
    const [family = ''] = type.split('/')
    const precision = [`${family}/*`, type].findLastIndex((range) => ranges.some((one) => one.range === range)) + 1
    const quality = ranges.find(({ range }) => range === ['*/*', `${family}/*`, type][precision])?.quality ?? 0
    if (quality === 0) continue
    if (best === undefined || quality > best.quality || (quality === best.quality && precision > best.precision)) best = { type, quality, precision }
  }
  return best?.type
}

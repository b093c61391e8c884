/** A line plot as SVG, plain enough to be read in a page of documentation, dark or light. */
export type Line = {
  name: string
  /** in the order of x */
  points: [x: number, y: number][]
  /** for what is not ours, and for limits */
  dashed?: boolean
}

export type Plot = {
  title: string
  x: { label: string, unit: string }
  y: { label: string, unit: string }
  lines: Line[]
}

const [width, height] = [720, 400]
const frame = { left: 72, right: 150, top: 44, bottom: 52 }
// Told apart by those who see few colours, too (Okabe and Ito).
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#555555', '#e69f00']

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const round = (value: number): string => value.toFixed(1)
const number = (value: number): string => (value >= 1000 ? value.toLocaleString('en-US') : String(Number(value.toPrecision(3))))

/** Ticks at 1, 2 or 5 times a power of ten, from 0 to above the highest value. */
function ticks (highest: number): number[] {
  const rough = highest / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, i) => i * step)
}

/** Names at the ends of the lines, none upon another. */
function spreadOut (wanted: number[], apart: number, lowest: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0))
  const placed: number[] = [...wanted]
  let above = -Infinity
  for (const i of order) above = placed[i] = Math.max(wanted[i] ?? 0, above + apart)
  const over = Math.max(0, above - lowest)
  return placed.map((y) => y - over)
}

/** x is drawn on a logarithmic scale, y on a linear one from 0. */
export function plot ({ title, x, y, lines }: Plot): string {
  const drawn = lines.map((line) => ({ ...line, points: line.points.filter(([, value]) => Number.isFinite(value)) })).filter(({ points }) => points.length > 0)
  const all = drawn.flatMap(({ points }) => points)
  const xs = [...new Set(all.map(([value]) => value))].sort((a, b) => a - b)
  const [first, last] = [Math.log(xs[0] ?? 1), Math.log(xs.at(-1) ?? 10)]
  const rows = ticks(Math.max(...all.map(([, value]) => value)))
  const top = rows.at(-1) ?? 1
  const [right, bottom] = [width - frame.right, height - frame.bottom]
  const px = (value: number): number => frame.left + (last === first ? 0 : (Math.log(value) - first) / (last - first)) * (right - frame.left)
  const py = (value: number): number => bottom - value / top * (bottom - frame.top)
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="13" fill="#222">`,
    `<title>${escape(title)}</title>`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    `<text x="${frame.left}" y="24" font-size="15" font-weight="600">${escape(title)}</text>`
  ]
  for (const value of rows) {
    parts.push(`<line x1="${frame.left}" x2="${right}" y1="${round(py(value))}" y2="${round(py(value))}" stroke="${value === 0 ? '#555' : '#ddd'}"/>`,
      `<text x="${frame.left - 8}" y="${round(py(value) + 4)}" text-anchor="end">${number(value)}</text>`)
  }
  for (const value of xs) {
    parts.push(`<line x1="${round(px(value))}" x2="${round(px(value))}" y1="${bottom}" y2="${bottom + 5}" stroke="#555"/>`,
      `<text x="${round(px(value))}" y="${bottom + 20}" text-anchor="middle">${number(value)}</text>`)
  }
  parts.push(`<text x="${(frame.left + right) / 2}" y="${height - 10}" text-anchor="middle">${escape(x.label)}${x.unit === '' ? '' : `, ${escape(x.unit)}`} (logarithmic)</text>`,
    `<text transform="translate(18 ${(frame.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escape(y.label)}${y.unit === '' ? '' : `, ${escape(y.unit)}`}</text>`)
  const names = spreadOut(drawn.map(({ points }) => py(points.at(-1)?.[1] ?? 0)), 16, bottom)
  for (const [i, { name, points, dashed }] of drawn.entries()) {
    const colour = colours[i % colours.length] ?? '#000'
    const path = points.map(([a, b]) => `${round(px(a))},${round(py(b))}`).join(' ')
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dashed === true ? ' stroke-dasharray="6 4"' : ''}/>`)
    if (dashed !== true) parts.push(...points.map(([a, b]) => `<circle cx="${round(px(a))}" cy="${round(py(b))}" r="3" fill="${colour}"/>`))
    parts.push(`<text x="${right + 10}" y="${round((names[i] ?? 0) + 4)}" fill="${colour}">${escape(name)}</text>`)
  }
  return `${parts.join('\n')}\n</svg>\n`
}

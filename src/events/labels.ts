/** What is asked of labels: that one is there, or that it has a value. */
export type LabelQuery = { key: string, value: string | undefined }

/** `key` or `key=value`; a value may have further `=` in it. */
export function labelQuery (text: string): LabelQuery {
  const at = text.indexOf('=')
  return at === -1 ? { key: text, value: undefined } : { key: text.slice(0, at), value: text.slice(at + 1) }
}

export function labelsMatch (wanted: LabelQuery[], labels: Record<string, string>): boolean {
  return wanted.every(({ key, value }) => Object.hasOwn(labels, key) && (value === undefined || labels[key] === value))
}

import { median } from '../support/figures.ts'

/** One figure of one engine. */
export type Figure = {
  /** a value for each round, so that rounds of two engines are paired: the median, where a round has many */
  rounds: number[]
  /** all single values, where there are any */
  samples: number[]
  /** what is to be said with it */
  note?: string
}

export type Figures = Record<string, Figure>

/** Adds a round: one value, or its single values. */
export function add (figures: Figures, key: string, round: number | number[], note?: string): void {
  const figure = (figures[key] ??= { rounds: [], samples: [] })
  if (note !== undefined) figure.note = note
  if (typeof round === 'number') figure.rounds.push(round)
  else {
    figure.rounds.push(median(round))
    figure.samples.push(...round)
  }
}

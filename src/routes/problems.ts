import { STATUS_CODES } from 'node:http'
import { Problem, ref } from '../schemas/index.ts'

const content = { 'application/problem+json': { schema: ref(Problem) } }

/** The problem answers of an operation, for its schema. */
export function problems (...statuses: number[]): Record<number, { description: string, content: typeof content }> {
  return Object.fromEntries(statuses.map((status) => [status, { description: STATUS_CODES[status] ?? 'Problem', content }]))
}

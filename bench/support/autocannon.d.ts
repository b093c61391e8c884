/** The part of autocannon that the benchmarks use; the package brings no types. */
declare module 'autocannon' {
  type Options = { url: string, socketPath?: string, method?: string, headers?: Record<string, string>, body?: string, connections?: number, duration?: number }
  type Result = { requests: { total: number }, duration: number, non2xx: number, errors: number }
  export default function autocannon (options: Options): Promise<Result>
}

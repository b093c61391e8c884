import { setImmediate as turn } from 'node:timers/promises'
import AjvCompiler from '@fastify/ajv-compiler'

type Build = ReturnType<typeof AjvCompiler>
type Route = { schema: unknown, httpPart?: string }
type Validator = { (data: unknown): unknown, errors?: unknown }

/**
 * Makes the functions that look at what comes in, one for each part of each route. A start would spend a third of its time on
 * them, so each is made when it is needed first, or by warm(), which makes one in a turn of the event loop.
 */
export class Validators {
  readonly #cold: (() => void)[] = []
  #compilers: { count: number, strict: () => ReturnType<Build>, coercing: () => ReturnType<Build> } | undefined

  /** Fastify's factory of compilers. It asks for each of its contexts; all of ours know the same schemas. */
  readonly build = (externalSchemas: Parameters<Build>[0], options: { customOptions?: object } = {}): never => {
    const count = Object.keys(externalSchemas ?? {}).length
    if (this.#compilers?.count !== count) {
      const make = (coerceTypes: false | 'array') => once((): ReturnType<Build> => AjvCompiler()(externalSchemas, {
        ...options,
        // Code that was made shorter is no quicker; to make it so costs as much again as to make it.
        customOptions: { ...options.customOptions, coerceTypes, removeAdditional: false, useDefaults: false, allErrors: false, allowUnionTypes: true, validateSchema: false, code: { optimize: false } }
      } as Parameters<Build>[1]))
      this.#compilers = { count, strict: make(false), coercing: make('array') }
    }
    const { strict, coercing } = this.#compilers
    // Bodies are taken as they are, since coercion turns null into "" and 0; what comes in a URL is always text.
    return ((route: Route) => this.#later(() => (route.httpPart === 'body' ? strict : coercing)()(route as never) as Validator)) as never
  }

  /** Makes those that no request has needed yet. */
  async warm (): Promise<void> {
    for (let make = this.#cold.shift(); make !== undefined; make = this.#cold.shift()) {
      make()
      await turn()
    }
  }

  #later (compile: () => Validator): Validator {
    const get = once(compile)
    this.#cold.push(get)
    const validator: Validator = (data) => {
      const validate = get()
      if (validate(data) === true) return true
      validator.errors = validate.errors
      return false
    }
    return validator
  }
}

function once<T> (make: () => T): () => T {
  let made: T | undefined
  return () => (made ??= make())
}

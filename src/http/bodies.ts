import type { FastifyInstance, preValidationHookHandler } from 'fastify'
import { LongshoreError } from '../errors.ts'

/** Takes bodies of this media type as JSON. An empty one is none: many clients name a media type whether they send a body or not. */
export function jsonBodies (app: FastifyInstance, mediaType: string): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser(mediaType, { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined)
    else void parse(request, body as string, done)
  })
}

/** Bodies are JSON, and what a body says is never passed over: an operation that takes none refuses one with members. */
export function bodies (app: FastifyInstance): void {
  // What is left has no parser, and is answered with 415.
  app.removeAllContentTypeParsers()
  jsonBodies(app, 'application/json')
  app.addHook('onRoute', (route) => {
    if (route.schema?.body !== undefined) return
    route.preValidation = [noBody, ...[route.preValidation ?? []].flat()]
  })
}

const noBody: preValidationHookHandler = ({ body }, _reply, done) => {
  if (body === undefined || body === null) {
    done()
    return
  }
  const field = typeof body === 'object' ? Object.keys(body)[0] : ''
  if (field === undefined) done()
  else done(new LongshoreError('bad_request', `${field === '' ? 'this takes no body' : `${field} is not a known field: this takes no body`}`, { extra: { errors: [{ field, rule: 'is not a known field' }] } }))
}

/**
 * The floor of a signal over HTTP: the same framework, a body that is read, an empty 204. node bench/support/bare-fastify.ts SOCKET [checking]
 * `checking`: it also gives each request an id, says it in the answer, and looks at the path and the body by a schema, as the daemon does.
 */
import Fastify from 'fastify'

const [, , path = '', kind] = process.argv
const id = '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$'
const schema = {
  params: { type: 'object', required: ['id'], additionalProperties: false, properties: { id: { type: 'string', pattern: id } } },
  body: { type: 'object', required: ['signal'], additionalProperties: false, properties: { signal: { type: ['string', 'integer'], maxLength: 32 }, processId: { type: 'string', pattern: id }, all: { type: 'boolean' } } }
}

const app = Fastify({ ajv: { customOptions: { allowUnionTypes: true, coerceTypes: false } } })
if (kind === 'checking') {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done()
  })
}
app.post('/containers/:id/signal', kind === 'checking' ? { schema } : {}, async (_request, reply) => { void reply.code(204) })
await app.listen({ path })
console.log('listens')

/** The floor of a signal over HTTP: the same framework, a body that is read, an empty 204. node bench/support/bare-fastify.ts SOCKET */
import Fastify from 'fastify'

const app = Fastify()
app.post('/containers/:id/signal', async (_request, reply) => { void reply.code(204) })
await app.listen({ path: process.argv[2] ?? '' })
console.log('listens')

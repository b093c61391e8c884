/** Terminals of init and of what is executed beside it, with real runc. */
import t from 'tap'
import { Daemon, type Reply } from '../support/daemon.ts'

const daemon = await Daemon.start(['--start-timeout', '60'])
t.teardown(async () => await daemon.destroy())

/** Waits until the output of a process has all that is looked for; every try is a request, so it does not spin. */
async function shows (id: string, pid: string, wanted: RegExp): Promise<string> {
  for (;;) {
    const { text } = await daemon.get(`/containers/${id}/processes/${pid}/logs`, { accept: 'text/plain' })
    if (wanted.test(text)) return text
    const { body } = await daemon.get(`/containers/${id}/processes/${pid}`)
    if (body.exit !== null) return text
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** A terminal is one of the container's own /dev/pts. */
const withTerminals = (config: any): void => { // any: see makeBundle
  config.mounts.push({ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'] })
}
const resize = async (id: string, pid: string, width: number, height: number): Promise<Reply> => await daemon.post(`/containers/${id}/processes/${pid}/resize`, { width, height })
const script = "trap 'echo size $(busybox stty size)' WINCH; echo begin $(busybox stty size); [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo is a terminal; while :; do sleep 0.1; done"

t.test('init: its size at the start, resized, and its end of file', async (t) => {
  const bundle = await daemon.bundle('tty', ['/bin/sh', '-c', script], withTerminals)
  const { status } = await daemon.post('/containers', { id: 'tty', bundle, process: { terminal: true, width: 101, height: 33 } })
  t.equal(status, 201)
  t.match(await shows('tty', 'init', /is a terminal/), /begin 33 101\r\nis a terminal\r\n/)
  t.equal((await resize('tty', 'init', 132, 43)).status, 204)
  t.match(await shows('tty', 'init', /size 43 132/), /size 43 132/)
  t.match(await resize('tty', 'init', 0, 43), { status: 400 })
  t.match(await resize('tty', 'init', 65536, 43), { status: 400 })
})

t.test('beside init: 80 by 24 unless told otherwise, many sizes at once, gone when it has ended', async (t) => {
  const bundle = await daemon.bundle('plain', ['/bin/sleep', '1000'], withTerminals)
  await daemon.post('/containers', { id: 'plain', bundle })
  t.match(await resize('plain', 'init', 80, 24), { status: 409, body: { code: 'no_terminal' } })
  const { body } = await daemon.post('/containers/plain/processes?wait=true', { args: ['/bin/busybox', 'stty', 'size'], terminal: true })
  t.match(body, { terminal: true, stdout: '24 80\r\n', stderr: '', exit: { status: 0, outputComplete: true } })
  const sized = await daemon.post('/containers/plain/processes?wait=true', { args: ['/bin/busybox', 'stty', 'size'], terminal: true, width: 7, height: 5 })
  t.equal(sized.body.stdout, '5 7\r\n')

  await daemon.post('/containers/plain/processes', { id: 'shell', args: ['/bin/sh', '-c', script], terminal: true })
  await shows('plain', 'shell', /is a terminal/)
  const replies = await Promise.all(Array.from({ length: 100 }, async (_, n) => await resize('plain', 'shell', 100 + n, 40)))
  t.ok(replies.every(({ status }) => status === 204))
  t.equal((await resize('plain', 'shell', 61, 17)).status, 204)
  t.match(await shows('plain', 'shell', /size 17 61/), /size 17 61/)

  // The daemon goes and comes; the terminal is the shim's.
  await daemon.stop('SIGKILL')
  await daemon.launch(['--start-timeout', '60'])
  t.equal((await resize('plain', 'shell', 62, 18)).status, 204)
  t.match(await shows('plain', 'shell', /size 18 62/), /size 18 62/)
  t.equal((await daemon.post('/containers/plain/processes/shell/signal', { signal: 'KILL' })).status, 204)
  t.match((await daemon.get('/containers/plain/processes/shell/wait?timeout=60')).body, { signal: 'SIGKILL' })
  t.match(await resize('plain', 'shell', 80, 24), { status: 409, body: { code: 'container_not_running' } })

  await daemon.post('/containers/plain/processes', { id: 'cat', args: ['/bin/sh', '-c', 'cat; exit 3'], terminal: true })
  t.equal((await daemon.request('POST', '/containers/plain/processes/cat/close-stdin')).status, 204)
  t.match((await daemon.get('/containers/plain/processes/cat/wait?timeout=60')).body, { status: 3 }, 'the end-of-file character is typed')
})

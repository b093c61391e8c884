import t from 'tap'
import { createHash } from 'node:crypto'
import { Daemon } from '../support/daemon.ts'
import { browserDeadline, launchChromium } from '../support/chromium.ts'
import { firstToken, tcpAddress } from '../support/tcp.ts'

const daemon = await Daemon.prepare()
t.teardown(async () => await daemon.destroy())
await daemon.launch(['--listen', '127.0.0.1:0'])
const token = firstToken(daemon)
const address = tcpAddress(daemon)

type Terminal = { text: string, ended: boolean, opened: number, send: (input: string) => void, resize: (width: number, height: number) => void }
type Socket = { binaryType: string, send: (data: string | Uint8Array) => void, onopen: () => void, onmessage: (event: { data: string | ArrayBuffer }) => void, onclose: (event: { code: number }) => void }
/** What a page has of the DOM: the types of it are not those of this project. */
type Page = { terminal: Terminal, location: { host: string }, WebSocket: new (url: string) => Socket }

/** Runs in the page: the client of docs/attach.md. */
function openTerminal (path: string): void {
  const page = globalThis as unknown as Page
  let offset: number | undefined
  let beyond = 0
  let skip = 0
  const terminal: Terminal = { text: '', ended: false, opened: 0, send: () => {}, resize: () => {} }
  page.terminal = terminal
  const connect = (): void => {
    const socket = new page.WebSocket(`ws://${page.location.host}${path}${offset === undefined ? '' : `?offset=${offset}`}`)
    socket.binaryType = 'arraybuffer'
    terminal.send = (input) => socket.send(new TextEncoder().encode(input))
    terminal.resize = (width, height) => socket.send(JSON.stringify({ type: 'resize', width, height }))
    socket.onopen = () => { terminal.opened++ }
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') {
        const message = JSON.parse(data) as { type: string, offset?: number }
        if (message.offset !== undefined) {
          offset = message.offset
          beyond = 0
        }
        return
      }
      const bytes = new Uint8Array(data, 1)
      const again = Math.min(skip, bytes.length)
      skip -= again
      beyond += bytes.length
      terminal.text += new TextDecoder('latin1').decode(bytes.subarray(again))
    }
    socket.onclose = ({ code }) => {
      terminal.ended = code === 1000
      skip = beyond
      if (!terminal.ended) setTimeout(connect, 200)
    }
  }
  connect()
}

t.test('a terminal in a browser: Ctrl-C, resize, a paste, and a daemon that was killed', async (t) => {
  const shell = 'trap : INT; busybox stty -echo; echo begin; while read -r line; do eval "$line"; done'
  const bundle = await daemon.bundle('pty', ['/bin/sh', '-c', shell], (config) => {
    config.mounts.push({ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'] })
  })
  t.equal((await daemon.post('/containers', { id: 'pty', bundle, process: { terminal: true } })).status, 201)
  const { context, close } = await launchChromium()
  t.teardown(close)
  const page = await context.newPage()
  // Any page of the daemon's own origin will do.
  await page.goto(`http://${address}/healthz`)
  t.equal(await page.evaluate(async (token) => (await fetch('/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token }) })).status, token), 201)
  await page.evaluate(openTerminal, '/containers/pty/attach')
  const shows = async (text: string): Promise<unknown> => await page.waitForFunction((text) => (globalThis as unknown as Page).terminal.text.includes(text), text, { timeout: browserDeadline, polling: 50 })
  const send = async (input: string): Promise<void> => await page.evaluate((input) => (globalThis as unknown as Page).terminal.send(input), input)
  await shows('begin')

  await page.evaluate(() => (globalThis as unknown as Page).terminal.resize(132, 43))
  await send('busybox stty size\n')
  await shows('43 132')
  t.pass('the new size arrives')

  await send('yes\n')
  await shows('y\r\ny\r\n')
  await send('\x03')
  await send('echo stop""ped\n')
  await shows('stopped')
  t.pass('Ctrl-C ends what runs')

  const paste = `${'a line of a paste that is long enough to fill a pipe or two\n'.repeat(1100).slice(0, 65535)}\n`
  await send('echo rea""dy; head -c 65536 | busybox md5sum\n')
  await shows('ready')
  await send(paste)
  await shows(createHash('md5').update(paste).digest('hex'))
  t.pass('a paste of 64 KiB arrives whole')

  await send('echo from""here; i=0; while [ $i -lt 400 ]; do [ $i != 200 ] || read go; echo "n $i"; i=$((i+1)); done; echo all""said\n')
  await shows('n 30\r\n')
  await daemon.stop('SIGKILL')
  await daemon.launch(['--listen', address])
  await page.waitForFunction(() => (globalThis as unknown as Page).terminal.opened > 1, undefined, { timeout: browserDeadline, polling: 50 })
  await send('go\n')
  await shows('allsaid')
  const text = await page.evaluate(() => (globalThis as unknown as Page).terminal.text)
  t.equal(text.slice(text.indexOf('fromhere')), `fromhere\r\n${Array.from({ length: 400 }, (_, i) => `n ${i}\r\n`).join('')}allsaid\r\n`, 'nothing is lost or repeated')

  await send('exit 4\n')
  await page.waitForFunction(() => (globalThis as unknown as Page).terminal.ended, undefined, { timeout: browserDeadline, polling: 50 })
  t.match((await daemon.get('/containers/pty/wait')).body, { status: 4 })
})

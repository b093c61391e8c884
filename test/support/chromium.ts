import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type BrowserContext } from 'playwright-core'

/** Debian's, and where other systems have it. */
const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** milliseconds: only against hanging, on whatever machine */
export const browserDeadline = 120_000

/** A Chromium of its own with nothing in it, which asks nobody for anything; `close` ends it and removes what it wrote. */
export async function launchChromium (): Promise<{ context: BrowserContext, close: () => Promise<void> }> {
  const found = await Promise.all(places.map(async (path) => await access(path).then(() => path, () => undefined)))
  const executablePath = found.find((path) => path !== undefined)
  if (executablePath === undefined) throw new Error('there is no Chromium: scripts/setup.sh test installs it')
  const directory = await mkdtemp(join(tmpdir(), 'longshore-chromium-'))
  const remove = async (): Promise<void> => await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  try {
    const context = await chromium.launchPersistentContext(directory, {
      executablePath,
      headless: true,
      timeout: browserDeadline,
      args: ['--no-sandbox', '--disable-background-networking', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
      ignoreHTTPSErrors: true
    })
    context.setDefaultTimeout(browserDeadline)
    return { context, close: async () => { await context.close(); await remove() } }
  } catch (error) {
    await remove()
    throw error
  }
}

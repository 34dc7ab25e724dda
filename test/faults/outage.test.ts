/** What visitors are answered while the store is out of reach, through every adapter; and how much of it waits. */
import { describe, expect, it, onTestFinished } from 'vitest'

import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import type { AdapterName } from './app-adapters.ts'
import { startApp } from './app-process.ts'
import type { AppOptions } from './app.ts'
import type { ClientName } from './app-stores.ts'
import { Engine } from './engine.ts'
import { Ledger } from './ledger.ts'
import { ALL } from './run.ts'

const WAVES = ALL ? 10 : 4
const WAVE = 1200
const COOKIE = `__Host-session=${'A'.repeat(43)}`

/** A server whose Redis is not there, for as long as it is used; it then ends as it should. */
async function startWithout(
  options: Omit<AppOptions, 'port'>,
): Promise<{ ledger: Ledger } & AsyncDisposable> {
  const app = await startApp({ ...options, port: await freePort() })
  const ledger = new Ledger([app.port])
  return {
    ledger,
    async [Symbol.asyncDispose]() {
      ledger.close()
      const { code, stderr } = await app.stop()
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    },
  }
}

describe.each<AdapterName>(['node', 'express', 'fetch', 'hono'])('through %s', (adapter) => {
  it('a request is answered 503, when to come again, and no cookie', async () => {
    await using server = await startWithout({ client: 'url', adapter })
    const { ledger } = server
    for (const [what, cookie] of [
      ['GET /read', COOKIE],
      ['POST /sign-out', COOKIE],
      ['POST /set?key=a&value=1', null],
      ['POST /sign-in?user=ada', null],
    ] as const) {
      const { status, headers } = await ledger.ask(0, what, cookie)
      expect({ what, status, retry: headers['retry-after'] }).toEqual({ what, status: 503, retry: '1' })
    }
    expect(ledger.violations).toEqual([])
  })

  it('or served as an anonymous visitor’s, who can neither sign in nor out', async () => {
    await using server = await startWithout({
      client: 'url',
      adapter,
      sessions: { onOutage: 'anonymous' },
    })
    const { ledger } = server
    const answers = []
    for (const what of ['GET /read', 'POST /set?key=a&value=1', 'POST /sign-in?user=ada', 'POST /sign-out']) {
      const { status, body, headers, cookies } = await ledger.ask(0, what, COOKIE)
      answers.push({
        status,
        body: status === 200 ? (JSON.parse(body) as unknown) : 'an error',
        cache: status === 200 ? headers['cache-control'] : 'an error',
      })
      expect(cookies).toEqual([])
    }
    expect(answers).toEqual([
      { status: 200, body: { user: null, data: {} }, cache: 'no-store' },
      { status: 200, body: { user: null, data: { a: '1' } }, cache: 'no-store' },
      { status: 503, body: 'an error', cache: 'an error' },
      { status: 503, body: 'an error', cache: 'an error' },
    ])
    expect(ledger.violations).toEqual([])
  })
})

describe.each<ClientName>(['node-redis', 'ioredis'])(
  'commands that %s queues while it is not connected',
  (client) => {
    it('do not pile up, and nobody waits for his turn', async () => {
      const engine = await Engine.start()
      const app = await startApp({ client, port: engine.port, sessions: { storeTimeout: 0.3 } })
      const ledger = new Ledger([app.port])
      onTestFinished(async () => {
        ledger.close()
        await Promise.all([app.stop(), engine.stop()])
      })
      // The first one waits for the connection as well.
      await eventually(async () => expect((await ledger.ask(0, 'GET /read', COOKIE)).status).toBe(200))
      await engine.kill()

      const waiting: number[] = []
      for (let n = 0; n < WAVES; n++) {
        const answers = await Promise.all(
          Array.from({ length: WAVE }, () => ledger.ask(0, 'GET /read', COOKIE)),
        )
        expect(answers.every(({ status }) => status === 503)).toBe(true)
        waiting.push((await app.ask({ ask: 'measures' })).unsettled)
      }
      console.log(`${client}: ${waiting.join(', ')} commands wait after waves of ${WAVE} requests`)
      // A thousand may; and, since a client may drop its queue when it fails to reconnect, what comes before it is silent again.
      expect(Math.max(...waiting)).toBeLessThan(1000 + WAVE)

      expect(ledger.violations).toEqual([])
    })
  },
)

/** More than a server would like: requests that mean nothing (SECURITY.md F13), and a memory store full of what has expired (F14). */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'

import type { App } from './app-process.ts'
import { startApp } from './app-process.ts'
import type { ClientName } from './app-stores.ts'
import { Engine } from './engine.ts'
import { Ledger } from './ledger.ts'
import { ALL, percentile } from './run.ts'

const MEGABYTE = 1024 * 1024

describe.each<ClientName>(['memory', 'url'])('F13 a flood, over %s,', (client) => {
  const SIZE = ALL ? 50_000 : 4000
  const WARM = 1000

  let engine: Engine
  let app: App
  beforeAll(async () => {
    engine = await Engine.start()
    app = await startApp({ client, port: engine.port, sessions: { storeTimeout: 5 } })
    return async () => {
      const { code, stderr } = await app.stop()
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      await engine.stop()
    }
  })

  const unknown = (n: number): string => `__Host-session=${n.toString(36).padStart(43, '_')}`

  it.each<[string, (n: number) => string | null]>([
    ['of visitors without a cookie', () => null],
    ['of cookies that lead nowhere', unknown],
    [
      'of cookies that are none',
      (n) => `__Host-session=${'x'.repeat(n % 3000)}; __Host-session=..%2f${n}; ${unknown(n)}`,
    ],
  ])('%s leaves nothing behind', async (_name, cookieOf) => {
    const pour = async (from: number, to: number): Promise<void> => {
      const ledger = new Ledger([app.port])
      let n = from
      const lane = async (): Promise<void> => {
        while (n < to) {
          const { status, cookies } = await ledger.ask(0, 'GET /read', cookieOf(n++))
          expect({ status, cookies }).toEqual({ status: 200, cookies: [] })
        }
      }
      await Promise.all(Array.from({ length: 16 }, lane))
      ledger.close()
    }
    await pour(0, WARM)
    const before = await app.ask({ ask: 'measures' })
    await pour(WARM, WARM + SIZE)
    const after = await app.ask({ ask: 'measures' })
    expect((after.heap - before.heap) / MEGABYTE).toBeLessThan(2)
    expect(after).toMatchObject({ records: 0, open: 0 })
    await expect(engine.tell('DBSIZE')).resolves.toBe(':0')
  })
})

describe('F14 a memory store in which half has expired', () => {
  const EACH = ALL ? 1_000_000 : 50_000
  const figures: Record<string, { p50: number; p99: number }> = {}
  afterAll(() => console.table(figures))

  it('is cleaned up in slices that hold nothing up', async () => {
    const app = await startApp({ client: 'memory' }, { nodeArgs: ['--max-old-space-size=12000'] })
    const ledger = new Ledger([app.port])
    onTestFinished(async () => {
      ledger.close()
      await app.stop()
    })
    const { cookies } = await ledger.ask(0, 'POST /sign-in?user=ada', null)
    const cookie = cookies[0]!.split(';', 1)[0]!
    expect((await app.ask({ ask: 'fill', live: EACH, expired: EACH })).records).toBe(2 * EACH + 1)

    /** Requests one after the other, until something is over. */
    const measure = async (name: string, over: Promise<unknown>): Promise<{ p50: number; p99: number }> => {
      let isOver = false
      void over.then(() => (isOver = true))
      const times: number[] = []
      while (!isOver || times.length < 100) {
        const { from, to, body } = await ledger.ask(0, 'GET /read', cookie)
        expect(body).toContain('ada')
        times.push(to - from)
      }
      return (figures[`${name}, ${EACH} of each`] = {
        p50: percentile(times, 0.5),
        p99: percentile(times, 0.99),
      })
    }
    const calm = await measure('before a sweep', Promise.resolve())
    // Of several, the best: V8's collector works in some of them.
    const slices: number[] = []
    for (let n = 0; n < 3; n++) {
      const { records, slice } = await app.ask({ ask: 'sweep' })
      expect(records).toBe(EACH + 1)
      slices.push(slice)
      await app.ask({ ask: 'fill', live: 0, expired: EACH })
    }
    console.log(
      `The longest slice of each sweep took ${slices.map((ms) => ms.toFixed(2)).join(', ')} ms of CPU time.`,
    )
    expect(Math.min(...slices)).toBeLessThan(5)

    const busy = await measure('during a sweep', app.ask({ ask: 'sweep' }))
    // By a clock that all processes of this machine share: told, and held to it only where they are few.
    if (ALL) expect(busy.p99).toBeLessThan(1.1 * calm.p99 + 2)
  })
})

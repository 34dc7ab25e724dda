/** A server that is told to end under load: SECURITY.md F11. It drains, keeps what it has acknowledged, and ends by itself. */
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'

import type { ClientName } from './app-stores.ts'
import { Engine } from './engine.ts'
import type { Figures } from './run.ts'
import { ALL, print, Run, STORE_TIMEOUT, UNHARMED } from './run.ts'

/** In place of the time to recover, the time to drain. */
const table: Record<string, Figures> = {}
afterAll(() => print(table))

describe.each<ClientName>(ALL ? ['url', 'node-redis', 'ioredis'] : ['url', 'ioredis'])('%s', (client) => {
  it.each([
    ['while the store answers', null],
    ['while the store hangs', 'SIGSTOP'],
  ] as const)('ends by itself %s, and loses nothing', async (when, signal) => {
    const engine = await Engine.start()
    onTestFinished(() => engine.stop())
    const run = await Run.start([
      { client, port: engine.port },
      { client, port: engine.port },
    ])
    await run.acknowledged(ALL ? 500 : 50)
    // Its connections are refused once it is told to end.
    run.ledger.mayRefuse = true
    const [app] = run.apps
    await run.harm(() => signal && engine.signal(signal))
    const toldAt = performance.now()
    const { code, signal: killedBy, stderr } = await app!.stop()
    const drained = Math.round(performance.now() - toldAt)
    await run.heal(() => signal && engine.signal('SIGCONT'))
    await run.ledger.each(20, ({ server, status }) => server === 0 || status === 200)
    const figures = await run.finish()
    table[`F11 SIGTERM ${when}, ${client}`] = { ...figures, recovery: drained }
    expect({ code, killedBy, stderr }).toEqual({ code: 0, killedBy: null, stderr: '' })
    // Requests under way have their deadline at reading and at committing, and the store a second to say good-bye.
    expect(drained).toBeLessThan(2 * STORE_TIMEOUT + 2000)
    expect(figures).toMatchObject(UNHARMED)
  })
})

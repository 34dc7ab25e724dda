/**
 * A master is lost while its replica is cut off from it, and the replica takes its place: SECURITY.md F6. Redis replicates after it has answered,
 * so what it acknowledged last is undone, sign-outs among it; unless it was acknowledged with `durability`.
 */
import { afterAll, expect, it } from 'vitest'

import { eventually } from '../support/eventually.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { startApp } from './app-process.ts'
import type { ClientName } from './app-stores.ts'
import { Ledger } from './ledger.ts'
import { ALL } from './run.ts'

const ROUNDS = ALL ? 20 : 1
const VISITORS = 12

interface Figures {
  rounds: number
  /** Sign-outs that were answered 200. */
  acknowledged: number
  /** Sign-outs that were answered 503. */
  refused: number
  /** Acknowledged sign-outs after which the session was alive on the new master. */
  undone: number
}

const table: Record<string, Figures> = {}
afterAll(() => console.table(table))

/** Visitors sign out, and amid that the replica is cut off; then the master dies, and the replica becomes one. */
async function round(client: ClientName, durability: boolean, figures: Figures): Promise<void> {
  await using ends = new AsyncDisposableStack()
  const during = <T>(thing: T, end: (thing: T) => unknown): T =>
    ends.adopt(thing, async () => void (await end(thing)))
  const redis = (args: string[] = []): Promise<RedisServer> =>
    startRedis({ args }).then((server) => during(server, () => server.stop()))
  const app = async (port: number, settings: object = {}): Promise<Ledger> => {
    const started = await startApp({ client, port, sessions: { storeTimeout: 5 }, ...settings })
    during(started, () => started.stop())
    return during(new Ledger([started.port]), (ledger) => ledger.close())
  }

  const master = await redis(['--repl-diskless-sync-delay', '0'])
  const way = during(await startTcpProxy(master.port), (way) => way.stop())
  const replica = await redis(['--replicaof', `127.0.0.1 ${way.port}`])
  await eventually(async () => expect(await master.tell('WAIT 1 1000')).toBe(':1'))
  const before = await app(master.port, durability ? { durability: { replicas: 1, timeout: 0.3 } } : {})
  const cookies = await Promise.all(
    Array.from({ length: VISITORS }, async () => {
      const { cookies } = await before.ask(0, 'POST /sign-in?user=ada', null)
      return cookies[0]!.split(';', 1)[0]!
    }),
  )
  // And the hints to all of them, which are one user's.
  await eventually(async () => expect(await replica.tell('DBSIZE')).toBe(`:${VISITORS + 1}`))

  const leaving = cookies.values()
  const left: string[] = []
  const lane = async (): Promise<void> => {
    for (const cookie of leaving) {
      const answer = await before.ask(0, 'POST /sign-out', cookie)
      if (answer.status === 200) left.push(cookie)
      if (left.length === VISITORS / 3) way.swallow()
    }
  }
  await Promise.all(Array.from({ length: 5 }, lane))
  await master.stop()
  await way.stop()
  expect(await replica.tell('REPLICAOF NO ONE')).toBe('+OK')

  const after = await app(replica.port)
  for (const cookie of left)
    if ((await after.ask(0, 'GET /read', cookie)).body.includes('ada')) figures.undone++
  figures.rounds++
  figures.acknowledged += left.length
  figures.refused += VISITORS - left.length
  expect([...before.violations, ...after.violations]).toEqual([])
}

const CLIENTS: readonly ClientName[] = ALL ? ['url', 'node-redis', 'ioredis'] : ['url']

it.each<[ClientName, string, boolean]>([
  ['url', 'without durability: some are undone', false],
  ...CLIENTS.map((client): [ClientName, string, boolean] => [client, 'with durability: none', true]),
])(
  'of sign-outs that were acknowledged, over %s, %s',
  { timeout: ROUNDS * 60_000 },
  async (client, name, durability) => {
    const figures = (table[`F6 ${client}, ${name}`] = { rounds: 0, acknowledged: 0, refused: 0, undone: 0 })
    while (figures.rounds < ROUNDS) await round(client, durability, figures)
    expect(figures.acknowledged).toBeGreaterThan(0)
    expect({ refuses: figures.refused > 0, undoes: figures.undone > 0 }).toEqual({
      refuses: durability,
      undoes: !durability,
    })
  },
)

/**
 * A master that Sentinel watches is killed while two servers go on being used, and Sentinel has its replica take its place: SECURITY.md F4.
 *
 * That nothing acknowledged dies with the master is made certain as in `cluster.test.ts`: by `durability`, where there is another replica in the
 * end, or by a master at rest. A master that is still there when another takes over (`SENTINEL FAILOVER`, or a partition) is another matter: until
 * Sentinel has made it a replica, seconds later, it answers those who have not left it by what it remembers. No client can know.
 */
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest'

import type { RedisDurability } from '../../src/stores/redis.ts'
import { quiesce } from '../support/quiesce.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { MASTER, startSentinel } from '../support/redis-sentinel.ts'
import type { ClientName } from './app-stores.ts'
import { expectAtHome, expectServed, settleIn, signOut } from './residents.ts'
import type { Figures } from './run.ts'
import { ALL, print, Run, STORE_TIMEOUT, UNHARMED } from './run.ts'

/** What leads from each of the two servers to Redis. */
type Clients = readonly [ClientName, ClientName]

const MIXED: Clients = ['node-redis sentinel', 'ioredis sentinel']
const EVERY: readonly Clients[] = [
  ['node-redis sentinel', 'node-redis sentinel'],
  ['ioredis sentinel', 'ioredis sentinel'],
  MIXED,
]

/** How many requests each server acknowledges before and after. */
const CALM = ALL ? 400 : 60
const RESIDENTS = 24

/** How it is made certain that nothing acknowledged dies with the master. */
const WAYS: readonly [string, RedisDurability | null][] = [
  ['amid everything, with durability', { replicas: 1, timeout: STORE_TIMEOUT / 2000 }],
  ['at rest', null],
]

const table: Record<string, Figures> = {}
afterAll(() => print(table))

async function started<S extends RedisServer>(starting: Promise<S>): Promise<S> {
  const server = await starting
  onTestFinished(() => server.stop())
  return server
}

/** A master waits for no further replicas before it sends one what it has. */
const AT_ONCE = ['--repl-diskless-sync-delay', '0']

/** Starts a replica, and resolves when it has what its master has. */
async function startReplica(master: RedisServer): Promise<RedisServer> {
  const replica = await started(startRedis({ args: ['--replicaof', `127.0.0.1 ${master.port}`, ...AT_ONCE] }))
  await vi.waitFor(async () => expect(await master.tell('WAIT 1 1000')).toBe(':1'), 10_000)
  return replica
}

describe.each(ALL ? WAYS : WAYS.slice(0, 1))('F4 Sentinel replaces a master killed %s', (way, durability) => {
  it.each(ALL ? EVERY : [MIXED])('%s and %s', async (...clients) => {
    const master = await started(startRedis({ args: AT_ONCE }))
    const replica = await startReplica(master)
    const settings = { 'down-after-milliseconds': 500, 'failover-timeout': 5000 }
    const sentinel = await started(startSentinel(master.port, settings))
    await vi.waitFor(
      async () => expect(await sentinel.tell(`SENTINEL REPLICAS ${MASTER}`)).toBe('*1'),
      10_000,
    )
    const run = await Run.start(
      clients.map((client) => ({ client, port: sentinel.port, ...(durability && { durability }) })),
      { visitors: 8 },
    )
    onTestFinished(() => run.drop())
    const { ledger } = run
    const residents = await settleIn(ledger, RESIDENTS)
    await run.acknowledged(CALM)
    expect(ledger.answers.filter(({ status }) => status !== 200)).toEqual([])

    await run.harm(async () => {
      if (durability === null) await quiesce(master, replica)
      await master.stop()
    })
    await run.heal(async () => {
      await vi.waitFor(async () => expect(await replica.tell('SET up 1')).toBe('+OK'), 20_000)
      if (durability !== null) await startReplica(replica)
    })
    // How soon is for the clients to say, who find out in their own time who took over.
    await vi.waitFor(() => expectServed(ledger, residents), { timeout: 10_000, interval: 20 })
    await run.acknowledged(CALM)
    await expectAtHome(ledger, residents)
    await signOut(ledger, residents)
    const figures = (table[`F4 a master is killed ${way}, ${clients.join(' + ')}`] = await run.finish())
    // What a request reads may come late and in time, and what it writes have its own deadline after that.
    expect(figures).toMatchObject({ ...UNHARMED, late: expect.any(Number) as number })
    expect(figures.worst).toBeLessThan(3 * STORE_TIMEOUT)
    expect(figures.refused).toBeGreaterThan(0)
    expect(figures.recovery).toBeLessThan(6000)
  })
})

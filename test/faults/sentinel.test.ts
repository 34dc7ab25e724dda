/**
 * A master that Sentinel watches is killed while two servers go on being used, and Sentinel has its replica take its place: SECURITY.md F4.
 *
 * That nothing acknowledged dies with the master is made certain as in `cluster.test.ts`: by `durability`, where there is another replica in the
 * end, or by a master at rest. A master that is still there when another takes over (`SENTINEL FAILOVER`, or a partition) is another matter: until
 * Sentinel has made it a replica, seconds later, it answers those who have not left it by what it remembers. No client can know.
 */
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'

import { eventually } from '../support/eventually.ts'
import { quiesce } from '../support/quiesce.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { MASTER, startSentinel } from '../support/redis-sentinel.ts'
import type { Figures } from './run.ts'
import { ALL, print } from './run.ts'
import { AT_REST, DURABLE, expectGapOnly, finishRecovered, pairsOf, startCalm } from './takeover.ts'

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
  await eventually(async () => expect(await master.tell('WAIT 1 1000')).toBe(':1'))
  return replica
}

describe.each(ALL ? [DURABLE, AT_REST] : [DURABLE])(
  'F4 Sentinel replaces a master killed %s',
  (way, durability) => {
    it.each(pairsOf('sentinel'))('%s and %s', async (...clients) => {
      const master = await started(startRedis({ args: AT_ONCE }))
      const replica = await startReplica(master)
      const settings = { 'down-after-milliseconds': 1500, 'failover-timeout': 5000 }
      const sentinel = await started(startSentinel(master.port, settings))
      await eventually(async () => expect(await sentinel.tell(`SENTINEL REPLICAS ${MASTER}`)).toBe('*1'))
      const { run, residents } = await startCalm(clients, sentinel.port, durability)

      await run.harm(async () => {
        if (durability === null) await quiesce(master, replica)
        await master.stop()
      })
      await run.heal(async () => {
        await eventually(async () => expect(await replica.tell('SET up 1')).toBe('+OK'), 20_000)
        if (durability !== null) await startReplica(replica)
      })
      const name = `F4 a master is killed ${way}, ${clients.join(' + ')}`
      expectGapOnly((table[name] = await finishRecovered(run, residents)))
    })
  },
)

/**
 * A Redis Cluster while two servers go on being used: slots that hold sessions move from master to master, and a master is killed: SECURITY.md F4.
 *
 * Redis replicates after it has answered, so that what a master acknowledged last may die with it, and no promise could be asserted. It is made
 * certain in either of two ways. With `durability` the master is killed in the middle of everything: what is under way may have been made or not,
 * and what was acknowledged its replica has; who was killed then comes back as the replica of who took over, since until there is one, writes
 * there cannot be confirmed. Without, the master is made to take no more writes first, and its replica to have caught up; what is under way was
 * never made.
 *
 * The cluster goes on serving the slots that it has a master for (`cluster-require-full-coverage no`); by itself, Redis would refuse all of them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { quiesce } from '../support/quiesce.ts'
import type { ClusterNode, RedisCluster } from '../support/redis-cluster.ts'
import { errorsOf, startRedisCluster } from '../support/redis-cluster.ts'
import { expectAtHome, expectGone, expectServed, settleIn, signOut } from './residents.ts'
import type { Figures } from './run.ts'
import { ALL, print, Run, UNHARMED } from './run.ts'
import {
  AT_REST,
  CALM,
  DURABLE,
  expectGapOnly,
  finishRecovered,
  pairsOf,
  RESIDENTS,
  startCalm,
  VISITORS,
} from './takeover.ts'

const ROUNDS = ALL ? 6 : 1

const table: Record<string, Figures> = {}
afterAll(() => print(table))

let cluster: RedisCluster
beforeAll(async () => {
  const args = ['--cluster-require-full-coverage', 'no', '--cluster-replica-validity-factor', '0']
  cluster = await startRedisCluster({ masters: 3, replicas: ALL ? [0, 1, 2] : [0], args })
  return () => cluster.stop()
})

/** What the servers are told of the cluster. */
const ports = (): number[] => cluster.nodes.map(({ port }) => port)

/** The slots of a node in which something stands. */
async function slotsInUse(node: ClusterNode): Promise<number[]> {
  const keys = (await node.ask('KEYS', '*')) as string[]
  const slots = await Promise.all(keys.map((key) => node.ask('CLUSTER', 'KEYSLOT', key)))
  return [...new Set(slots.map(Number))]
}

describe('F4 slots move from master to master', () => {
  it.each(pairsOf('cluster'))('%s and %s', async (...clients) => {
    const { masters } = cluster
    // Nothing is to fail, on however busy a machine.
    const sessions = { storeTimeout: 5 }
    const run = await Run.start(
      clients.map((client) => ({ client, port: ports(), sessions })),
      { visitors: VISITORS },
    )
    const { ledger } = run
    await run.acknowledged(CALM)
    await run.harm(() => {})
    for (let round = 0; round < ROUNDS; round++) {
      const residents = await settleIn(ledger, RESIDENTS)
      const leaving = residents.splice(0, RESIDENTS / 3)
      const alsoLeaving = residents.splice(0, RESIDENTS / 3)
      const moves = await Promise.all(
        masters.map(async (from, n) =>
          cluster.beginMove(from, masters[(n + 1) % masters.length]!, await slotsInUse(from)),
        ),
      )
      // Everything is where it was still: what is removed now is missed there, and asked for elsewhere.
      await Promise.all([run.acknowledged(CALM), signOut(ledger, leaving)])
      for (const move of moves) await Promise.all([run.acknowledged(CALM / moves.length), move.carry()])
      // Everything is where clients have to ask.
      await expectAtHome(ledger, residents)
      await Promise.all([run.acknowledged(CALM), signOut(ledger, alsoLeaving)])
      // One after the other, as their epochs have to grow: of two claims to a slot, the later one counts.
      for (const move of moves) await Promise.all([run.acknowledged(CALM / moves.length), move.finish()])
      await expectAtHome(ledger, residents)
      await expectGone(ledger, [...leaving, ...alsoLeaving])
    }
    await run.heal(() => cluster.settled())
    await run.acknowledged(CALM)
    const figures = (table[`F4 slots move, ${clients.join(' + ')}`] = await run.finish())
    // ERR is what the clients, as they connect, ask of newer servers.
    const { ASK, MOVED, NOSCRIPT, ERR: _, ...others } = await errorsOf(masters)
    expect(figures).toMatchObject({ ...UNHARMED, refused: 0 })
    console.log(`${clients.join(' + ')}: ${ASK} times ASK, ${MOVED} times MOVED`)
    // No CROSSSLOT, no TRYAGAIN, and no script that reached for a key that was elsewhere.
    expect(others).toEqual({ scripts: NOSCRIPT })
    expect(Math.min(ASK!, MOVED!)).toBeGreaterThan(0)
  })
})

describe.each(ALL ? [AT_REST, DURABLE] : [AT_REST])('F4 a master is killed %s', (way, durability) => {
  it.each(pairsOf('cluster'))('%s and %s', async (...clients) => {
    await comeBack()
    await Promise.all(cluster.nodes.map((node) => node.ask('CONFIG', 'SET', 'cluster-node-timeout', 1500)))
    const [master, replica] = await inOrder(cluster.masters[0]!, cluster.replicas[0]!)
    const survivors = cluster.nodes.filter((node) => node !== master)
    const { run, residents } = await startCalm(clients, ports(), durability)
    const keys = (await master.ask('KEYS', '*')) as string[]
    const unconcerned = residents.filter(({ id }) => !keys.some((key) => key.endsWith(`:${id}`)))

    await run.harm(async () => {
      if (durability === null) await quiesce(master, replica)
      await master.kill()
    })
    let isOver = false
    const promoted = cluster.settled(survivors).finally(() => (isOver = true))
    while (!isOver) await expectServed(run.ledger, unconcerned)
    await run.heal(async () => {
      await promoted
      if (durability !== null) await comeBack()
    })
    const name = `F4 a master is killed ${way}, ${clients.join(' + ')}`
    expectGapOnly((table[name] = await finishRecovered(run, residents)))
    const { CROSSSLOT, TRYAGAIN } = await errorsOf(survivors)
    expect({ CROSSSLOT, TRYAGAIN }).toEqual({})
  })
})

/** Who was killed comes back, as the replica of who took over. */
async function comeBack(): Promise<void> {
  await Promise.all(cluster.nodes.map((node) => node.start()))
  await cluster.settled()
}

/** Of two nodes, the master and then its replica. */
async function inOrder(one: ClusterNode, other: ClusterNode): Promise<[ClusterNode, ClusterNode]> {
  const [role] = (await one.ask('ROLE')) as [string]
  return role === 'master' ? [one, other] : [other, one]
}

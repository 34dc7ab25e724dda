/**
 * Redis hung, killed, refusing, forgetful, cut off, while two servers go on being used: SECURITY.md F1 to F3, F5, F7, and F16 in
 * each of them. What must never happen is in `ledger.ts`; who watches that it does not, in `visitor.ts`.
 */
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'

import type { Clients } from './app-stores.ts'
import { Engine } from './engine.ts'
import type { Figures } from './run.ts'
import { ALL, OWN_RECOVERY, print, RECOVERY, Run, STORE_TIMEOUT, UNHARMED } from './run.ts'

const OWN: Clients = ['url', 'url']
const MIXED: Clients = ['node-redis', 'ioredis']
const EVERY: readonly Clients[] = [OWN, ['node-redis', 'node-redis'], ['ioredis', 'ioredis'], MIXED]

/** How many requests each server acknowledges before a fault and after it, and how many it answers meanwhile. */
const CALM = ALL ? 400 : 80
const ROUGH = ALL ? 40 : 12

interface Fault {
  readonly name: string
  /** What `npm test` tries it with; `npm run test:faults` tries every one that `only` lets it. */
  readonly short: readonly Clients[]
  readonly only?: readonly Clients[]
  /** In seconds. Default: {@link STORE_TIMEOUT} */
  readonly storeTimeout?: number
  harm(engine: Engine): unknown
  /** As long as this takes, the fault lasts. Default: until each server has answered {@link ROUGH} requests. */
  meanwhile?(engine: Engine, run: Run): unknown
  heal(engine: Engine): unknown
  /** Looks at the figures, beside what must never happen. */
  judge(figures: Figures, clients: Clients): void
}

/** Requests are refused, and it is over within a second of the fault. */
function refuses({ refused, recovery }: Figures): void {
  expect(refused).toBeGreaterThan(0)
  expect(recovery).toBeLessThan(1000)
}

/** Nobody notices. */
function isTransparent({ refused }: Figures): void {
  expect(refused).toBe(0)
}

/** Requests are refused; when it is over is for the client to say. */
function reconnects({ refused, recovery }: Figures, clients: Clients): void {
  expect(refused).toBeGreaterThan(0)
  expect(recovery).toBeLessThan(clients.every((client) => client === 'url') ? OWN_RECOVERY : RECOVERY)
}

/** Redis refuses some commands by its access control list. */
const without = (...commands: readonly string[]): Pick<Fault, 'harm' | 'heal'> => ({
  harm: (engine) => engine.tell(`ACL SETUSER default ${commands.map((command) => `-${command}`).join(' ')}`),
  heal: (engine) => engine.tell('ACL SETUSER default +@all'),
})

const FAULTS: readonly Fault[] = [
  {
    name: 'F1 Redis hangs',
    short: [MIXED, OWN],
    harm: (engine) => engine.signal('SIGSTOP'),
    heal: (engine) => engine.signal('SIGCONT'),
    judge: refuses,
  },
  {
    name: 'F1 the network swallows everything',
    short: [MIXED],
    harm: ({ proxy }) => proxy.swallow(),
    heal: ({ proxy }) => proxy.pass(),
    judge: refuses,
  },
  {
    // A client that is handed in is its owner's to set up for this.
    name: 'F1 the network swallows everything, and connections stay dead',
    short: [OWN],
    only: [OWN],
    harm: ({ proxy }) => proxy.swallow(),
    heal: ({ proxy }) => proxy.forget(),
    judge: refuses,
  },
  {
    name: 'F2 Redis is killed, and started again',
    short: [MIXED, OWN],
    harm: (engine) => engine.kill(),
    heal: (engine) => engine.start(),
    judge: reconnects,
  },
  {
    name: 'F3 reads are refused',
    short: [MIXED],
    ...without('hmget'),
    judge: refuses,
  },
  {
    name: 'F3 ends are refused',
    short: [MIXED],
    ...without('hdel'),
    meanwhile: (_engine, run) => run.refused(4),
    judge: refuses,
  },
  {
    name: 'F3 writes are refused',
    short: [MIXED],
    ...without('evalsha', 'eval'),
    judge: refuses,
  },
  {
    name: 'F3 Redis is full',
    short: [MIXED],
    harm: (engine) => engine.tell('CONFIG SET maxmemory 1'),
    heal: (engine) => engine.tell('CONFIG SET maxmemory 0'),
    judge: refuses,
  },
  {
    name: 'F3 Redis is a replica, and read-only',
    short: [MIXED],
    harm: (engine) => engine.tell('REPLICAOF 127.0.0.1 1'),
    heal: (engine) => engine.tell('REPLICAOF NO ONE'),
    judge: refuses,
  },
  {
    name: 'F5 Redis forgets its scripts again and again',
    short: [MIXED],
    // Nothing is to fail, on however busy a machine.
    storeTimeout: 5,
    harm: () => {},
    async meanwhile(engine, run) {
      let isOver = false
      const over = run.acknowledged(CALM).then(() => {
        isOver = true
      })
      while (!isOver) await engine.tell('SCRIPT FLUSH')
      await over
    },
    heal: () => {},
    judge: isTransparent,
  },
  {
    name: 'F7 connections are cut in the middle of a reply',
    short: [MIXED, OWN],
    harm: () => {},
    async meanwhile({ proxy }, run) {
      for (let cuts = 0; cuts < (ALL ? 100 : 8); cuts++) {
        await proxy.cut()
        await run.acknowledged(5)
      }
    },
    heal: () => {},
    // Most are settled by reading again, and nobody notices.
    judge: () => {},
  },
]

const table: Record<string, Figures> = {}
afterAll(() => print(table))

describe.each(FAULTS)(
  '$name',
  ({ name, short, only = EVERY, storeTimeout = STORE_TIMEOUT / 1000, harm, meanwhile, heal, judge }) => {
    it.each(ALL ? only : short)('%s and %s', async (...clients) => {
      const engine = await Engine.start()
      onTestFinished(() => engine.stop())
      const run = await Run.start(
        clients.map((client) => ({ client, port: engine.port, sessions: { storeTimeout } })),
      )
      await run.acknowledged(CALM)
      await run.harm(() => harm(engine))
      await (meanwhile === undefined ? run.answered(ROUGH) : meanwhile(engine, run))
      await run.heal(() => heal(engine))
      await run.acknowledged(CALM)
      const figures = (table[`${name}, ${clients.join(' + ')}`] = await run.finish())
      expect(figures).toMatchObject(UNHARMED)
      judge(figures, clients)
    })
  },
)

describe('F2 Redis is not there when the servers start', () => {
  it.each(ALL ? EVERY : [MIXED, OWN])('%s and %s', async (...clients) => {
    const engine = await Engine.absent()
    onTestFinished(() => engine.stop())
    const run = await Run.start(clients.map((client) => ({ client, port: engine.port })))
    await run.harm(() => {})
    await run.answered(ROUGH)
    await run.heal(() => engine.start())
    await run.acknowledged(CALM)
    const figures = (table[`F2 Redis comes late, ${clients.join(' + ')}`] = await run.finish())
    expect(figures).toMatchObject(UNHARMED)
    reconnects(figures, clients)
  })
})

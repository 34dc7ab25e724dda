/** What was aimed at, beside what the last run measured: at 1 KB of data, by Holdfast on node:http unless it says otherwise. */
import type { StoreName } from '../http/stores.ts'
import type { Case } from '../http/subject.ts'
import type { Results } from '../run.ts'
import { table } from './markdown.ts'

/** One aim: what was measured for it, each in a form to show, and whether that is within it. */
interface Aim {
  readonly aim: string
  readonly measured: readonly { readonly shown: string; readonly holds: boolean }[]
}

export function aimsTable({ http, micro, memory, start }: Results): string {
  const added = (setup: string, store: StoreName, what: Case): number =>
    http.find((row) => row.setup === setup && row.store === store && row.bytes === 1024 && row.case === what)!
      .added.median
  const rate = (setup: string, store: StoreName, what: Case): number =>
    http.find((row) => row.setup === setup && row.store === store && row.bytes === 1024 && row.case === what)!
      .rate.median
  const alone = (name: string): number => micro.find((row) => row.name === name)!.cpu.median
  const overFloor = (store: StoreName, what: Case) =>
    atMost(1.6, added('holdfast/node', store, what) / added('floor', store, what), (times) => `×${times}`)
  const ours = memory.find(({ store }) => store === 'holdfast')!
  const size = (name: string, most: number) => {
    const { bytes, own } = start.find((entry) => entry.name === name)!
    return atMost(
      most,
      (own ?? bytes!) / 1000,
      (kilobytes) => `${name.replace('holdfast/', '')} ${kilobytes}`,
    )
  }
  const commands = (what: Case, count: number) => {
    const { redis } = http.find(
      (row) => row.setup === 'holdfast/node' && row.store === 'redis' && row.case === what,
    )!
    const sent = Object.values(redis!.sent).reduce((sum, each) => sum + each, 0)
    return { shown: String(Number(sent.toFixed(2))), holds: sent <= count + 0.005 }
  }

  const aims: readonly Aim[] = [
    ...(['memory', 'redis', 'sqlite'] as const).map((store) => ({
      aim: `${STORES[store]}: read and write at most 1.6 × the floor`,
      measured: [overFloor(store, 'read'), overFloor(store, 'write')],
    })),
    {
      aim: 'the same in memory, without HTTP',
      measured: ['read', 'write'].map((name) =>
        atMost(1.6, alone(name) / alone(`floor: ${name}`), (times) => `×${times}`),
      ),
    },
    {
      aim: 'memory: a read adds 8 µs, a write 12',
      measured: [
        atMost(8, added('holdfast/node', 'memory', 'read')),
        atMost(12, added('holdfast/node', 'memory', 'write')),
      ],
    },
    {
      aim: 'Redis: a read adds 15 µs, a write 25',
      measured: [
        atMost(15, added('holdfast/node', 'redis', 'read')),
        atMost(25, added('holdfast/node', 'redis', 'write')),
      ],
    },
    { aim: 'no cookie, without HTTP: 0.5 µs', measured: [atMost(0.5, alone('none'))] },
    {
      aim: 'a bad cookie: 6 µs, with HTTP and without',
      measured: [atMost(6, added('holdfast/node', 'memory', 'bad')), atMost(6, alone('bad'))],
    },
    {
      aim: 'commands to Redis: 1 a read, 2 a write, 0 without a cookie',
      measured: [commands('read', 1), commands('write', 2), commands('none', 0)],
    },
    ...(['memory', 'redis'] as const).flatMap((store) => [
      {
        aim: `${STORES[store]}: a quarter of what the best other library adds`,
        measured: (['read', 'write'] as const).map((what) => {
          const others = http.filter(
            (row) => row.store === store && row.bytes === 1024 && row.case === what && isOther(row.setup),
          )
          const best = Math.min(...others.map((row) => row.added.median))
          return atMost(0.25, added('holdfast/node', store, what) / best, (times) => `×${times}`)
        }),
      },
      {
        aim: `${STORES[store]}: 1.8 × the requests a second of express-session, on Express`,
        measured: (['read', 'write'] as const).map((what) => {
          const times = rate('holdfast/express', store, what) / rate('express-session', store, what)
          return { shown: `×${times.toFixed(1)}`, holds: times >= 1.8 }
        }),
      },
    ]),
    { aim: '10⁶ sessions in memory: 450 B each', measured: [atMost(450, ours.heap, String)] },
    { aim: 'no stall over 5 ms while sweeping them', measured: [atMost(5, ours.sweep!.stall)] },
    { aim: 'the core: 8 KB, minified and gzipped', measured: [size('holdfast', 8)] },
    {
      aim: 'an adapter: 2 KB of its own',
      measured: ['node', 'express', 'hono', 'fetch'].map((name) => size(`holdfast/${name}`, 2)),
    },
    {
      aim: 'a store: 3 KB of its own',
      measured: ['redis', 'sqlite'].map((name) => size(`holdfast/${name}`, 3)),
    },
  ]
  return table(
    ['aim', 'measured', ''],
    aims.map(({ aim, measured }) => [aim, measured.map(({ shown }) => shown).join(', '), verdict(measured)]),
  )
}

function isOther(setup: string): boolean {
  return setup !== 'floor' && !setup.startsWith('holdfast/')
}

const STORES = { memory: 'memory', redis: 'Redis, by node-redis', sqlite: 'SQLite' } as const

function atMost(most: number, value: number, show: (figure: string) => string = (figure) => figure) {
  return { shown: show(value.toFixed(Math.abs(value) < 20 ? 1 : 0)), holds: value <= most }
}

function verdict(measured: Aim['measured']): string {
  const held = measured.filter(({ holds }) => holds).length
  return held === measured.length ? 'reached' : held === 0 ? 'not reached' : `${held} of ${measured.length}`
}

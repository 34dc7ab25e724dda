/** What was aimed at, beside what the last run measured: at 1 KB of data, by Holdfast on node:http unless it says otherwise. */
import type { Row } from '../http/measure.ts'
import type { StoreName } from '../http/stores.ts'
import type { Case } from '../http/subject.ts'
import type { Results } from '../run.ts'
import { table } from './markdown.ts'

/** One aim: what was measured for it, each in a form to show, and whether that is within it. */
interface Aim {
  readonly aim: string
  readonly measured: readonly { readonly shown: string; readonly holds: boolean }[]
}

export function aimsTable({ http, micro, near, memory, start }: Results): string {
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
    {
      aim: 'what Holdfast adds, over what the best other library with a store adds on the same framework: 0.25',
      measured: [
        most(
          cells(http),
          ({ ours, others }) => ours.added.median / Math.min(...others.map((row) => row.added.median)),
          0.25,
        ),
      ],
    },
    {
      aim: 'requests a second of that best other library, over those of Holdfast: below 1',
      measured: [
        most(
          cells(http),
          ({ ours, others }) => Math.max(...others.map((row) => row.rate.median)) / ours.rate.median,
          1,
        ),
      ],
    },
    ...(['memory', 'redis'] as const).map((store) => ({
      aim: `${STORES[store]}: 1.8 × the requests a second of express-session, on Express`,
      measured: (['read', 'write'] as const).map((what) => {
        const times = rate('holdfast/express', store, what) / rate('express-session', store, what)
        return { shown: `×${times.toFixed(1)}`, holds: times >= 1.8 }
      }),
    })),
    {
      aim: 'more reads a second than @fastify/secure-session, which keeps no store',
      measured: (['memory', 'redis'] as const).map((store) => {
        const times = rate('holdfast/node', store, 'read') / rate('@fastify/secure-session', 'cookie', 'read')
        return { shown: `${STORES[store]} ×${times.toFixed(2)}`, holds: times > 1 }
      }),
    },
    {
      aim: "with nearCache, 0.9 of the memory store's reads a second",
      measured: near.rows
        .filter(({ store }) => store === 'near')
        .map(({ rateOfMemory: { median } }) => ({ shown: `×${median.toFixed(2)}`, holds: median >= 0.9 })),
    },
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

/** One work with one store at one size, on one framework: Holdfast there, or on node:http where it has no adapter, and the others with a store. */
interface Cell {
  readonly ours: Row
  readonly others: readonly Row[]
}

function cells(http: readonly Row[]): readonly Cell[] {
  const compared = http.filter(
    ({ store, case: what }) =>
      (store === 'memory' || store === 'redis') && (what === 'read' || what === 'write'),
  )
  return compared.flatMap((ours) => {
    if (!ours.setup.startsWith('holdfast/')) return []
    const others = compared.filter(
      (row) =>
        row.store === ours.store &&
        row.bytes === ours.bytes &&
        row.case === ours.case &&
        row.setup !== 'floor' &&
        !row.setup.startsWith('holdfast/') &&
        (row.framework === ours.framework || (ours.framework === 'node' && !hasAdapter(row.framework, http))),
    )
    return others.length === 0 ? [] : [{ ours, others }]
  })
}

function hasAdapter(framework: string, http: readonly Row[]): boolean {
  return http.some((row) => row.framework === framework && row.setup.startsWith('holdfast/'))
}

/** In how many cells a figure is at most what it is to be, and what it is in all of them. */
function most(cells: readonly Cell[], figure: (cell: Cell) => number, limit: number) {
  const figures = cells.map(figure).toSorted((a, b) => a - b)
  const holding = figures.filter((value) => value <= limit).length
  const [lowest, highest] = [figures[0]!, figures.at(-1)!].map((value) => value.toFixed(2))
  return {
    shown: `${holding} of ${figures.length} cells; ×${lowest} to ×${highest}`,
    holds: holding === figures.length,
  }
}

const STORES = { memory: 'memory', redis: 'Redis, by node-redis', sqlite: 'SQLite' } as const

function atMost(most: number, value: number, show: (figure: string) => string = (figure) => figure) {
  return { shown: show(value.toFixed(Math.abs(value) < 20 ? 1 : 0)), holds: value <= most }
}

function verdict(measured: Aim['measured']): string {
  const held = measured.filter(({ holds }) => holds).length
  return held === measured.length ? 'reached' : held === 0 ? 'not reached' : `${held} of ${measured.length}`
}

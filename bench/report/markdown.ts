/** The results as Markdown tables, which `docs/benchmarks.md` shows. */
import type { Row } from '../http/measure.ts'
import type { StoreName } from '../http/stores.ts'
import type { Case } from '../http/subject.ts'
import type { MemoryResult } from '../parts/memory-stores.ts'
import type { MicroRow } from '../parts/micro.ts'
import type { NearResult } from '../parts/near.ts'
import type { Entry } from '../parts/start-up.ts'
import type { Spread } from './stats.ts'

/** A table as the formatter would lay it out: the first column to the left, figures to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, i) => Math.max(3, ...[head, ...rows].map((row) => row[i]!.length)))
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

const STORE_NAMES: Readonly<Record<StoreName, string>> = {
  memory: 'Memory',
  redis: 'Redis, by node-redis',
  ioredis: 'Redis, by ioredis',
  sqlite: 'SQLite',
  cookie: 'No store: the data in the cookie',
}

/** Added CPU time: one table for each store and size, floor multiples beside the figures. */
export function costTables(rows: readonly Row[]): string {
  const { rounds, requests } = rows[0]!
  const tables = groups(rows, ({ store, bytes }) => `${STORE_NAMES[store]}, ${bytes / 1024} KB`)
    .map(([title, rows]) => {
      const cases = distinct(rows.map((row) => row.case))
      const body = distinct(rows.map(({ setup }) => setup)).map((setup) => {
        const of = (what: Case): Row | undefined =>
          rows.find((row) => row.setup === setup && row.case === what)
        const { framework, bare } = of(cases[0]!)!
        return [
          bold(setup),
          framework,
          number(bare.median),
          ...cases.map((what) =>
            added(
              of(what),
              rows.find((row) => row.setup === 'floor' && row.case === what),
            ),
          ),
        ]
      })
      const head = ['', 'on', 'bare, µs', ...cases.map((what) => CASE_NAMES[what])]
      return `**${title}**\n\n${table(head, body)}`
    })
    .join('\n\n')
  return `Medians of ${rounds} rounds of ${requests} requests.\n\n${tables}`
}

const CASE_NAMES: Readonly<Record<Case, string>> = {
  read: 'read',
  write: 'write',
  none: 'no cookie',
  bad: 'bad cookie',
}

function added(row: Row | undefined, floor: Row | undefined): string {
  if (row === undefined) return '–'
  const { median, low, high } = row.added
  const least = floor?.added.median ?? 0
  const times = least < 1 || row === floor ? '' : ` ×${(median / least).toFixed(1)}`
  return `${number(median)} (${number(low)}–${number(high)})${times}`
}

/** Requests a second, also as a share of the bare handler's in the round before, and latencies. */
export function rateTables(rows: readonly Row[]): string {
  const shown = rows.filter((row) => row.case === 'read' || row.case === 'write')
  return groups(shown, ({ store, bytes }) => `${STORE_NAMES[store]}, ${bytes / 1024} KB`)
    .map(([title, rows]) => {
      const body = rows.map((row) => [
        bold(row.setup),
        row.case,
        Math.round(row.rate.median).toLocaleString('en'),
        `${Math.round(row.rateOfBare.median * 100)} %`,
        row.p50.median.toFixed(2),
        row.p99.median.toFixed(2),
        `${Math.round(row.busy.median * 100)} %`,
      ])
      const head = ['', 'work', 'requests/s', 'of bare', 'p50, ms', 'p99, ms', "server's core busy"]
      return `**${title}**\n\n${table(head, body)}`
    })
    .join('\n\n')
}

/** What each request sends to Redis. */
export function redisTable(rows: readonly Row[]): string {
  const body = rows.flatMap(({ setup, store, bytes, case: what, redis }) =>
    redis === null || bytes !== 1024 || what === 'bad'
      ? []
      : [
          [
            bold(setup),
            store === 'redis' ? 'node-redis' : store,
            CASE_NAMES[what],
            counts(redis.sent),
            counts(redis.inScripts),
            String(Math.round(redis.bytesIn)),
            String(Math.round(redis.bytesOut)),
          ],
        ],
  )
  return table(
    ['', 'client', 'work', 'commands sent', 'run inside scripts', 'bytes to Redis', 'bytes from Redis'],
    body,
  )
}

function counts(commands: Readonly<Record<string, number>>): string {
  const names = Object.entries(commands).map(([name, count]) => `${name} ${Number(count.toFixed(2))}`)
  return names.length === 0 ? '0' : names.join(', ')
}

export function microTable(rows: readonly MicroRow[]): string {
  const floors = new Map(rows.map((row) => [row.name, row]))
  const body = rows
    .filter(({ name }) => !name.startsWith('floor'))
    .map(({ name, cpu, heap }) => {
      const floor = floors.get(`floor: ${name}`)
      return [
        MICRO_NAMES[name] ?? name,
        spread(cpu, 2),
        floor === undefined ? '–' : floor.cpu.median.toFixed(2),
        floor === undefined || floor.cpu.median < 0.1
          ? '–'
          : `×${(cpu.median / floor.cpu.median).toFixed(1)}`,
        heap.toLocaleString('en'),
        floor === undefined ? '–' : floor.heap.toLocaleString('en'),
      ]
    })
  return table(
    [
      'open, handle, commit',
      'Holdfast, µs',
      'floor, µs',
      'multiple',
      'Holdfast, bytes allocated',
      'floor, bytes',
    ],
    body,
  )
}

const MICRO_NAMES: Readonly<Record<string, string>> = {
  ...CASE_NAMES,
  unread: 'opened, and not looked at',
  'read, touch due': 'read, with a touch due',
}

/** Reads by the near cache, over HTTP and without. */
export function nearTable({ starts, rounds, requests, sessions, rows, core }: NearResult): string {
  const body = rows.map(({ store, rate, rateOfMemory, cpu, cpuOfMemory, busy }) => [
    NEAR_NAMES[store],
    spread(rate, 0),
    spread(rateOfMemory, 2),
    spread(cpu, 0),
    spread(cpuOfMemory, 2),
    `${Math.round(busy.median * 100)} %`,
  ])
  const head = ['', 'requests/s', "of memory's", 'CPU, µs a request', "of memory's", "server's core busy"]
  return [
    `${starts} starts of each server, ${rounds} rounds of ${requests} requests in each, ${sessions} sessions in rotation.`,
    table(head, body),
    `Without HTTP, a read takes ${spread(core.near, 2)} µs with \`nearCache\` and ${spread(core.memory, 2)} µs from memory: ` +
      `${spread(core.ofMemory, 2)} as many reads a second. ${core.waited === 0 ? 'None' : `${(core.waited * 100).toFixed(2)} %`} of them had to be waited for.`,
  ].join('\n\n')
}

const NEAR_NAMES: Readonly<Record<NearResult['rows'][number]['store'], string>> = {
  memory: 'memory',
  near: 'Redis, with `nearCache`',
  redis: 'Redis',
}

export function memoryTable(results: readonly MemoryResult[]): string {
  const body = results.map(({ store, heap, get, set, sweep, eviction }) => [
    bold(store),
    String(heap),
    get.median.toFixed(2),
    set.median.toFixed(2),
    sweep === null ? 'never' : sweep.took.toFixed(0),
    sweep === null ? '–' : sweep.stall.toFixed(1),
    sweep === null ? '0' : sweep.removed.toLocaleString('en'),
    eviction,
  ])
  return table(
    [
      '',
      'heap a session, B',
      'read, µs',
      'write, µs',
      'sweep, ms',
      'longest stall, ms',
      'removed',
      'leaves first at the cap',
    ],
    body,
  )
}

export function startTable(entries: readonly Entry[]): string {
  const body = entries.map(({ name, importing, bytes, own, packages }) => [
    bold(name),
    spread(importing, 0),
    bytes === null ? '–' : bytes.toLocaleString('en'),
    own === null ? '–' : own.toLocaleString('en'),
    String(packages),
  ])
  return table(['', 'import, ms of CPU', 'bytes, min + gzip', 'of its own', 'packages installed'], body)
}

function bold(name: string): string {
  return name.startsWith('holdfast') ? `**${name}**` : name
}

function spread({ median, low, high }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
}

function number(value: number): string {
  return value.toFixed(Math.abs(value) < 10 ? 1 : 0)
}

function distinct<V>(values: readonly V[]): V[] {
  return [...new Set(values)]
}

function groups<V>(values: readonly V[], keyOf: (value: V) => string): [string, V[]][] {
  return [...Map.groupBy(values, keyOf)]
}

/**
 * Measures what sessions cost: Holdfast, the other libraries, and the floor. `npm run bench` runs all of it, writes `bench/results/`
 * and the tables of `docs/benchmarks.md`, that of the aims among them; `npm run bench -- --short` only sees that it works, in about a minute.
 *
 *     npm run bench -- [http] [micro] [near] [memory] [start] [growth]     parts; default: all
 *       --setup holdfast/node,express-session   --store memory,redis   --case read,write   --size 1024   (a selection writes to --out only)
 *       --turns 5 --rounds 3 --requests 2000    how long it takes, and how steady it is
 *       --report                                measures nothing, and makes tables and charts of the last results
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { keepToCore, LOADING_CORE } from './cores.ts'
import type { Row } from './http/measure.ts'
import { measureHttp } from './http/measure.ts'
import { SETUPS } from './http/setups.ts'
import type { StoreName } from './http/stores.ts'
import { STORES } from './http/stores.ts'
import type { Case } from './http/subject.ts'
import { CASES } from './http/subject.ts'
import { inChild } from './parts/child.ts'
import type { Growth } from './parts/grow.ts'
import { measureGrowth } from './parts/grow.ts'
import type { MemoryResult } from './parts/memory-stores.ts'
import { MEMORY_STORES } from './parts/memory-stores.ts'
import type { MicroRow } from './parts/micro.ts'
import type { NearResult } from './parts/near.ts'
import { measureNear } from './parts/near.ts'
import type { Entry } from './parts/start-up.ts'
import { measureStart } from './parts/start-up.ts'
import { Progress } from './report/progress.ts'
import { publish, tablesOf } from './report/report.ts'

export interface Results {
  readonly machine: Readonly<Record<string, string | number>>
  readonly http: readonly Row[]
  readonly micro: readonly MicroRow[]
  readonly near: NearResult
  readonly memory: readonly MemoryResult[]
  readonly start: readonly Entry[]
  readonly growth: readonly Growth[]
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    setup: { type: 'string' },
    store: { type: 'string' },
    case: { type: 'string' },
    size: { type: 'string' },
    turns: { type: 'string' },
    rounds: { type: 'string' },
    requests: { type: 'string' },
    sessions: { type: 'string' },
    connections: { type: 'string', default: '32' },
    out: { type: 'string' },
  },
})
const { short } = values
const PARTS = ['http', 'micro', 'near', 'memory', 'start', 'growth'] as const
const parts = pick(PARTS, positionals.length === 0 ? undefined : positionals.join())
const isSelection = [values.setup, values.store, values.case, values.size].some(
  (value) => value !== undefined,
)
const out =
  values.out ??
  (short || isSelection
    ? mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
    : join(import.meta.dirname, 'results'))
const page =
  out === join(import.meta.dirname, 'results') ? join(import.meta.dirname, '../docs/benchmarks.md') : null

const MEASURES = {
  http: (progress: Progress): Promise<Row[]> =>
    measureHttp(
      {
        setups: pick(
          SETUPS.map(({ name }) => name),
          values.setup,
        ).map((name) => SETUPS.find((setup) => setup.name === name)!),
        stores: pick<StoreName>(STORES, values.store ?? (short ? 'memory,redis' : undefined)),
        cases: pick<Case>(CASES, values.case ?? (short ? 'read,write' : undefined)),
        sizes: (values.size ?? (short ? '1024' : '1024,8192')).split(',').map(Number),
        sessions: amount(values.sessions, 10_000, 100),
        connections: Number(values.connections),
        turns: amount(values.turns, 5, 1),
        rounds: amount(values.rounds, 3, 1),
        requests: amount(values.requests, 2000, 200),
      },
      progress,
      (rows) => write('http', rows),
    ),
  micro: (progress: Progress): Promise<MicroRow[]> => {
    progress.say('the core without HTTP')
    return inChild(
      'micro.ts',
      short ? { rounds: 3, batch: 100, warmUp: 100 } : { rounds: 41, batch: 1000, warmUp: 20_000 },
    )
  },
  near: (progress: Progress): Promise<NearResult> =>
    measureNear(
      {
        starts: short ? 1 : 7,
        rounds: short ? 1 : 8,
        requests: short ? 200 : 3000,
        sessions: short ? 100 : 1000,
      },
      progress,
    ),
  async memory(progress: Progress): Promise<MemoryResult[]> {
    progress.expect(MEMORY_STORES.length)
    const results: MemoryResult[] = []
    for (const store of MEMORY_STORES) {
      progress.say(store)
      const order = { store, sessions: short ? 10_000 : 1_000_000 }
      results.push(await inChild('memory.ts', order, ['--expose-gc', '--max-old-space-size=8192']))
      progress.step()
    }
    return results
  },
  start: (progress: Progress): Promise<Entry[]> => measureStart(short ? 1 : 11, progress),
  growth: (progress: Progress): Promise<Growth[]> => measureGrowth(short, progress),
}

mkdirSync(out, { recursive: true })
if (!values.report) for (const part of parts) await measure(part)
publish(readResults(), out, page)
console.log(`Results, tables and charts: ${out}`)

async function measure(part: (typeof PARTS)[number]): Promise<void> {
  keepToCore(process.pid, LOADING_CORE)
  const progress = new Progress(part)
  const result = await MEASURES[part](progress)
  progress.end()
  write('machine', machine())
  write(part, result)
  for (const text of Object.values(tablesOf({ [part]: result }))) console.log(`\n${text}\n`)
}

function write(name: string, value: unknown): void {
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(value, rounded, 2)}\n`)
}

/** More digits than these say nothing. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
}

function readResults(): Partial<Results> {
  const names = ['machine', ...PARTS].filter((name) => existsSync(join(out, `${name}.json`)))
  return Object.fromEntries(
    names.map((name) => [name, JSON.parse(readFileSync(join(out, `${name}.json`), 'utf8'))]),
  )
}

function machine(): Results['machine'] {
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    'memory, GB': Math.round(totalmem() / 2 ** 30),
    // What else the machine was doing, on so many cores.
    'load average': Number(loadavg()[1]!.toFixed(1)),
  }
}

/** Some of what there is, by a list of names with commas between them. */
function pick<V extends string>(all: readonly V[], names: string | undefined): V[] {
  if (names === undefined) return [...all]
  const wanted = names.split(',')
  const unknown = wanted.filter((name) => !all.includes(name as V))
  if (unknown.length > 0) throw new Error(`There is no ${unknown.join(', ')}. There are: ${all.join(', ')}`)
  return all.filter((name) => wanted.includes(name))
}

function amount(value: string | undefined, full: number, least: number): number {
  return value === undefined ? (short ? least : full) : Number(value)
}

/** Part `http`: every library beside the bare handler of its framework, in alternating rounds. */
import { startRedis } from '../../test/support/redis-server.ts'
import { keepToCore, LOADING_CORE } from '../cores.ts'
import type { Progress } from '../report/progress.ts'
import type { Spread } from '../report/stats.ts'
import { spreadOf } from '../report/stats.ts'
import type { Traffic } from './redis-traffic.ts'
import { trafficOf } from './redis-traffic.ts'
import type { Setup } from './setups.ts'
import type { StoreName } from './stores.ts'
import type { Case, Round } from './subject.ts'
import { Subject } from './subject.ts'

export interface HttpOptions {
  readonly setups: readonly Setup[]
  readonly stores: readonly StoreName[]
  readonly cases: readonly Case[]
  /** Bytes of session data. */
  readonly sizes: readonly number[]
  /** Sessions in rotation. */
  readonly sessions: number
  readonly connections: number
  /** How often each set-up has its turn, how many rounds a turn has, and how many requests a round. */
  readonly turns: number
  readonly rounds: number
  readonly requests: number
}

export interface Row {
  readonly setup: string
  readonly framework: string
  readonly store: StoreName
  readonly bytes: number
  readonly case: Case
  /** How many rounds the figures are of, and how many requests each had. */
  readonly rounds: number
  readonly requests: number
  /** Microseconds of CPU time a request: the bare handler's, the measured one's, and the difference of each pair of rounds. */
  readonly bare: Spread
  readonly measured: Spread
  readonly added: Spread
  /** Requests a second. */
  readonly bareRate: Spread
  readonly rate: Spread
  /** The rate, over that of the bare handler in the round before. */
  readonly rateOfBare: Spread
  /** Milliseconds. */
  readonly p50: Spread
  readonly p99: Spread
  readonly busy: Spread
  readonly redis: Traffic | null
}

/** The data in a cookie must fit one; 4096 bytes is what browsers take. */
const MAX_COOKIE_DATA = 2048

/** @param save is called with all rows so far whenever a store is done */
export async function measureHttp(
  options: HttpOptions,
  progress: Progress,
  save: (rows: readonly Row[]) => void,
): Promise<Row[]> {
  const cells = options.stores.flatMap((store) =>
    options.sizes
      .filter((bytes) => store !== 'cookie' || bytes <= MAX_COOKIE_DATA)
      .map((bytes) => ({
        store,
        bytes,
        setups: options.setups.filter(({ stores }) => stores.includes(store)),
        // What has no session to read does not depend on its size.
        cases: options.cases.filter(
          (what) => bytes === options.sizes[0] || what === 'read' || what === 'write',
        ),
      })),
  )
  progress.expect(
    cells.reduce((sum, { setups, cases }) => sum + setups.length * cases.length * options.turns, 0),
  )
  const rows: Row[] = []
  for (const cell of cells) {
    if (cell.setups.length > 0) rows.push(...(await measureCell(cell, options, progress)))
    save(rows)
  }
  return rows
}

interface Cell {
  readonly store: StoreName
  readonly bytes: number
  readonly setups: readonly Setup[]
  readonly cases: readonly Case[]
}

/** All set-ups of one store run side by side, and take turns: what disturbs the machine disturbs them alike. */
async function measureCell(cell: Cell, options: HttpOptions, progress: Progress): Promise<Row[]> {
  const { store, bytes, setups, cases } = cell
  const redis = store === 'redis' || store === 'ioredis' ? await startRedis() : null
  if (redis !== null) keepToCore(redis.pid, LOADING_CORE)
  const subjects = new Map<Setup, Subject>()
  try {
    for (const setup of setups) {
      progress.say(`${store}, ${bytes} B: ${setup.name} signs ${options.sessions} visitors in`)
      const { sessions, connections } = options
      const redisUrl = redis?.url ?? ''
      const order = { setup: setup.name, store, bytes, redisUrl, sessions, connections }
      subjects.set(setup, await Subject.start(order))
    }
    const rows: Row[] = []
    for (const what of cases) {
      const rounds = new Map<Setup, Round[]>(setups.map((setup) => [setup, []]))
      for (let turn = 0; turn < options.turns; turn++)
        for (const [setup, subject] of subjects) {
          progress.say(`${store}, ${bytes} B, ${what}: ${setup.name}`)
          rounds.get(setup)!.push(...(await subject.rounds(what, options.rounds, options.requests)))
          progress.step()
        }
      for (const [setup, subject] of subjects) {
        const traffic =
          redis === null ? null : await trafficOf(redis.url, 100, (requests) => subject.ask(what, requests))
        rows.push({
          ...rowOf(setup, store, bytes, what, rounds.get(setup)!, traffic),
          requests: options.requests,
        })
      }
    }
    return rows
  } finally {
    for (const subject of subjects.values()) await subject.stop()
    await redis?.stop()
  }
}

function rowOf(
  { name, framework }: Setup,
  store: StoreName,
  bytes: number,
  what: Case,
  rounds: readonly Round[],
  redis: Traffic | null,
): Omit<Row, 'requests'> {
  const spread = (value: (round: Round) => number): Spread => spreadOf(rounds.map(value))
  return {
    setup: name,
    framework,
    store,
    bytes,
    case: what,
    rounds: rounds.length,
    bare: spread(({ bare }) => bare),
    measured: spread(({ measured }) => measured),
    added: spread(({ bare, measured }) => measured - bare),
    bareRate: spread(({ bareRate }) => bareRate),
    rate: spread(({ rate }) => rate),
    rateOfBare: spread(({ rate, bareRate }) => rate / bareRate),
    p50: spread(({ p50 }) => p50),
    p99: spread(({ p99 }) => p99),
    busy: spread(({ busy }) => busy),
    redis,
  }
}

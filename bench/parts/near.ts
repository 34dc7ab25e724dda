/** Part `near`: reads by RedisSessionStore with `nearCache`, beside those of the memory store and of Redis without it. */
import { startRedis } from '../../test/support/redis-server.ts'
import { keepToCore, LOADING_CORE } from '../cores.ts'
import type { Round } from '../http/subject.ts'
import { Subject } from '../http/subject.ts'
import type { Progress } from '../report/progress.ts'
import type { Spread } from '../report/stats.ts'
import { spreadOf } from '../report/stats.ts'
import { inChild } from './child.ts'
import type { NearCore } from './near-core.ts'

export interface NearOptions {
  /** How often the servers are started: the same program is faster or slower by a few hundredths each time. */
  readonly starts: number
  readonly rounds: number
  readonly requests: number
  readonly sessions: number
}

export interface NearRow {
  readonly store: (typeof STORES)[number]
  /** Requests a second, and microseconds of the server's CPU time each; and both over the memory store's in the same round. */
  readonly rate: Spread
  readonly rateOfMemory: Spread
  readonly cpu: Spread
  readonly cpuOfMemory: Spread
  readonly busy: Spread
}

export interface NearResult extends NearOptions {
  readonly rows: readonly NearRow[]
  readonly core: NearCore
}

const STORES = ['memory', 'near', 'redis'] as const

/** By `holdfast/node`, at 1 KB of data; the three side by side, in turns. */
export async function measureNear(options: NearOptions, progress: Progress): Promise<NearResult> {
  const { starts, rounds, requests, sessions } = options
  const redis = await startRedis()
  keepToCore(redis.pid, LOADING_CORE)
  const measured: Round[][] = STORES.map(() => [])
  progress.expect(starts * rounds)
  try {
    for (let start = 0; start < starts; start++) {
      progress.say(`start ${start + 1} of ${starts}`)
      const subjects: Subject[] = []
      for (const store of STORES) {
        const order = { setup: 'holdfast/node', store, bytes: 1024, redisUrl: redis.url }
        subjects.push(await Subject.start({ ...order, sessions, connections: 32 }))
      }
      for (let round = 0; round < rounds; round++) {
        for (const [i, subject] of subjects.entries())
          measured[i]!.push(...(await subject.rounds('read', 1, requests)))
        progress.step()
      }
      for (const subject of subjects) await subject.stop()
    }
    const rows = STORES.map((store, i) => {
      const of = (figure: (round: Round) => number): Spread => spreadOf(measured[i]!.map(figure))
      const ofMemory = (figure: (round: Round) => number): Spread =>
        spreadOf(measured[i]!.map((round, n) => figure(round) / figure(measured[0]![n]!)))
      return {
        store,
        rate: of(({ rate }) => rate),
        rateOfMemory: ofMemory(({ rate }) => rate),
        cpu: of((round) => round.measured),
        cpuOfMemory: ofMemory((round) => round.measured),
        busy: of(({ busy }) => busy),
      }
    })
    progress.say('without HTTP')
    const order = { redisUrl: redis.url, sessions, rounds: 4 * rounds }
    return { ...options, rows, core: await inChild<NearCore>('near-core.ts', order) }
  } finally {
    await redis.stop()
  }
}

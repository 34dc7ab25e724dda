/**
 * Measures reads with RedisSessionStore's `nearCache` beside those of the memory store, and of Redis without it: `holdfast/node` over HTTP, the three
 * side by side, in alternating rounds. Prints the table of docs/benchmarks.md.
 *
 *     npm run --silent build && node bench/near.ts [rounds] [requests] [sessions]
 */
import { startRedis } from '../test/support/redis-server.ts'
import { keepToCore, LOADING_CORE } from './cores.ts'
import type { Round } from './http/subject.ts'
import { Subject } from './http/subject.ts'
import type { Spread } from './report/stats.ts'
import { spreadOf } from './report/stats.ts'

const STORES = ['memory', 'near', 'redis'] as const
const [rounds = 15, requests = 2000, sessions = 1000] = process.argv.slice(2).map(Number)

keepToCore(process.pid, LOADING_CORE)
const redis = await startRedis()
keepToCore(redis.pid, LOADING_CORE)
const subjects: Subject[] = []
for (const store of STORES) {
  const order = { setup: 'holdfast/node', store, bytes: 1024, redisUrl: redis.url }
  subjects.push(await Subject.start({ ...order, sessions, connections: 32 }))
}
const measured: Round[][] = STORES.map(() => [])
for (let round = 0; round < rounds; round++)
  for (const [i, subject] of subjects.entries())
    measured[i]!.push(...(await subject.rounds('read', 1, requests)))
for (const subject of subjects) await subject.stop()
await redis.stop()

console.log(`${rounds} rounds of ${requests} reads, ${sessions} sessions of 1 KB`)
for (const [i, store] of STORES.entries()) {
  /** A figure of each round, and what it is of the memory store's in the same round. */
  const of = (figure: (round: Round) => number): string =>
    `${said(spreadOf(measured[i]!.map(figure)), 0)}, ×${said(spreadOf(measured[i]!.map((round, n) => figure(round) / figure(measured[0]![n]!))), 2)}`
  console.log(
    `${store}: requests/s ${of(({ rate }) => rate)}; CPU µs a request ${of((round) => round.measured)}; busy ${said(spreadOf(measured[i]!.map(({ busy }) => busy)), 2)}`,
  )
}

function said({ median, low, high }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
}

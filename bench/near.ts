/**
 * Measures reads with RedisSessionStore's `nearCache` beside those of the memory store, and of Redis without it, side by side, in alternating
 * rounds: first `holdfast/node` over HTTP, then the core alone, in this process. Prints what docs/benchmarks.md says.
 *
 *     npm run --silent build && node bench/near.ts [rounds] [requests] [sessions]
 */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { MemorySessionStore } from 'holdfast'
import { RedisSessionStore } from 'holdfast/redis'

import { startRedis } from '../test/support/redis-server.ts'
import { keepToCore, LOADING_CORE } from './cores.ts'
import type { Round } from './http/subject.ts'
import { Subject } from './http/subject.ts'
import { appData } from './http/work.ts'
import { holdfastSteps } from './parts/core.ts'
import type { Spread } from './report/stats.ts'
import { spreadOf } from './report/stats.ts'

const STORES = ['memory', 'near', 'redis'] as const
const STARTS = 5
const [rounds = 8, requests = 3000, sessions = 1000] = process.argv.slice(2).map(Number)

keepToCore(process.pid, LOADING_CORE)
const redis = await startRedis()
keepToCore(redis.pid, LOADING_CORE)
const measured: Round[][] = STORES.map(() => [])
// The same program is faster or slower by a few hundredths each time it is started.
for (let start = 0; start < STARTS; start++) {
  const subjects: Subject[] = []
  for (const store of STORES) {
    const order = { setup: 'holdfast/node', store, bytes: 1024, redisUrl: redis.url }
    subjects.push(await Subject.start({ ...order, sessions, connections: 32 }))
  }
  for (let round = 0; round < rounds; round++)
    for (const [i, subject] of subjects.entries())
      measured[i]!.push(...(await subject.rounds('read', 1, requests)))
  for (const subject of subjects) await subject.stop()
}

console.log(`${STARTS} starts, ${rounds} rounds of ${requests} reads, ${sessions} sessions of 1 KB`)
for (const [i, store] of STORES.entries()) {
  /** A figure of each round, and what it is of the memory store's in the same round. */
  const of = (figure: (round: Round) => number): string =>
    `${said(spreadOf(measured[i]!.map(figure)), 0)}, ×${said(spreadOf(measured[i]!.map((round, n) => figure(round) / figure(measured[0]![n]!))), 2)}`
  console.log(
    `${store}: requests/s ${of(({ rate }) => rate)}; CPU µs a request ${of((round) => round.measured)}; busy ${said(spreadOf(measured[i]!.map(({ busy }) => busy)), 2)}`,
  )
}

const near = new RedisSessionStore({ url: redis.url, nearCache: true })
const cores = await Promise.all(
  [new MemorySessionStore(), near].map((store) => holdfastSteps({ sessions, data: appData(1024), store })),
)
const times: number[][] = [[], []]
let waits = 0
for (let round = 0; round < 4 * rounds; round++)
  for (const [i, { read }] of cores.entries()) {
    for (let n = 0; n < sessions; n++) await read()
    let time = 0
    for (let batch = 0; batch < 20; batch++) {
      // Between batches Redis is heard, as between requests.
      await nextTurn()
      const began = performance.now()
      for (let n = 0; n < 200; n++) {
        const reading = read()
        if (reading instanceof Promise) {
          waits++
          await reading
        }
      }
      time += performance.now() - began
    }
    times[i]!.push((1000 * time) / 4000)
  }
console.log(
  `without HTTP: memory ${said(spreadOf(times[0]!), 2)} µs a read, near ${said(spreadOf(times[1]!), 2)} µs; reads/s ×${said(spreadOf(times[1]!.map((time, n) => times[0]![n]! / time)), 2)}; ${waits} of ${times[1]!.length * 4000} were waited for`,
)
await near.close()
await redis.stop()

function said({ median, low, high }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
}

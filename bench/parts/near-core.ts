/** Part `near`, in a process of its own: reads of sessions at hand without HTTP, those of the memory store beside those with `nearCache`. */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { MemorySessionStore } from 'holdfast'
import { RedisSessionStore } from 'holdfast/redis'

import { appData } from '../http/work.ts'
import type { Spread } from '../report/stats.ts'
import { spreadOf } from '../report/stats.ts'
import { answerOrders } from './child.ts'
import { holdfastSteps } from './core.ts'

export interface NearCoreOrder {
  readonly redisUrl: string
  readonly sessions: number
  readonly rounds: number
}

export interface NearCore {
  /** Microseconds a read. */
  readonly memory: Spread
  readonly near: Spread
  /** Reads a second with the near cache, over those of the memory store in the same round. */
  readonly ofMemory: Spread
  /** The share of reads with the near cache that had to be waited for. */
  readonly waited: number
}

const BATCHES = 20
const BATCH = 200

answerOrders(async ({ redisUrl, sessions, rounds }: NearCoreOrder): Promise<NearCore> => {
  const near = new RedisSessionStore({ url: redisUrl, nearCache: true })
  const cores = await Promise.all(
    [new MemorySessionStore(), near].map((store) => holdfastSteps({ sessions, data: appData(1024), store })),
  )
  const times: number[][] = [[], []]
  let waits = 0
  for (let round = 0; round < rounds; round++)
    for (const [i, { read }] of cores.entries()) {
      for (let n = 0; n < sessions; n++) await read()
      let time = 0
      for (let batch = 0; batch < BATCHES; batch++) {
        // Between batches Redis is heard, as between requests.
        await nextTurn()
        const began = performance.now()
        for (let n = 0; n < BATCH; n++) {
          const reading = read()
          if (!(reading instanceof Promise)) continue
          waits++
          await reading
        }
        time += performance.now() - began
      }
      times[i]!.push((1000 * time) / (BATCHES * BATCH))
    }
  await near.close()
  const [memory, ofNear] = times as [number[], number[]]
  return {
    memory: spreadOf(memory),
    near: spreadOf(ofNear),
    ofMemory: spreadOf(ofNear.map((time, round) => memory[round]! / time)),
    waited: waits / (rounds * BATCHES * BATCH),
  }
})

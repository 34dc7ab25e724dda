/** CPU time of code within this process: of what is waited for too, and whatever else the machine does meanwhile. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import type { Spread } from './stats.ts'
import { spreadOf } from './stats.ts'

export type Step = () => unknown

export interface Cost {
  /** Microseconds of CPU time. */
  readonly cpu: Spread
  /** Bytes allocated on the heap. */
  readonly heap: number
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

export interface CostOptions {
  readonly rounds: number
  /** How often a step runs in a round. */
  readonly batch: number
  /** How often it runs before the first one: until the code is compiled for good, thousands of times. */
  readonly warmUp: number
}

/** Runs all steps in turns, `batch` times each, and so for `rounds` rounds. */
export async function costsOf(
  steps: ReadonlyMap<string, Step>,
  { rounds, batch, warmUp }: CostOptions,
): Promise<Map<string, Cost>> {
  const times = new Map<string, number[]>()
  for (const [name, step] of steps) {
    times.set(name, [])
    await repeat(step, warmUp)
  }
  for (let round = 0; round < rounds; round++)
    for (const [name, step] of steps) {
      const before = process.cpuUsage()
      await repeat(step, batch)
      const { user, system } = process.cpuUsage(before)
      times.get(name)!.push((user + system) / batch)
    }
  const costs = new Map<string, Cost>()
  for (const [name, step] of steps)
    costs.set(name, { cpu: spreadOf(times.get(name)!), heap: await heapOf(step) })
  return costs
}

/** Few enough that no collection comes between. */
const UNCOLLECTED = 200

async function heapOf(step: Step): Promise<number> {
  const tries: number[] = []
  for (let i = 0; i < 7; i++) {
    collect()
    const before = process.memoryUsage().heapUsed
    await repeat(step, UNCOLLECTED)
    tries.push((process.memoryUsage().heapUsed - before) / UNCOLLECTED)
  }
  return Math.max(0, Math.round(spreadOf(tries).median))
}

/** Promises are awaited, and values at hand are not. */
async function repeat(step: Step, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const result = step()
    if (result instanceof Promise) await result
  }
}

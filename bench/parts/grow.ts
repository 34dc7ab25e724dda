/** Part `growth`: what a request costs as data, keys, sessions and parallel requests grow. */
import { Subject } from '../http/subject.ts'
import type { Progress } from '../report/progress.ts'
import { spreadOf } from '../report/stats.ts'
import { inChild } from './child.ts'
import type { GrowthOptions, GrowthPoint } from './growth.ts'

export interface Growth {
  readonly along: string
  readonly unit: string
  /** Microseconds of CPU time a request, for each value. */
  readonly points: readonly { readonly value: number; readonly costs: Readonly<Record<string, number>> }[]
}

const IN_PROCESS: readonly { along: GrowthOptions['along']; unit: string; values: readonly number[] }[] = [
  { along: 'bytes', unit: 'bytes of data', values: [128, 512, 2048, 8192, 32_768, 65_000] },
  { along: 'keys', unit: 'keys that 8 KB are spread over', values: [1, 4, 16, 64, 256] },
  { along: 'sessions', unit: 'sessions in rotation, 200 B each', values: [1000, 10_000, 100_000, 1_000_000] },
]

const PARALLEL = [1, 4, 16, 64, 256, 512]
const SERVED = ['floor', 'holdfast/node', 'express-session'] as const

/** @param short only the first two values of each */
export async function measureGrowth(short: boolean, progress: Progress): Promise<Growth[]> {
  const some = <V>(values: readonly V[]): readonly V[] => (short ? values.slice(0, 2) : values)
  progress.expect(IN_PROCESS.reduce<number>((sum, { values }) => sum + some(values).length, SERVED.length))
  const results: Growth[] = []
  for (const { along, unit, values } of IN_PROCESS) {
    const points: Growth['points'][number][] = []
    for (const value of some(values)) {
      progress.say(`${value} ${unit}`)
      const rounds = short ? { rounds: 3, batch: 50, warmUp: 50 } : { rounds: 15, batch: 400, warmUp: 40_000 }
      const order: GrowthOptions = { along, value, ...rounds }
      points.push({ value, costs: await inChild<GrowthPoint>('growth.ts', order) })
      progress.step()
    }
    results.push({ along, unit, points })
  }
  const served = new Map<string, readonly number[]>()
  for (const setup of SERVED) {
    progress.say(`${setup}, parallel requests`)
    served.set(setup, await overConnections(setup, some(PARALLEL), short))
    progress.step()
  }
  const points = some(PARALLEL).map((value, i) => ({
    value,
    costs: Object.fromEntries([...served].map(([setup, costs]) => [setup, costs[i]!])),
  }))
  return [...results, { along: 'parallel', unit: 'requests in parallel', points }]
}

/** All of the server's CPU time a request, HTTP included, for a read from the memory store. */
async function overConnections(
  setup: string,
  parallel: readonly number[],
  short: boolean,
): Promise<number[]> {
  const costs: number[] = []
  for (const connections of parallel) {
    const subject = await Subject.start({
      setup,
      store: 'memory',
      redisUrl: '',
      bytes: 1024,
      sessions: 1000,
      connections,
    })
    const rounds = await subject.rounds('read', short ? 2 : 9, short ? 300 : 2000)
    costs.push(spreadOf(rounds.map(({ measured }) => measured)).median)
    await subject.stop()
  }
  return costs
}

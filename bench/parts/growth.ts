/** Part `growth`, in a process of its own: what a request costs the core as data, keys and sessions grow, beside the floor. */
import { appData } from '../http/work.ts'
import type { CostOptions, Step } from '../report/cost.ts'
import { costsOf } from '../report/cost.ts'
import { answerOrders } from './child.ts'
import { floorSteps, holdfastSteps } from './core.ts'

export interface GrowthOptions extends CostOptions {
  /** What grows: bytes of data, keys it is spread over, or sessions in rotation. */
  readonly along: 'bytes' | 'keys' | 'sessions'
  readonly value: number
}

/** Microseconds of CPU time a request, by what it does. */
export type GrowthPoint = Readonly<Record<'read' | 'write' | 'floor read' | 'floor write', number>>

answerOrders(async ({ along, value, ...rounds }: GrowthOptions): Promise<GrowthPoint> => {
  const bytes = along === 'bytes' ? value : along === 'keys' ? 8192 : 200
  const options = {
    sessions: along === 'sessions' ? value : 1000,
    data: appData(bytes, along === 'keys' ? value : 0),
  }
  const holdfast = await holdfastSteps(options)
  const floor = await floorSteps(options)
  const steps = new Map<keyof GrowthPoint, Step>([
    ['read', holdfast.read],
    ['write', holdfast.write],
    ['floor read', floor.read],
    ['floor write', floor.write],
  ])
  const costs = await costsOf(steps, rounds)
  return Object.fromEntries([...costs].map(([name, { cpu }]) => [name, cpu.median])) as GrowthPoint
})

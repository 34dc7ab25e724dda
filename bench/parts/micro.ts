/** Part `micro`, in a process of its own: what the core costs without HTTP, in time and in bytes allocated. */
import { appData } from '../http/work.ts'
import type { Cost, CostOptions, Step } from '../report/cost.ts'
import { costsOf } from '../report/cost.ts'
import { floorSteps, holdfastSteps } from './core.ts'
import { answerOrders } from './child.ts'

export interface MicroRow extends Cost {
  readonly name: string
}

const FEW = 400

answerOrders(async (rounds: CostOptions): Promise<MicroRow[]> => {
  const options = { sessions: 10_000, data: appData(1024) }
  let now = Date.now()
  const clock = { now: () => now, sleep: () => new Promise<void>(() => {}) }
  const holdfast = await holdfastSteps(options)
  const aging = await holdfastSteps({ ...options, sessions: FEW, clock })
  const floor = await floorSteps(options)
  const steps = new Map<string, Step>()
  for (const [name, step] of Object.entries(holdfast)) steps.set(name, step)
  steps.set('read, touch due', () => {
    // A touch is due after 60 s, and a session comes again when all have had their turn.
    now += 61_000 / FEW
    return aging.read()
  })
  for (const [name, step] of Object.entries(floor)) steps.set(`floor: ${name}`, step)
  const costs = await costsOf(steps, rounds)
  return [...costs].map(([name, cost]) => ({ name, ...cost }))
})

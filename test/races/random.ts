import fc from 'fast-check'

import type { Exploration } from './explore.ts'
import { emptyExploration, explain, follow } from './explore.ts'
import type { Kind, Scenario } from './scenario.ts'
import { INITIALS, KINDS, MODES } from './scenario.ts'
import type { Backend, Variant } from './scheduler.ts'

/** How {@link goAtRandom} picks orders. */
export interface RandomOptions {
  readonly runs: number
  /** What is in every scenario. */
  readonly with?: readonly Kind[]
  /** What else there may be. Default: everything. */
  readonly among?: readonly Kind[]
  /** How many requests. Default: 4 to 6. */
  readonly size?: readonly [least: number, most: number]
  readonly initials?: readonly Scenario['initial'][]
  readonly faults?: Scenario['faults']
  readonly variant?: Variant
}

/** The seed of this run: give it as HOLDFAST_RACES_SEED to take the same orders again. */
export const SEED = Number(process.env['HOLDFAST_RACES_SEED'] ?? Date.now() & 0x7fffffff)

/** The rounds of a test, or many times as many under HOLDFAST_RACES=all. */
export const isThorough = process.env['HOLDFAST_RACES'] === 'all'

/**
 * Goes through orders at random.
 * @throws Error with the shortest order found that broke a rule
 */
export async function goAtRandom(backend: Backend, options: RandomOptions): Promise<Exploration> {
  const { runs, among = KINDS, size = [4, 6], initials = INITIALS, faults, variant } = options
  const given = options.with ?? []
  const total = emptyExploration()
  const scenario = fc.record({
    kinds: fc
      .array(fc.constantFrom(...among), {
        minLength: size[0] - given.length,
        maxLength: size[1] - given.length,
      })
      .map((others): Kind[] => [...given, ...others]),
    initial: fc.constantFrom(...initials),
    mode: fc.constantFrom(...MODES),
    faults: fc.constant(faults ?? {}),
  })
  const choices = fc.array(fc.nat({ max: 9999 }), { minLength: LONGEST, maxLength: LONGEST })
  const property = fc.asyncProperty(scenario, choices, async (of, by) => {
    const { findings, orders, steps } = await follow(of, by, { backend, variant })
    total.orders += orders
    total.steps += steps
    const [finding] = findings.values()
    if (finding !== undefined) throw new Error(explain(finding))
  })
  // What is broken on purpose need not be broken in the shortest way.
  const endOnFailure = variant !== undefined
  await fc.assert(property, { numRuns: isThorough ? 50 * runs : runs, seed: SEED, endOnFailure })
  return total
}

/** More steps than any order of six requests takes. */
const LONGEST = 120

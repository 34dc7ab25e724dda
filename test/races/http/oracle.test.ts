import { afterAll, beforeAll, expect, test } from 'vitest'

import { seeded } from '../../../src/testing/_store-model.ts'
import type { MutantName } from './mutants.ts'
import { MUTANTS } from './mutants.ts'
import type { Violation } from './oracle.ts'
import { judge } from './oracle.ts'
import { ADAPTERS } from './protocol.ts'
import { playRound } from './round.ts'
import { SCENARIO_NAMES, SCENARIOS } from './scenarios.ts'
import { Cluster } from './servers.ts'

/** After so many rounds, a mutant that nobody has noticed is an oracle that has failed. */
const MOST_ROUNDS = 40 * SCENARIO_NAMES.length

let cluster: Cluster
beforeAll(async () => {
  cluster = await Cluster.start('memory')
})
afterAll(() => cluster.stop())

const rows: string[] = []
afterAll(() => {
  console.log(
    [
      'What the races find in broken code',
      '| broken | rounds | violations |',
      '| --- | --: | --- |',
      ...rows,
    ].join('\n'),
  )
})

for (const [name, kind] of Object.entries(MUTANTS) as [MutantName, Violation['kind']][])
  test(`where ${name}, the same races count: ${kind}`, async () => {
    const counts = new Map<Violation['kind'], number>()
    let round = 0
    for (; round < MOST_ROUNDS && !counts.has(kind); round++) {
      const random = seeded(round)
      const plan = SCENARIOS[SCENARIO_NAMES[round % SCENARIO_NAMES.length]!](random)
      const history = await playRound(cluster, ADAPTERS[random(ADAPTERS.length)]!, plan, random, name)
      for (const found of judge(history)) counts.set(found.kind, (counts.get(found.kind) ?? 0) + 1)
    }
    rows.push(`| ${name} | ${round} | ${[...counts].map(([kind, count]) => `${kind} ${count}`).join(', ')} |`)
    expect(counts.get(kind)).toBeGreaterThan(0)
    // It is the last of them: it ends the process, and says why.
    if (name === 'a promise is rejected, and nobody looks')
      expect(cluster.troubles().join('\n')).toContain('made to reject')
    else expect(cluster.troubles()).toEqual([])
  })

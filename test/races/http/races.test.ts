import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'

import { seeded } from '../../../src/testing/_store-model.ts'
import { judge } from './oracle.ts'
import { ADAPTERS, STORES } from './protocol.ts'
import type { AdapterName, StoreName } from './protocol.ts'
import { playRound } from './round.ts'
import type { ScenarioName } from './scenarios.ts'
import { SCENARIO_NAMES, SCENARIOS } from './scenarios.ts'
import { Cluster } from './servers.ts'

/** `HOLDFAST_RACES_SEED` plays the same rounds again; `HOLDFAST_RACES=all` plays many more. */
const SEED = Number(process.env.HOLDFAST_RACES_SEED ?? Date.now() % 1_000_000)
const ROUNDS = process.env.HOLDFAST_RACES === 'all' ? 100 : 4

vi.setConfig({ testTimeout: 60_000 + ROUNDS * 2000 })

interface Row {
  readonly scenario: ScenarioName
  readonly store: StoreName
  readonly servers: number
  readonly requests: number
  readonly steps: number
  readonly violations: ReadonlyMap<AdapterName, number>
}

const rows: Row[] = []

for (const store of STORES)
  describe(`on ${store}`, () => {
    let cluster: Cluster
    beforeAll(async () => {
      cluster = await Cluster.start(store)
    })
    afterAll(() => cluster.stop())

    for (const scenario of SCENARIO_NAMES)
      test(`${scenario}: nothing is lost, nothing rises, nobody is mistaken for another`, async () => {
        const violations = new Map<AdapterName, number>(ADAPTERS.map((adapter) => [adapter, 0]))
        const told: string[] = []
        let requests = 0
        let steps = 0
        for (const adapter of ADAPTERS)
          for (let round = 0; round < ROUNDS; round++) {
            const random = seeded(seedOf(store, adapter, scenario, round))
            const plan = SCENARIOS[scenario](random)
            const history = await playRound(cluster, adapter, plan, random)
            requests += history.exchanges.length
            steps += history.stored.length
            const found = judge(history)
            if (found.length === 0) continue
            violations.set(adapter, violations.get(adapter)! + found.length)
            told.push(
              [
                `${adapter}, round ${round} of HOLDFAST_RACES_SEED=${SEED}:`,
                ...found.map(({ kind, what }) => `${kind}: ${what}`),
                ...history.log,
              ].join('\n'),
            )
          }
        rows.push({ scenario, store, servers: cluster.servers.length, requests, steps, violations })
        expect(told.join('\n\n')).toBe('')
        expect(cluster.troubles()).toEqual([])
      })
  })

afterAll(() => {
  const columns = ADAPTERS.map((adapter) => ` by ${adapter} |`).join('')
  console.log(
    [
      `Races over HTTP, ${ROUNDS} rounds by each adapter, and what was violated. HOLDFAST_RACES_SEED=${SEED} plays them again.`,
      `| scenario | store | servers | requests | store operations |${columns}`,
      `| --- | --- | --: | --: | --: |${ADAPTERS.map(() => ' --: |').join('')}`,
      ...rows
        .map(({ scenario, store, servers, requests, steps, violations }) =>
          [scenario, store, servers, requests, steps, ...violations.values()].join(' | '),
        )
        .map((row) => `| ${row} |`),
    ].join('\n'),
  )
})

function seedOf(...parts: readonly (StoreName | AdapterName | ScenarioName | number)[]): number {
  return [...`${SEED} ${parts.join(' ')}`].reduce(
    (hash, char) => (Math.imul(hash, 31) + char.charCodeAt(0)) | 0,
    7,
  )
}

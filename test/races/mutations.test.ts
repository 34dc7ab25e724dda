import { afterAll, describe, expect, test } from 'vitest'

import { memoryBackend } from './backends.ts'
import { BREAKAGES } from './broken.ts'
import { explain, explore } from './explore.ts'
import { RULES } from './model.ts'

// Each check of the explorer has been seen to fail: here, with the safeguard that it guards taken out.
describe('The explorer finds out when', () => {
  const traces: string[] = []
  afterAll(() => console.log(traces.join('\n\n')))

  test.each(BREAKAGES)('$name', async ({ variant, rule, name, ...scenario }) => {
    const backend = memoryBackend()
    const { findings } = await explore(scenario, { backend, variant })
    expect([...findings.keys()]).toContain(rule)
    traces.push(`When ${name}:\n  ${explain(findings.get(rule)!)}`)
    // And it is this safeguard, nothing else.
    expect((await explore(scenario, { backend })).findings.size).toBe(0)
  })

  test('any rule is broken: there is a breakage for each', () => {
    expect(RULES.filter((rule) => !BREAKAGES.some((breakage) => breakage.rule === rule))).toEqual([])
  })
})

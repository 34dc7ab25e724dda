import { availableParallelism } from 'node:os'

import { defineConfig } from 'vitest/config'

const FAULTS = 'test/faults/**/*.test.ts'

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'all but faults',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: [FAULTS],
          // Also on two cores, where vitest would take one: many tests wait for servers and browsers, not for the processor.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: [FAULTS],
          // One after the other, when the rest is done: they hold answers against deadlines.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})

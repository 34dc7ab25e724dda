import { availableParallelism } from 'node:os'

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Also on two cores, where vitest would take one: many tests wait for servers, browsers and deadlines, not for the processor.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
})

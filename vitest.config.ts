import { availableParallelism } from 'node:os'

import { defineConfig } from 'vitest/config'

import { STOOD_STILL } from './test/support/stalls/stalls.ts'

/** What holds answers against deadlines, or real time against that of servers. */
const TIMED = ['test/faults/**/*.test.ts', 'test/stores/**/*.test.ts', 'test/sockets/**/*.test.ts']

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 120_000,
    globalSetup: 'test/support/stalls/global-setup.ts',
    setupFiles: 'test/support/stalls/setup.ts',
    // No test is run again for any other reason.
    retry: { count: 3, condition: STOOD_STILL },
    projects: [
      {
        extends: true,
        test: {
          name: 'untimed',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: TIMED,
          // Also on two cores, where vitest would take one: many tests wait for servers and browsers, not for the processor.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'timed',
          include: TIMED,
          // One after the other, when the rest is done.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})

import { readFileSync } from 'node:fs'

/** Milliseconds. What is shorter, tests must bear. */
export const LEAST = 250

/** What a test that failed is told to have failed for, where the machine stood still; such a one is run again. */
export const STOOD_STILL = /^The machine stood still/

/** For how many milliseconds in all the machine stood still since a moment, in epoch milliseconds, as the watcher noted it. */
export function stalledSince(moment: number, file: string): number {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(' ').map(Number))
    .filter(([, to]) => to !== undefined && to >= moment)
    .reduce((sum, [from, to]) => sum + to! - from!, 0)
}

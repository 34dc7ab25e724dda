import { readFileSync } from 'node:fs'

/** Milliseconds. What is shorter, tests must bear. */
export const LEAST = 250

const SAYING = 'The machine stood still'

/** Tells the failures that {@link stoodStill} made. */
export const STOOD_STILL = new RegExp(`^${SAYING}`)

/** What a test fails with beside its own failure, to be run again, where the machine stood still for so many milliseconds. */
export function stoodStill(ms: number): Error {
  return new Error(`${SAYING} for ${ms} ms while this went on.`)
}

/** For how many milliseconds in all the machine stood still since a moment, in epoch milliseconds, as the watcher noted it. */
export function stalledSince(moment: number, file: string): number {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(' ').map(Number))
    .filter(([, to]) => to !== undefined && to >= moment)
    .reduce((sum, [from, to]) => sum + to! - from!, 0)
}

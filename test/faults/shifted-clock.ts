/** The machine's clock, set wrong. To be imported before anything that takes hold of `Date.now`. */

const { now } = Date
let shift = 0

Date.now = () => now() + shift

/** Sets the clock of this process wrong by so many milliseconds; what measures time as it passes goes on unmoved. */
export function shiftClock(ms: number): void {
  shift = ms
}

/** A median, and the quartiles around it. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

export function spreadOf(values: Iterable<number>): Spread {
  const sorted = Float64Array.from(values).sort()
  return { median: percentile(sorted, 0.5), low: percentile(sorted, 0.25), high: percentile(sorted, 0.75) }
}

/** @param sorted in rising order */
export function percentile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return NaN
  const at = share * (sorted.length - 1)
  const below = sorted[Math.floor(at)]!
  return below + (sorted[Math.ceil(at)]! - below) * (at % 1)
}

/** What the demo remembers of each visitor. */
export interface AppSession {
  visits?: number
  cart?: CartLine[]
  /** Flashed: the next page shows it, once. */
  notice?: string
  /** The last run of the twenty parallel requests. */
  run?: Run
  counter?: number
  /** How many of them were being served at the same time, at most. */
  atOnce?: number
  /** A key for each of them. */
  [slot: `slot${number}`]: number
}

export interface CartLine {
  sku: string
  quantity: number
}

export interface Run {
  startedAt: number
  /** Milliseconds; missing while it runs. */
  elapsed?: number
  /** What was left of the same twenty writes where the last one wins. */
  lastWriteWins?: number[]
}

export const SLOTS: readonly number[] = Array.from({ length: 20 }, (_, index) => index + 1)

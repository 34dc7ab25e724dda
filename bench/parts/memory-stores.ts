import type { Spread } from '../report/stats.ts'

/** What sessions in memory are kept in: the stores that are compared. `Map` is the least there can be, and no store. */
export const MEMORY_STORES = ['holdfast', 'express-session', 'memorystore', 'lru-cache', 'Map'] as const
export type MemoryStoreName = (typeof MEMORY_STORES)[number]

export interface MemoryOptions {
  readonly store: MemoryStoreName
  readonly sessions: number
}

export interface MemoryResult {
  readonly store: MemoryStoreName
  /** Bytes of heap a session. */
  readonly heap: number
  /** Microseconds of CPU time an operation. */
  readonly get: Spread
  readonly set: Spread
  /** Sweeping the half of them that has expired: milliseconds it takes, and the longest that the event loop stood still. */
  readonly sweep: { readonly took: number; readonly stall: number; readonly removed: number } | null
  /** Whether, at its cap, it lets go of what was used longest ago, and keeps what was used just now. */
  readonly eviction: 'least recently used' | 'something else' | 'no cap'
}

import type { Decision } from '../../../src/answer.ts'
import type { StoreOperation } from '../../../src/testing/faulty-store.ts'
import type { SessionData } from '../../../src/stores/session-data.ts'
import type { Mark } from '../../../src/stores/store.ts'
import type { MutantName } from './mutants.ts'

export const ADAPTERS = ['node', 'express', 'fetch', 'hono'] as const
export type AdapterName = (typeof ADAPTERS)[number]

export const STORES = ['memory', 'sqlite', 'redis'] as const
export type StoreName = (typeof STORES)[number]

/** One thing that a request's handler does, in its turn. */
export type Step =
  | { readonly do: 'set'; readonly key: string; readonly value: string }
  | { readonly do: 'update'; readonly key: string }
  | { readonly do: 'sign in'; readonly user: string }
  | { readonly do: 'set expiry'; readonly seconds: number }
  | { readonly do: 'rotate' | 'destroy' | 'save' | 'throw' }
  /** Waits until the test lets it go on. */
  | { readonly do: 'pause' }
  /** Sends the answer's head; the rest follows in its body. */
  | { readonly do: 'head' }

/** How a request tells the handler which it is, and what to do. */
export const HEADERS = { request: 'x-request', steps: 'x-steps' } as const

/** What a handler saw and heard, as it came to its end or threw. */
export interface Report {
  readonly request: number
  /** The session as the handler found it. */
  readonly seen: { readonly user: string | null; readonly data: Record<string, unknown> }
  /** How each `save` ended, and under which id. */
  readonly saves: readonly { readonly outcome: string; readonly id: string }[]
  /** How many steps were done. */
  readonly done: number
  readonly error: string | null
}

/** Where servers wait for the test: nowhere, in handlers, or before (and after) every store operation too. */
export type Gating = 'none' | 'handlers' | 'before' | 'around'

/** What the test tells a server. */
export type ToServer =
  /** Lets those go on that wait at these points. */
  | { readonly kind: 'go'; readonly points: readonly number[] }
  | { readonly kind: 'gate'; readonly gating: Gating; readonly mutant: MutantName | null }
  /** What time it is, in epoch milliseconds. */
  | { readonly kind: 'time'; readonly now: number }
  /** Asks to be told when nothing goes on any more, and these requests have arrived. */
  | { readonly kind: 'settle'; readonly requests: readonly number[] }
  /** Asks what stands under these ids. */
  | { readonly kind: 'look'; readonly ids: readonly string[] }

/** What a server tells the test. */
export type FromServer =
  | { readonly kind: 'ready'; readonly ports: Readonly<Record<AdapterName, number>> }
  | { readonly kind: 'seen' | 'over'; readonly request: number }
  | { readonly kind: 'waiting'; readonly point: number; readonly request: number | null; readonly at: string }
  | { readonly kind: 'reported'; readonly report: Report }
  | { readonly kind: 'decided'; readonly request: number; readonly decision: Decision }
  | Stored
  | { readonly kind: 'settled' }
  /** The process is no more. */
  | { readonly kind: 'ended' }
  | { readonly kind: 'looked'; readonly found: Readonly<Record<string, Found>> }

/** A store operation, carried out. */
export interface Stored {
  readonly kind: 'stored'
  readonly request: number | null
  readonly operation: StoreOperation
  readonly id: string
  /** Of `end`. */
  readonly mark: Mark | null
  /** Whether it found, or did, what was asked; of `load`: a record. */
  readonly ok: boolean
  /** When, by the server's clock; and until when what it wrote is to stand. */
  readonly at: number
  readonly until: number | null
  /** Of `load`, `create` and `replace`: the last activity in the record. */
  readonly touchedAt: number | null
}

/** What stands under an id. */
export type Found =
  | {
      readonly kind: 'live'
      readonly user: string | null
      readonly data: Record<string, unknown>
      readonly expiresAt: number | null
    }
  | { readonly kind: 'mark'; readonly mark: Mark }
  | null

export function foundOf(found: SessionData | Mark | null): Found {
  if (found === null) return null
  if ('kind' in found) return { kind: 'mark', mark: found }
  return { kind: 'live', user: found.userId, data: found.data, expiresAt: found.expiresAt }
}

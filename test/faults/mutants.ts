import { SessionData } from '../../src/stores/session-data.ts'
import type { Mark, SessionStore } from '../../src/stores/store.ts'
import { isMark } from '../../src/stores/store.ts'
import { ForwardingStore } from '../support/forwarding-store.ts'

/** Ways to break a server on purpose: for each, the witness must see what it is there to see. */
export const MUTANTS = [
  'writes are lost',
  'updates are made twice',
  'sign-outs are lost',
  'visitors are mixed up',
  'errors clear the cookie',
  'nothing has a deadline',
  'a rejection is nobody’s',
  'caches are told nothing',
] as const

export type Mutant = (typeof MUTANTS)[number]

/** A store that goes wrong once in a while in the way of a mutant. */
export class MutantStore extends ForwardingStore {
  readonly #mutant: Mutant
  #turns = 0
  #before: SessionData | null = null

  constructor(inner: SessionStore, mutant: Mutant) {
    super(inner)
    this.#mutant = mutant
  }

  override async load(id: string): Promise<SessionData | Mark | null> {
    if (this.#is('a rejection is nobody’s', 50)) void Promise.reject(new Error('nobody’s'))
    const found = await this.inner.load(id)
    if (found === null || isMark(found)) return found
    const other = this.#before
    this.#before = found
    return other !== null && this.#is('visitors are mixed up', 20) ? other : found
  }

  override async replace(
    id: string,
    data: SessionData,
    expectedVersion: string,
    ttl: number,
  ): Promise<boolean> {
    if (this.#is('writes are lost', 20)) return true
    return this.inner.replace(
      id,
      this.#is('updates are made twice', 20) ? counted(data) : data,
      expectedVersion,
      ttl,
    )
  }

  override async end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    if (mark.reason === 'destroyed' && this.#is('sign-outs are lost', 2)) return true
    return this.inner.end(id, mark, expectedVersion)
  }

  /** Whether it is this mutant's turn: every so many times. */
  #is(mutant: Mutant, every: number): boolean {
    return this.#mutant === mutant && ++this.#turns % every === 0
  }
}

/** The record with its counter one further. */
function counted(record: SessionData): SessionData {
  const { id, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, data } = record
  const n = Number(data.count ?? 0) + 1
  return new SessionData({
    id,
    version,
    userId,
    createdAt,
    updatedAt,
    touchedAt,
    expiresAt,
    flash,
    data: { ...data, count: n },
  })
}

import { clearCookie } from '../../../src/cookie/write.ts'
import type { Sessions } from '../../../src/sessions.ts'
import type { SessionDataInit } from '../../../src/stores/session-data.ts'
import { SessionData } from '../../../src/stores/session-data.ts'
import type { Mark } from '../../../src/stores/store.ts'
import { isMark, withTouchedAt } from '../../../src/stores/store.ts'
import { ForwardingStore } from '../../support/forwarding-store.ts'
import type { Violation } from './oracle.ts'

/** Ways to break what is under test: each takes one safeguard out, and has the oracle find what that one is there to prevent. */
export const MUTANTS = {
  'replace goes over any version': 'lost write',
  'replace is not carried out': 'lost write',
  'replace forgets the deadline': 'lost write',
  'replace adds to what it is given': 'unacknowledged write',
  'replace creates': 'risen session',
  'touch creates': 'risen session',
  'load finds what has run out': 'risen session',
  'a rotation leaves the old id': 'risen session',
  'a rotation ends the new id': 'lost session',
  'a rotation that came too late is not withdrawn': 'orphan record',
  'a session is said to be gone that is not': 'refused',
  'load mixes sessions up': 'wrong user',
  'end leaves no mark': 'cookie overwritten',
  'gone clears the cookie': 'cookie overwritten',
  'the store fails now and then': 'server error',
  'a promise is rejected, and nobody looks': 'server error',
} as const satisfies Record<string, Violation['kind']>

export type MutantName = keyof typeof MUTANTS

/** A store with a safeguard taken out, or none. */
export class MutantStore extends ForwardingStore {
  name: MutantName | null = null
  readonly #known = new Map<string, SessionData>()
  #calls = 0
  #hidden: string | null = null

  override async load(id: string): Promise<SessionData | Mark | null> {
    if (this.#is('the store fails now and then') && this.#isTurn(10)) throw new Error('made to fail')
    if (this.#is('a promise is rejected, and nobody looks')) void Promise.reject(new Error('made to reject'))
    const found = await this.inner.load(id)
    const known = this.#known.get(id)
    if (found === null && known !== undefined && this.#is('load finds what has run out')) {
      const renewed = withTouchedAt(known, this.clock.now())
      await this.inner.set(id, renewed, 60)
      return renewed
    }
    if (found === null || isMark(found)) return found
    if (this.#hidden === id) {
      this.#hidden = null
      return null
    }
    if (this.#is('load mixes sessions up') && this.#isTurn(3))
      return [...this.#known.values()].findLast((other) => other.id !== id) ?? found
    this.#known.set(id, found)
    return found
  }

  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    if (this.#is('replace is not carried out')) return this.inner.exists(id)
    if (this.#is('a session is said to be gone that is not') && this.#isTurn(5)) {
      this.#hidden = id
      return false
    }
    const next = this.#is('replace forgets the deadline')
      ? changed(data, { expiresAt: null })
      : this.#is('replace adds to what it is given')
        ? changed(data, { data: { ...data.data, more: true } })
        : data
    if (await this.inner.replace(id, next, expected, ttl)) return true
    const isThere = await this.inner.exists(id)
    if (!this.#is(isThere ? 'replace goes over any version' : 'replace creates')) return false
    await this.inner.set(id, data, ttl)
    return true
  }

  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    const { reason } = mark
    if (this.#is('a rotation leaves the old id') && reason === 'rotated') return true
    if (this.#is('a rotation that came too late is not withdrawn') && reason === 'withdrawn') return true
    const ended = await this.inner.end(id, mark, expected)
    if (ended && this.#is('end leaves no mark')) {
      await this.inner.set(id, new SessionData({ id }), 1)
      await this.inner.delete(id)
    }
    return ended
  }

  override async touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    // Only a rotation touches what was not loaded before: its new record, to give it its full time.
    if (this.#is('a rotation ends the new id') && !this.#known.has(id)) {
      await this.inner.delete(id)
      return true
    }
    if (await this.inner.touch(id, ttl, expected)) return true
    const known = this.#known.get(id)
    if (!this.#is('touch creates') || known === undefined || (await this.inner.exists(id))) return false
    await this.inner.set(id, withTouchedAt(known, this.clock.now()), ttl)
    return true
  }

  #is(name: MutantName): boolean {
    return this.name === name
  }

  #isTurn(every: number): boolean {
    return this.#calls++ % every === every - 1
  }
}

/** The one safeguard that is in the answers, and not in the store. */
export function breakAnswers(sessions: Sessions, mutant: MutantStore): void {
  const commitNow = sessions.commitNow.bind(sessions)
  sessions.commitNow = (session, status) => {
    const committed = commitNow(session, status)
    if (mutant.name !== 'gone clears the cookie') return committed
    return Promise.resolve(committed).then((commit) =>
      commit.outcome === 'gone'
        ? { ...commit, headers: [...commit.headers, ['Set-Cookie', clearCookie(sessions.cookie)] as const] }
        : commit,
    )
  }
}

function changed(record: SessionData, changes: SessionDataInit): SessionData {
  const { id, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, json } = record
  return new SessionData({
    ...{ id, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, data: json },
    ...changes,
  })
}

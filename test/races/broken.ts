import { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { isMark, withTouchedAt } from '../../src/stores/store.ts'
import { ForwardingStore } from '../support/forwarding-store.ts'
import type { Rule } from './model.ts'
import type { Faults, Initial, Kind, Mode } from './scenario.ts'
import type { Variant } from './scheduler.ts'

/** A safeguard taken out, and where that shows. */
export interface Breakage {
  /** What is wrong, as a sentence. */
  readonly name: string
  readonly variant: Variant
  readonly kinds: readonly Kind[]
  readonly initial: Initial
  readonly mode: Mode
  readonly faults?: Faults
  /** What comes of it. */
  readonly rule: Rule
}

class ReplacesAnyVersion extends ForwardingStore {
  override async replace(id: string, data: SessionData, _expected: string, ttl: number): Promise<boolean> {
    const present = await this.inner.get(id)
    return present !== null && this.inner.replace(id, data, present.version, ttl)
  }
}

class ReplaceCreates extends ForwardingStore {
  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    if (await this.inner.replace(id, data, expected, ttl)) return true
    if (await this.inner.exists(id)) return false
    await this.inner.set(id, data, ttl)
    return true
  }
}

class EndsAnyVersion extends ForwardingStore {
  override end(id: string, mark: Mark): Promise<boolean> {
    return this.inner.end(id, mark)
  }
}

class EndsWithoutMark extends ForwardingStore {
  override async end(id: string, _mark: Mark, expected?: string): Promise<boolean> {
    const present = await this.inner.get(id)
    if (present === null || (expected !== undefined && present.version !== expected)) return false
    return this.inner.delete(id)
  }
}

class EndsTheEnded extends ForwardingStore {
  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    const found = await this.inner.load(id)
    if (!isMark(found)) return this.inner.end(id, mark, expected)
    // A store that keeps the contract lets nothing else take a mark away.
    await this.inner.set(id, new SessionData({ id }), 60)
    return this.inner.end(id, mark)
  }
}

class ForgetsTheSuccessor extends ForwardingStore {
  override end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return this.inner.end(id, { ...mark, successor: null, sameUser: false }, expected)
  }
}

class TouchesAnyVersion extends ForwardingStore {
  override touch(id: string, ttl: number): Promise<boolean> {
    return this.inner.touch(id, ttl)
  }
}

/** Remembers the record that was read last, and writes it back: the touch of a store that has only `get` and `set`. */
class TouchWritesBack extends ForwardingStore {
  readonly #read = new Map<string, SessionData>()

  override async load(id: string): Promise<SessionData | Mark | null> {
    const found = await this.inner.load(id)
    if (found !== null && !isMark(found)) this.#read.set(id, found)
    return found
  }

  override async touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    const record = this.#read.get(id)
    if (record === undefined) return this.inner.touch(id, ttl, expected)
    await this.inner.set(id, withTouchedAt(record, record.touchedAt + 1), ttl)
    return true
  }
}

class KeepsPendingForGood extends ForwardingStore {
  override create(id: string, data: SessionData): Promise<boolean> {
    return this.inner.create(id, data, 3600)
  }
}

class NeverGivesFullTime extends ForwardingStore {
  override touch(): Promise<boolean> {
    return Promise.resolve(true)
  }
}

/** The core that ends the old id before it writes the new record. */
class EndsOldFirst extends ForwardingStore {
  readonly #waiting = new Map<string, () => Promise<boolean>>()

  override async create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    // A rotation's new record is known by its short life.
    if (ttl > 10) return this.inner.create(id, data, ttl)
    this.#waiting.set(id, () => this.inner.create(id, data, ttl))
    return true
  }

  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    const ended = await this.inner.end(id, mark, expected)
    if (ended && mark.successor !== null) await this.#waiting.get(mark.successor)?.()
    return ended
  }
}

/** The core that says `saved` when it has sent the write, not when it is confirmed. */
class SaysSavedFirst extends ForwardingStore {
  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    this.inner.replace(id, data, expected, ttl).catch(ignore)
    return true
  }
}

/** The core that signs out without waiting for the store. */
class SaysEndedFirst extends ForwardingStore {
  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    if (mark.reason !== 'destroyed') return this.inner.end(id, mark, expected)
    this.inner.end(id, mark, expected).catch(ignore)
    return true
  }
}

/** The core that takes a lost reply for a refusal, and what its own write left for somebody else's. */
class TakesLostForRefused extends ForwardingStore {
  override replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    const disguised = new SessionData({ ...data, data: data.json, version: `${data.version}, disguised` })
    return this.inner.replace(id, disguised, expected, ttl).catch(() => false)
  }
}

/** The core that takes a conflict for the end of the session. */
class TakesConflictForGone extends ForwardingStore {
  #wasRefused = false

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#wasRefused ? Promise.resolve(null) : this.inner.load(id)
  }

  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    const replaced = await this.inner.replace(id, data, expected, ttl)
    this.#wasRefused = !replaced
    return replaced
  }
}

/** The core that gives a sign-in up as soon as its base has ended. */
class RefusesToSignIn extends ForwardingStore {
  #hasEnded = true

  override async end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return (this.#hasEnded = await this.inner.end(id, mark, expected))
  }

  override touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    return this.#hasEnded ? this.inner.touch(id, ttl, expected) : Promise.resolve(false)
  }
}

/** The core that waits for good when another was first. */
class WaitsAtConflicts extends ForwardingStore {
  override async replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    return (await this.inner.replace(id, data, expected, ttl)) || new Promise(() => {})
  }
}

/** The core to which an ended session is an error. */
class FailsAtMarks extends ForwardingStore {
  override async load(id: string): Promise<SessionData | Mark | null> {
    const found = await this.inner.load(id)
    if (isMark(found)) throw new Error('The session has ended.')
    return found
  }
}

/** The core whose rotations write the new record for good, and do not take it back when another was first. */
class LeavesWhatItWithdraws extends KeepsPendingForGood {
  override end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return mark.reason === 'withdrawn' ? Promise.resolve(true) : this.inner.end(id, mark, expected)
  }
}

/** The core that goes on under the id that the browser sent, though it led nowhere. */
class AdoptsUnknownIds extends ForwardingStore {
  #unknown: string | null = null

  override async load(id: string): Promise<SessionData | Mark | null> {
    const found = await this.inner.load(id)
    if (found === null) this.#unknown = id
    return found
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.inner.create(this.#unknown ?? id, data, ttl)
  }
}

/** The core that signs in under the id there is. */
class SignsInWithoutRotation extends ForwardingStore {
  #signedIn: SessionData | null = null

  override async create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    this.#signedIn = data
    return this.inner.create(id, data, ttl)
  }

  override end(id: string, _mark: Mark, expected?: string): Promise<boolean> {
    return this.inner.replace(id, this.#signedIn!, expected!, 3600)
  }
}

const CLEARS_AT_GONE: Variant = {
  commit: (commit, clearing) =>
    commit.outcome === 'gone'
      ? { ...commit, headers: [...commit.headers, ['Set-Cookie', clearing]] }
      : commit,
}

export const BREAKAGES: readonly Breakage[] = [
  {
    name: 'replace does not look at the version',
    variant: { store: (store) => new ReplacesAnyVersion(store) },
    kinds: ['set', 'set'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'replace does not look at the version, and an update is lost',
    variant: { store: (store) => new ReplacesAnyVersion(store) },
    kinds: ['update', 'update'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'replace creates, and a slow write undoes a sign-out',
    variant: { store: (store) => new ReplaceCreates(store) },
    kinds: ['set', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'replace creates, and a slow write brings back an id that was rotated away',
    variant: { store: (store) => new ReplaceCreates(store) },
    kinds: ['set', 'rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'an ended session lives on',
  },
  {
    name: 'replace creates, and a slow write brings back an expired session',
    variant: { store: (store) => new ReplaceCreates(store) },
    kinds: ['set', 'expire'],
    initial: 'user',
    mode: 'several processes',
    rule: 'an ended session lives on',
  },
  {
    name: 'end does not look at the version, and a rotation leaves an acknowledged write behind',
    variant: { store: (store) => new EndsAnyVersion(store) },
    kinds: ['set', 'rotate'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'end leaves no mark, and a request sent before the sign-in takes its cookie away',
    variant: { store: (store) => new EndsWithoutMark(store) },
    kinds: ['set', 'sign in'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'a sign-in signed nobody in',
  },
  {
    name: 'end leaves no mark, and a sign-out does not find what the session has become',
    variant: { store: (store) => new EndsWithoutMark(store) },
    kinds: ['rotate', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'end overwrites a mark, and two rotations both succeed',
    variant: { store: (store) => new EndsTheEnded(store) },
    kinds: ['rotate', 'rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'one session lives under two ids',
  },
  {
    name: 'end overwrites a mark, and a sign-out ends what was over and not what came after',
    variant: { store: (store) => new EndsTheEnded(store) },
    kinds: ['rotate', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'a mark does not name the successor, and a sign-out misses it',
    variant: { store: (store) => new ForgetsTheSuccessor(store) },
    kinds: ['rotate', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'touch does not look at the version, and undoes a deadline',
    variant: { store: (store) => new TouchesAnyVersion(store) },
    kinds: ['touch', 'set expiry'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a record outlives its deadline',
  },
  {
    name: 'touch writes back what it read, and undoes a sign-out',
    variant: { store: (store) => new TouchWritesBack(store) },
    kinds: ['touch', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'touch writes back what it read, and loses a write',
    variant: { store: (store) => new TouchWritesBack(store) },
    kinds: ['touch', 'set'],
    initial: 'user',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'a rotation ends the old id before it writes the new record, and dies between',
    variant: { calls: (store) => new EndsOldFirst(store) },
    kinds: ['rotate'],
    initial: 'user',
    mode: 'several processes',
    faults: { crash: 1 },
    rule: 'neither the old nor the new session is left',
  },
  {
    name: 'a rotation ends the old id before it writes the new record, and a sign-out misses that',
    variant: { calls: (store) => new EndsOldFirst(store) },
    kinds: ['rotate', 'destroy'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-out was undone',
  },
  {
    name: 'a rotation writes the new record for good at once, and dies before it ends the old id',
    variant: { calls: (store) => new KeepsPendingForGood(store) },
    kinds: ['rotate'],
    initial: 'user',
    mode: 'several processes',
    faults: { crash: 1 },
    rule: 'one session lives under two ids',
  },
  {
    name: 'a rotation does not give the new record its full time',
    variant: { calls: (store) => new NeverGivesFullTime(store) },
    kinds: ['rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'an acknowledged session vanished',
  },
  {
    name: 'saved is told before the write is confirmed, to one of two processes',
    variant: { calls: (store) => new SaysSavedFirst(store) },
    kinds: ['update', 'update'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'saved is told before the write is confirmed, and the process dies',
    variant: { calls: (store) => new SaysSavedFirst(store) },
    kinds: ['set'],
    initial: 'anonymous',
    mode: 'several processes',
    faults: { lost: 1 },
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'a sign-out is told before it is confirmed',
    variant: { calls: (store) => new SaysEndedFirst(store) },
    kinds: ['destroy'],
    initial: 'user',
    mode: 'several processes',
    faults: { lost: 1 },
    rule: 'a sign-out was undone',
  },
  {
    name: 'a lost reply is taken for a refusal, and an update is made twice',
    variant: { calls: (store) => new TakesLostForRefused(store) },
    kinds: ['update'],
    initial: 'anonymous',
    mode: 'several processes',
    faults: { lost: 1 },
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'an answer of gone clears the cookie',
    variant: CLEARS_AT_GONE,
    kinds: ['set', 'sign in'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'an answer had no right to the cookie',
  },
  {
    name: 'an answer of gone clears the cookie, and signs out who has just signed in',
    variant: CLEARS_AT_GONE,
    kinds: ['set', 'sign in'],
    initial: 'anonymous',
    mode: 'one process',
    rule: 'a good cookie was overwritten',
  },
  {
    name: 'gone is answered as if it were saved',
    variant: { commit: (commit) => (commit.outcome === 'gone' ? { ...commit, outcome: 'saved' } : commit) },
    kinds: ['set', 'rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'a rotation does not tell the browser its new token',
    variant: {
      commit: (commit) => ({
        ...commit,
        headers: commit.headers.filter(([header]) => header !== 'Set-Cookie'),
      }),
    },
    kinds: ['rotate'],
    initial: 'user',
    mode: 'one process',
    rule: 'the cookie leads nowhere',
  },
  {
    name: 'saved is told before the write is confirmed, and one write is lost to the next in line',
    variant: { calls: (store) => new SaysSavedFirst(store) },
    kinds: ['update', 'update'],
    initial: 'anonymous',
    mode: 'one process',
    faults: { lost: 1 },
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'saved is told before the write, which no version holds back from coming after a later one',
    variant: { store: (store) => new ReplacesAnyVersion(store), calls: (store) => new SaysSavedFirst(store) },
    kinds: ['set same', 'set same'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the data is not what the acknowledged changes make',
  },
  {
    name: 'a conflict is taken for the end of the session',
    variant: { calls: (store) => new TakesConflictForGone(store) },
    kinds: ['set', 'set'],
    initial: 'user',
    mode: 'several processes',
    rule: 'gone was told of a live session',
  },
  {
    name: 'a conflict is waited out for good',
    variant: { calls: (store) => new WaitsAtConflicts(store) },
    kinds: ['set', 'set'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a request never ended',
  },
  {
    name: 'an ended session is an error',
    variant: { calls: (store) => new FailsAtMarks(store) },
    kinds: ['set', 'rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a request failed',
  },
  {
    name: 'a sign-in gives up because its base has ended',
    variant: { calls: (store) => new RefusesToSignIn(store) },
    kinds: ['rotate', 'sign in'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a sign-in was refused',
  },
  {
    name: 'a sign-in does not rotate',
    variant: { calls: (store) => new SignsInWithoutRotation(store) },
    kinds: ['sign in'],
    initial: 'anonymous',
    mode: 'several processes',
    rule: 'the user changed under an id',
  },
  {
    name: 'a token that was never given out is adopted',
    variant: { calls: (store) => new AdoptsUnknownIds(store) },
    kinds: ['set'],
    initial: 'unknown',
    mode: 'several processes',
    rule: 'an id from outside was adopted',
  },
  {
    name: 'the loser of two rotations leaves its record',
    variant: { calls: (store) => new LeavesWhatItWithdraws(store) },
    kinds: ['rotate', 'rotate'],
    initial: 'user',
    mode: 'several processes',
    rule: 'a record is left that no browser knows',
  },
]

const ignore = (): void => {}

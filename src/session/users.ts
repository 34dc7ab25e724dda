import type { SessionData } from '../stores/session-data.ts'
import { isPending } from './expiry.ts'
import type { Records } from './records.ts'
import { successorUnder } from './records.ts'

/** What there is of a user's sessions at one look. */
export interface SessionsFound {
  /** In no order. */
  readonly live: readonly SessionData[]
  /** The new records of rotations under way. */
  readonly pending: readonly SessionData[]
}

/**
 * The sessions of users, as the store's index hints at them and its records confirm. Every id is loaded, and the marks that rotations leave are
 * followed, so that no session slips through by going on under another id at just this moment.
 */
export class Users {
  readonly #records: Records

  constructor(records: Records) {
    this.#records = records
  }

  /** Looks for all sessions of a user, and takes away the hints that led to none. */
  async find(userId: string): Promise<SessionsFound> {
    const { calls } = this.#records
    const live = new Map<string, SessionData>()
    const pending = new Map<string, SessionData>()
    const stale: string[] = []
    const look = async (hint: string): Promise<void> => {
      const { record, isStale } = await this.#follow(userId, hint)
      if (isStale) stale.push(hint)
      if (record === null) return
      ;(isPending(record) ? pending : live).set(record.id, record)
    }
    await forEach(await calls.idsOfUser(userId, this.#records.until()), look)
    try {
      if (stale.length > 0) await calls.forgetUser(userId, stale, this.#records.until())
    } catch {
      // Whoever looks next tries again.
    }
    return { live: [...live.values()], pending: [...pending.values()] }
  }

  /**
   * Ends one session, or what it has become.
   * @returns whether this call ended it; false, too, when it is none of this user's
   */
  async end(userId: string, id: string): Promise<boolean> {
    const { record } = await this.#follow(userId, id)
    return record !== null && this.#records.end(record.id, 'revoked', this.#records.until())
  }

  /**
   * Ends all sessions of a user, looking again until there are none.
   * @param spared the id of one that stays, whatever it is rotated into meanwhile
   * @returns how many this call ended
   */
  async endAll(userId: string, spared: string | null): Promise<number> {
    let ended = 0
    const end = async ({ id }: SessionData): Promise<void> => {
      if (await this.#records.end(id, 'revoked', this.#records.until())) ended++
    }
    for (;;) {
      const { live, pending } = await this.find(userId)
      // After the look: what was found and is missing here has not been rotated into by then.
      const own = spared === null ? null : await this.#chain(spared)
      const [others, open] = [live, pending].map((found) => found.filter(({ id }) => own?.has(id) !== true))
      if (others!.length + open!.length === 0) return ended
      await forEach(others!, end)
      // A sign-in under way is one of those that are to go. But it may be a rotation of the one that stays, until it shows what it is.
      if (own === null) await forEach(open!, end)
      else if (others!.length === 0) await this.#records.clock.sleep(PAUSE)
    }
  }

  /** Finds the user's record under an id, or under what it was rotated into with its user unchanged. */
  async #follow(userId: string, id: string): Promise<Followed> {
    const until = this.#records.until()
    const found = await this.#records.find(id, until)
    switch (found.kind) {
      case 'live': {
        const isTheirs = found.record.userId === userId
        return { record: isTheirs ? found.record : null, isStale: !isTheirs }
      }
      case 'ended': {
        const successor = successorUnder(found.mark)
        const { record } = successor === null ? NOTHING : await this.#follow(userId, successor)
        return { record, isStale: true }
      }
      case 'missing':
        return { record: null, isStale: true }
      // By another server's limits it may be alive, or readable.
      case 'expired':
      case 'unreadable':
        return NOTHING
    }
  }

  /** An id, and those that it was rotated into with its user unchanged. */
  async #chain(id: string): Promise<Set<string>> {
    const ids = new Set<string>()
    for (let next: string | null = id; next !== null;) {
      ids.add(next)
      const found = await this.#records.find(next, this.#records.until())
      next = found.kind === 'ended' ? successorUnder(found.mark) : null
    }
    return ids
  }
}

interface Followed {
  readonly record: SessionData | null
  /** Whether a hint to the id will never again lead to one of the user's sessions. */
  readonly isStale: boolean
}

const NOTHING: Followed = { record: null, isStale: false }

/** Does something with each of many, some at a time. */
async function forEach<T>(items: readonly T[], step: (item: T) => Promise<void>): Promise<void> {
  for (let done = 0; done < items.length; done += AT_ONCE)
    await Promise.all(items.slice(done, done + AT_ONCE).map(step))
}

/** Milliseconds: about what a rotation takes. One whose process died is over when its record has run out. */
const PAUSE = 5

/** Few enough to be answered well within a deadline. */
const AT_ONCE = 100

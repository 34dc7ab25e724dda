import { SessionError } from '../errors.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { SessionsPerUser } from './limits.ts'
import type { Records } from './records.ts'
import type { Users } from './users.ts'

/**
 * Holds users to a number of sessions. Of sign-ins at the same moment each writes its record before it looks for the others': whoever looks
 * last sees all, so that too many never stay.
 */
export class UserLimit {
  readonly #records: Records
  readonly #users: Users
  readonly #limit: SessionsPerUser

  constructor(records: Records, users: Users, limit: SessionsPerUser) {
    this.#records = records
    this.#users = users
    this.#limit = limit
  }

  /**
   * Creates the record of a sign-in that goes on from no session.
   * @returns null when all of its user's sessions were revoked meanwhile
   * @throws SessionError `ERR_SESSION_LIMIT_REACHED` where the limit refuses it
   */
  async create(record: SessionData, until: number): Promise<SessionData | null> {
    if (this.#limit.whenTooMany !== 'refuse') return this.#records.create(record, until)
    const pending = await this.#records.createPending(record, until)
    await this.admit(pending, null, until)
    return this.#records.keep(pending, until)
  }

  /**
   * Lets a sign-in go on, while its record is pending and nothing has ended yet; or withdraws it.
   * @param base the session that it is to take the place of
   * @throws SessionError `ERR_SESSION_LIMIT_REACHED` where the limit refuses it
   */
  async admit(pending: SessionData, base: SessionData | null, until: number): Promise<void> {
    if (this.#limit.whenTooMany !== 'refuse') return
    // Who is pending counts: of two at once both may be refused, but never both let in.
    const found = await this.#users.find(pending.userId!)
    const others = [...found.live, ...found.pending].filter(({ id }) => id !== pending.id && id !== base?.id)
    if (others.length < this.#limit.max) return
    await this.#records.withdraw(pending.id, until)
    throw new SessionError(
      'ERR_SESSION_LIMIT_REACHED',
      `This user has ${this.#limit.max} sessions already, as many as maxSessionsPerUser allows. To end one, use sessions.forUser(userId).`,
    )
  }

  /** Ends a user's oldest sessions, so many as are too many. To be called when one more, or one under a new id, has become theirs. */
  async trim(userId: string): Promise<void> {
    if (this.#limit.whenTooMany !== 'end-oldest') return
    const { live } = await this.#users.find(userId)
    if (live.length <= this.#limit.max) return
    // By what never changes, so that all who look agree on which are to go.
    const oldestFirst = live.toSorted((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    const tooMany = oldestFirst.slice(0, live.length - this.#limit.max)
    await Promise.all(tooMany.map(({ id }) => this.#records.end(id, 'revoked', this.#records.until())))
  }
}

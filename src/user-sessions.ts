import type { Lifetimes } from './session/expiry.ts'
import { endOf } from './session/expiry.ts'
import type { Session } from './session/session.ts'
import type { Users } from './session/users.ts'

/** One session of a user, as a list of them shows it. Its id opens nothing, and may be put into a page. */
export interface UserSession {
  readonly id: string
  /** When the user signed in. */
  readonly createdAt: Date
  /** When it was last active, to within `touchEvery`. */
  readonly lastActiveAt: Date
  /** When it ends unless something happens before. */
  readonly expiresAt: Date
  /** What `noteDevice` kept of the device at sign-in; null for nothing. It comes from a browser: escape it in HTML. */
  readonly device: string | null
}

/** The sessions of one user, on all devices: made by {@link Sessions.forUser}. */
export class UserSessions {
  /** Whose sessions these are. */
  readonly userId: string
  readonly #users: Users
  readonly #lifetimes: Lifetimes

  /** @internal */
  constructor(userId: string, users: Users, lifetimes: Lifetimes) {
    this.userId = userId
    this.#users = users
    this.#lifetimes = lifetimes
  }

  /**
   * The sessions in which the user is signed in at this moment, the one that was active last first (OWASP ASVS 5.0, 7.5.2).
   * @throws SessionError when the store fails
   */
  async list(): Promise<UserSession[]> {
    const { live } = await this.#users.find(this.userId)
    return live
      .map((record) => ({
        id: record.id,
        createdAt: new Date(record.createdAt),
        lastActiveAt: new Date(Math.max(record.touchedAt, record.createdAt)),
        expiresAt: new Date(endOf(record, this.#lifetimes)),
        device: record.device,
      }))
      .toSorted((a, b) => b.lastActiveAt.getTime() - a.lastActiveAt.getTime())
  }

  /**
   * Ends one session of this user, and what it may have been rotated into; a request in flight there is `gone`.
   * @param id as `list` gives it; it may come from a form
   * @returns whether it was alive until now; false for an id that is none of this user's, whose session stays as it is
   * @throws SessionError when the store did not confirm it; trying again is right
   */
  revoke(id: string): Promise<boolean> {
    return this.#users.end(this.userId, id)
  }

  /**
   * Ends all sessions of this user but one, as after a change of password (OWASP ASVS 5.0, 7.4.3). It looks again until there is no other.
   * @param current the session that stays, or its id
   * @returns how many it ended
   * @throws SessionError when the store fails, some of them being ended; trying again is right
   */
  revokeOthers(current: Session<any> | string): Promise<number> {
    return this.#users.endAll(this.userId, typeof current === 'string' ? current : current.id)
  }

  /**
   * Ends all sessions of this user, as when an account is closed or taken back (OWASP ASVS 5.0, 7.4.2). It looks again until there is none:
   * whoever was signed in before is not any more, under whatever id.
   * @returns how many it ended
   * @throws SessionError when the store fails, some of them being ended; trying again is right
   */
  revokeAll(): Promise<number> {
    return this.#users.endAll(this.userId, null)
  }
}

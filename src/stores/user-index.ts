import type { SessionStore } from './store.ts'

/**
 * What a store has that can find the sessions of a user: declare it with `implements UserIndex`.
 *
 * It holds hints and not the truth. Whoever asks loads each id that it names, and believes the record alone: a hint to what has ended, or to
 * somebody else's session, is of no consequence and is taken away. What must not happen is that one is missing: from when `noteUser` has
 * answered until its `ttl` is over, `idsOfUser` names the id, as long as there is a record of that user under it.
 *
 * A store that finds records by their `userId` anyway has nothing to note.
 */
export interface UserIndex {
  /**
   * Notes that a session is a user's. To be called once its record is there, and before anybody has its token.
   * @param ttl seconds that the session may live at most; a hint lasts as long as the longest it was noted with
   */
  noteUser(userId: string, id: string, ttl: number): Promise<void>
  /** The ids that may be a user's sessions, in no order. */
  idsOfUser(userId: string): Promise<readonly string[]>
  /** Takes hints away that were found to be none. */
  forgetUser(userId: string, ids: readonly string[]): Promise<void>
}

/** Whether a store can find the sessions of a user. */
export function hasUserIndex<S extends SessionStore>(store: S): store is S & UserIndex {
  const { noteUser, idsOfUser, forgetUser } = store as Partial<UserIndex>
  return [noteUser, idsOfUser, forgetUser].every((method) => typeof method === 'function')
}

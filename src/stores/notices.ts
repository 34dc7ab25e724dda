import type { SessionStore } from './store.ts'

/**
 * Told that something happened to a session.
 * @param version of the write that was noticed; null where the session ended, or where notices may have been lost. Either way it says no
 * more than to look again: notices may come late, twice, or in another order than what they tell of
 */
export type NoticeListener = (version: string | null) => void

/**
 * What a store can do beside the contract, and says by implementing it: tell of what other processes do to a session. Without it, whatever
 * follows a session, a socket say, learns of its end when it looks again, within half a minute.
 *
 * @example
 * class MyStore extends SessionStore implements Notices { … }
 */
export interface Notices {
  /**
   * Tells `listener` of every `replace`, `set`, `delete` and `end` of `id` that succeeds from now on, by this process and by others. Not of a
   * `create`, as nobody can know of the id before, and not of a `touch`. May be called for many ids, and for one id many times.
   * @returns stops telling; it may be called twice
   */
  watch(id: string, listener: NoticeListener): Promise<() => void>
}

/** Whether a store tells of what others do. */
export function hasNotices<S extends SessionStore>(store: S): store is S & Notices {
  return typeof (store as Partial<Notices>).watch === 'function'
}

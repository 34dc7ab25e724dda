import type { EndReason } from '../errors.ts'
import type { SessionData } from '../stores/session-data.ts'
import { parseData } from '../stores/session-data.ts'
import { read } from './change-log.ts'

/** Told of a change that others made: the top-level keys that changed, and the record as it is now. */
export type ChangeListener = (keys: readonly string[], record: SessionData) => void

/** Where a follower is kept. */
export interface FollowerHost {
  /** It wants to be told of changes from now on. */
  listens(follower: Follower): void
  /** It wants to be told nothing any more. */
  leaves(follower: Follower): void
}

/** What stays open on one session, and is told how it fares. Made by {@link Following}. */
export class Follower {
  readonly id: string
  /** Called once, when the session has ended; afterwards nothing is told any more. */
  readonly end: (reason: EndReason) => void
  readonly #host: FollowerHost
  #onChange: ChangeListener | null = null
  /** The record that the listener knows. Kept only where there is one. */
  #known: SessionData | null = null
  readonly #commits = new Set<Promise<unknown>>()

  constructor(id: string, end: (reason: EndReason) => void, host: FollowerHost) {
    this.id = id
    this.end = end
    this.#host = host
  }

  get wantsChanges(): boolean {
    return this.#onChange !== null
  }

  /**
   * Tells `listener` of what others change from now on.
   * @param known the record that it knows already
   */
  listen(listener: ChangeListener, known: SessionData): void {
    this.#onChange = listener
    this.#known = known
    this.#host.listens(this)
  }

  /** Whether a write of this version would be no news to it. */
  knows(version: string): boolean {
    return this.#known === null || this.#known.version === version
  }

  /** Notes that a commit of its own is under way: what is read until that is over may be its own doing. */
  noteCommit(commit: Promise<unknown>): void {
    if (!this.wantsChanges) return
    const forget = (): void => void this.#commits.delete(commit)
    this.#commits.add(commit)
    commit.then(forget, forget)
  }

  /** Resolves when its own commits of this moment are over. */
  async settled(): Promise<void> {
    if (this.#commits.size > 0) await Promise.allSettled(this.#commits)
  }

  /** Notes that a commit of its own made `after` of `before`, and nobody else had a hand in it: that is no news, what came before may be. */
  noteOwn(before: SessionData, after: SessionData): void {
    if (this.#known === null) return
    const keys = changedKeys(this.#known, before)
    this.#known = after
    this.#tell(keys, after)
  }

  /** What it knows; to be had before the record is read that it is then told. */
  get known(): SessionData | null {
    return this.#known
  }

  /**
   * Tells the listener what others have changed.
   * @param known what it knew before the record was read
   * @returns whether this was news or none; false where its own commits have overtaken the record, which is to be read again
   */
  async tell(record: SessionData, known: SessionData | null): Promise<boolean> {
    await this.settled()
    if (this.#known === null || this.#known.version === record.version) return true
    if (this.#known !== known) return false
    const keys = changedKeys(known, record)
    this.#known = record
    this.#tell(keys, record)
    return true
  }

  /** Is told nothing any more. */
  stop(): void {
    this.#onChange = null
    this.#known = null
    this.#host.leaves(this)
  }

  #tell(keys: readonly string[], record: SessionData): void {
    if (keys.length > 0) this.#onChange?.(keys, record)
  }
}

/** The top-level keys in which two records differ. */
function changedKeys(before: SessionData, after: SessionData): string[] {
  if (before.version === after.version || before.json === after.json) return []
  try {
    const [old, now] = [parseData(before.json), parseData(after.json)]
    return Object.keys({ ...old, ...now }).filter(
      (key) => JSON.stringify(read(old, key)) !== JSON.stringify(read(now, key)),
    )
  } catch {
    // Whoever reads the session next is told that it cannot be read.
    return []
  }
}

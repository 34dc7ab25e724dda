import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'

/**
 * Carries a batch of entries.
 * @param latest what the batch before left in the store, where one came right before
 * @returns what this batch left there, if that is known
 */
export type Carry<E, R> = (id: string, batch: readonly E[], latest: R | null) => Awaitable<R | null>

/** What waits in a line: an entry to be carried with its neighbours, or a step that runs alone. */
type Place<E> = { entry: E; step?: never } | { entry?: never; step: () => Promise<void> }

/**
 * Lines up the commits of one session within this process, by id. Entries that wait side by side are carried
 * in one batch (group commit), so that a hundred parallel updates of one counter take a few writes; steps
 * that end a session run alone, in their turn.
 */
export class CommitQueue<E, R> {
  readonly #lines = new Lines<Place<E>[]>()
  readonly #carry: Carry<E, R>

  /** @param carry carries a batch and settles each of its entries; it must not reject */
  constructor(carry: Carry<E, R>) {
    this.#carry = carry
  }

  /** Puts an entry in line. */
  add(id: string, entry: E): void {
    this.#enter(id, { entry })
  }

  /** Runs a step alone, after all that came before it. */
  alone<T>(id: string, step: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#enter(id, { step: () => step().then(resolve, reject) })
    })
  }

  #enter(id: string, place: Place<E>): void {
    const present = this.#lines.get(id)
    if (present !== undefined) {
      present.push(place)
      return
    }
    const line = [place]
    const served = this.#serveHead(id, line, null)
    // What is done at once makes no line.
    if (!(served instanceof Promise)) return
    this.#lines.add(id, line)
    void served.then((left) => this.#serve(id, line, left))
  }

  #serve(id: string, line: Place<E>[], latest: R | null): void {
    if (line.length === 0) this.#lines.delete(id)
    else void chain(this.#serveHead(id, line, latest), (left) => this.#serve(id, line, left))
  }

  /** @returns what the head of the line left in the store, if that is known */
  #serveHead(id: string, line: Place<E>[], latest: R | null): Awaitable<R | null> {
    const { step } = line[0]!
    if (step === undefined) return this.#carry(id, takeEntries(line), latest)
    line.shift()
    return step().then(() => null)
  }
}

/** Takes the entries at the head of the line, up to the first step. */
function takeEntries<E>(line: Place<E>[]): E[] {
  const entries: E[] = []
  while (line.length > 0 && line[0]!.step === undefined) entries.push(line.shift()!.entry!)
  return entries
}

/**
 * Lines by id. A Map would do, but for its old tables: each keeps what was in it until a full collection comes round, and under load that
 * is twice the collector's work for a write.
 */
class Lines<L> {
  /** Ids are hashes: any characters of theirs spread them evenly. */
  readonly #buckets: { readonly id: string; readonly line: L }[][] = Array.from({ length: BUCKETS }, () => [])

  get(id: string): L | undefined {
    return this.#bucketOf(id).find((entry) => entry.id === id)?.line
  }

  /** Adds the line of an id that has none. */
  add(id: string, line: L): void {
    this.#bucketOf(id).push({ id, line })
  }

  /** Takes out the line of an id that has one. */
  delete(id: string): void {
    const bucket = this.#bucketOf(id)
    const at = bucket.findIndex((entry) => entry.id === id)
    const last = bucket.pop()!
    if (at < bucket.length) bucket[at] = last
  }

  #bucketOf(id: string): { readonly id: string; readonly line: L }[] {
    // A missing character is NaN, and NaN & n is 0.
    return this.#buckets[(id.charCodeAt(0) * 31 + id.charCodeAt(1)) & (BUCKETS - 1)]!
  }
}

/** A power of two. */
const BUCKETS = 256

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
  readonly #lines = new Map<string, Place<E>[]>()
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
    const line = this.#lines.get(id)
    if (line !== undefined) {
      line.push(place)
      return
    }
    const fresh = [place]
    this.#lines.set(id, fresh)
    this.#serve(id, fresh, null)
  }

  #serve(id: string, line: Place<E>[], latest: R | null): void {
    if (line.length === 0) {
      this.#lines.delete(id)
      return
    }
    const { step } = line[0]!
    if (step === undefined)
      void chain(this.#carry(id, takeEntries(line), latest), (left) => this.#serve(id, line, left))
    else {
      line.shift()
      void step().then(() => this.#serve(id, line, null))
    }
  }
}

/** Takes the entries at the head of the line, up to the first step. */
function takeEntries<E>(line: Place<E>[]): E[] {
  const end = line.findIndex((place) => place.step !== undefined)
  return line.splice(0, end === -1 ? line.length : end).map((place) => place.entry!)
}

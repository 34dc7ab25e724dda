import type { NoticeListener } from './notices.ts'

/** Who in this process is to be told of what happens to which id. Costs a store next to nothing while that is nobody. */
export class Watchers {
  readonly #watches = new Map<string, Set<Watch>>()

  /** How many ids are watched. */
  get size(): number {
    return this.#watches.size
  }

  has(id: string): boolean {
    return this.#watches.has(id)
  }

  /** @returns stops telling */
  add(id: string, listener: NoticeListener): () => void {
    const watch: Watch = { listener }
    const watches = this.#watches.get(id)
    if (watches === undefined) this.#watches.set(id, new Set([watch]))
    else watches.add(watch)
    return () => {
      const watches = this.#watches.get(id)
      if (watches?.delete(watch) === true && watches.size === 0) this.#watches.delete(id)
    }
  }

  /** @param version what was written; null where the session ended */
  tell(id: string, version: string | null): void {
    if (this.#watches.size === 0) return
    for (const { listener } of this.#watches.get(id) ?? []) listener(version)
  }

  /** Tells of every id that notices may have been lost. */
  tellAll(): void {
    for (const id of this.#watches.keys()) this.tell(id, null)
  }
}

/** A watch of its own even where one listener is handed in twice. */
interface Watch {
  readonly listener: NoticeListener
}

/**
 * A map in the order of use, made for millions of entries.
 *
 * A plain `Map` keeps an order too, but now and then copies itself as a whole: at a million entries that stops
 * the process for 100 ms and more, and moving an entry to its end makes the moment come sooner. So this one
 * spreads its entries over many small maps, and keeps the order in a chain.
 */
export class RecencyMap<V> {
  readonly #shards: readonly Map<string, Link<V>>[] = Array.from({ length: SHARDS }, () => new Map())
  #oldest: Link<V> | null = null
  #newest: Link<V> | null = null
  #size = 0

  get size(): number {
    return this.#size
  }

  /** What was used longest ago. */
  get oldest(): Link<V> | null {
    return this.#oldest
  }

  /** The value under `id`, which counts as used now. */
  get(id: string): V | undefined {
    const link = this.#shardOf(id).get(id)
    if (link === undefined) return undefined
    if (link !== this.#newest) {
      this.#unchain(link)
      this.#chain(link)
    }
    return link.value
  }

  /** Puts a value under `id`, which counts as used now. */
  set(id: string, value: V): void {
    this.delete(id)
    const link: Link<V> = { id, value, older: null, newer: null }
    this.#shardOf(id).set(id, link)
    this.#chain(link)
    this.#size++
  }

  delete(id: string): boolean {
    const shard = this.#shardOf(id)
    const link = shard.get(id)
    if (link === undefined) return false
    shard.delete(id)
    this.#unchain(link)
    this.#size--
    return true
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear()
    this.#oldest = this.#newest = null
    this.#size = 0
  }

  /** All entries, in small parts and no order. Each part must be gone through at once; entries may be deleted meanwhile. */
  *parts(): Generator<Iterable<Link<V>>> {
    for (const shard of this.#shards) if (shard.size > 0) yield shard.values()
  }

  #chain(link: Link<V>): void {
    link.older = this.#newest
    link.newer = null
    if (this.#newest === null) this.#oldest = link
    else this.#newest.newer = link
    this.#newest = link
  }

  #unchain({ older, newer }: Link<V>): void {
    if (older === null) this.#oldest = newer
    else older.newer = newer
    if (newer === null) this.#newest = older
    else newer.older = older
  }

  #shardOf(id: string): Map<string, Link<V>> {
    // Ids are hashes: any few of their characters are as good as a hash of the whole. A missing one is NaN, and NaN & n is 0.
    const spot = (id.charCodeAt(0) * 31 + id.charCodeAt(1)) * 31 + id.charCodeAt(2)
    return this.#shards[spot & (SHARDS - 1)]!
  }
}

/** An entry of a {@link RecencyMap}, between its neighbours in the order of use. */
export interface Link<V> {
  readonly id: string
  readonly value: V
  older: Link<V> | null
  newer: Link<V> | null
}

/** A power of two; with a million entries each small map holds about a thousand. */
const SHARDS = 1024

import { Buffer } from 'node:buffer'

import { SessionData } from './session-data.ts'

/**
 * Records by id, in the order of their use, made for millions of them.
 *
 * As an object each, they would take twice the memory beside their data, and the collector would go through all of it again and again. So
 * their fields stand in columns, in pages of {@link PAGE} rows, and the order of use is a chain of row numbers. And a plain `Map` now and
 * then copies itself as a whole, which at a million entries stops the process for 100 ms: the ids are spread over many small ones.
 */
export class RecordTable {
  readonly #shards: readonly Map<string, number>[] = Array.from({ length: SHARDS }, () => new Map())
  #pages: Page[] = []
  /** The first of the rows not in use; the others follow in the chain. */
  #free = NONE
  #oldest = NONE
  #newest = NONE
  #size = 0

  /** How many records there are. */
  get size(): number {
    return this.#size
  }

  /** How many rows there are, in use or not: one that is not never ends. */
  get rows(): number {
    return this.#pages.length * PAGE
  }

  /** The row used longest ago, or {@link NONE}. */
  get oldest(): number {
    return this.#oldest
  }

  /** The row under `id`, or {@link NONE}. */
  find(id: string): number {
    return this.#shardOf(id).get(id) ?? NONE
  }

  /** Counts a row as used now. */
  use(row: number): void {
    if (row === this.#newest) return
    this.#unchain(row)
    this.#chain(row)
  }

  /** Makes a row under an id that has none, used now, and yet to be written. */
  add(id: string): number {
    if (this.#free === NONE) this.#addPage()
    const row = this.#free
    const page = this.#pageOf(row)
    this.#free = page.newer[row % PAGE]!
    page.ids[row % PAGE] = id
    this.#shardOf(id).set(id, row)
    this.#chain(row)
    this.#size++
    return row
  }

  /**
   * Writes a record, which shares nothing with the one given but strings.
   * @param json its data, which may take serialising, and that may fail
   */
  write(row: number, record: SessionData, json: string, touchedAt: number, endsAt: number): void {
    const page = this.#pageOf(row)
    const at = row % PAGE
    page.json[at] = json
    page.bytes[at] = Buffer.byteLength(json)
    page.version[at] = record.version
    page.userId[at] = record.userId
    page.device[at] = record.device
    page.flash[at] = record.flash.length === 0 ? NO_FLASH : [...record.flash]
    page.createdAt[at] = record.createdAt
    page.updatedAt[at] = record.updatedAt
    page.touchedAt[at] = touchedAt
    page.expiresAt[at] = record.expiresAt ?? NaN
    page.endsAt[at] = endsAt
  }

  /** The record, the caller's own. */
  read(row: number): SessionData {
    const page = this.#pageOf(row)
    const at = row % PAGE
    const flash = page.flash[at]!
    const expiresAt = page.expiresAt[at]!
    return new SessionData({
      id: page.ids[at]!,
      data: page.json[at]!,
      version: page.version[at]!,
      userId: page.userId[at]!,
      createdAt: page.createdAt[at]!,
      updatedAt: page.updatedAt[at]!,
      touchedAt: page.touchedAt[at]!,
      expiresAt: Number.isNaN(expiresAt) ? null : expiresAt,
      device: page.device[at]!,
      ...(flash.length > 0 && { flash: [...flash] }),
    })
  }

  idOf(row: number): string {
    return this.#pageOf(row).ids[row % PAGE]!
  }

  userIdOf(row: number): string | null {
    return this.#pageOf(row).userId[row % PAGE]!
  }

  versionOf(row: number): string {
    return this.#pageOf(row).version[row % PAGE]!
  }

  /** How many bytes its data takes as UTF-8 JSON. */
  bytesOf(row: number): number {
    return this.#pageOf(row).bytes[row % PAGE]!
  }

  touchedAt(row: number): number {
    return this.#pageOf(row).touchedAt[row % PAGE]!
  }

  /** From when on the record does not count, in epoch milliseconds. */
  endsAt(row: number): number {
    return this.#pageOf(row).endsAt[row % PAGE]!
  }

  /** Notes activity. */
  touch(row: number, touchedAt: number, endsAt: number): void {
    const page = this.#pageOf(row)
    page.touchedAt[row % PAGE] = touchedAt
    page.endsAt[row % PAGE] = endsAt
  }

  delete(row: number): void {
    const page = this.#pageOf(row)
    const at = row % PAGE
    const id = page.ids[at]!
    this.#shardOf(id).delete(id)
    this.#unchain(row)
    this.#size--
    page.clear(at)
    page.newer[at] = this.#free
    this.#free = row
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear()
    this.#pages = []
    this.#free = this.#oldest = this.#newest = NONE
    this.#size = 0
  }

  #addPage(): void {
    const first = this.rows
    const page = new Page()
    for (let at = 0; at < PAGE; at++) page.newer[at] = at + 1 < PAGE ? first + at + 1 : NONE
    this.#pages.push(page)
    this.#free = first
  }

  #pageOf(row: number): Page {
    return this.#pages[(row / PAGE) | 0]!
  }

  #chain(row: number): void {
    const page = this.#pageOf(row)
    page.older[row % PAGE] = this.#newest
    page.newer[row % PAGE] = NONE
    if (this.#newest === NONE) this.#oldest = row
    else this.#pageOf(this.#newest).newer[this.#newest % PAGE] = row
    this.#newest = row
  }

  #unchain(row: number): void {
    const page = this.#pageOf(row)
    const older = page.older[row % PAGE]!
    const newer = page.newer[row % PAGE]!
    if (older === NONE) this.#oldest = newer
    else this.#pageOf(older).newer[older % PAGE] = newer
    if (newer === NONE) this.#newest = older
    else this.#pageOf(newer).older[newer % PAGE] = older
  }

  #shardOf(id: string): Map<string, number> {
    // Ids are hashes: any few of their characters are as good as a hash of the whole. A missing one is NaN, and NaN & n is 0.
    const spot = (id.charCodeAt(0) * 31 + id.charCodeAt(1)) * 31 + id.charCodeAt(2)
    return this.#shards[spot & (SHARDS - 1)]!
  }
}

/** No row. */
export const NONE = -1

/** Some rows, as columns. */
class Page {
  readonly ids: string[] = column('')
  readonly json: string[] = column('')
  readonly version: string[] = column('')
  readonly userId: (string | null)[] = column<string | null>(null)
  readonly device: (string | null)[] = column<string | null>(null)
  readonly flash: (readonly string[])[] = column(NO_FLASH)
  readonly createdAt = new Float64Array(PAGE)
  readonly updatedAt = new Float64Array(PAGE)
  readonly touchedAt = new Float64Array(PAGE)
  /** NaN for none. */
  readonly expiresAt = new Float64Array(PAGE)
  readonly endsAt = new Float64Array(PAGE).fill(Infinity)
  readonly bytes = new Int32Array(PAGE)
  readonly older = new Int32Array(PAGE)
  readonly newer = new Int32Array(PAGE)

  /** Lets go of what a row refers to. */
  clear(at: number): void {
    this.ids[at] = this.json[at] = this.version[at] = ''
    this.userId[at] = this.device[at] = null
    this.flash[at] = NO_FLASH
    this.endsAt[at] = Infinity
  }
}

const NO_FLASH: readonly string[] = Object.freeze([])

function column<V>(value: V): V[] {
  return Array.from({ length: PAGE }, () => value)
}

/** Rows of a page. */
const PAGE = 1024

/** A power of two; with a million entries each small map holds about a thousand. */
const SHARDS = 1024

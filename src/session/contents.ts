import type { Data, SessionData } from '../stores/session-data.ts'
import { stringifyData } from '../stores/session-data.ts'
import type { Draft, Operation } from './change-log.ts'
import { draftOf, encodeUpdated, put, read, replay, sinceSignIn } from './change-log.ts'
import { encodeValue } from './exact-json.ts'

/** A session's changes, ready to be carried into a store, and what they lead to from the record they were made on. */
export interface Change {
  readonly operations: readonly Operation[]
  /** The data's JSON text, where the working copy is just the record with the operations made on it; else null. */
  readonly json: string | null
  readonly flash: readonly string[]
  readonly expiresAt: number | null
  /** Why nobody knows whether it was made: the reply to an attempt never came. Undefined where that is not so. */
  unconfirmed: unknown
}

/** An object that the handler holds, and its JSON text when it was handed out. */
interface HandedOut {
  readonly value: object
  readonly text: string
}

interface Lent extends HandedOut {
  /** The JSON text of the value that it was made of. */
  readonly from: string | undefined
}

/**
 * What a handler reads and writes: a working copy of one record's data, with the log of changes made to it.
 *
 * Objects are handed out as they are, so that `get('cart').push(item)` works. Each one handed out is remembered
 * with its JSON text, and looked at again when the changes are sealed; a session whose objects were never
 * handed out pays nothing.
 */
export class Contents {
  #record: SessionData | null
  #draft: Draft | null = null
  #log: Operation[] = []
  /** Null while there is nothing in it, as the next two: most sessions of a request never need them. */
  #handedOut: Map<string, HandedOut> | null = null
  /** What a schema made of values. */
  #lent: Map<string, Lent> | null = null
  /** Flash values that were read. */
  #consumed: Set<string> | null = null
  #diverged = false
  #unconfirmed: unknown

  constructor(record: SessionData | null) {
    this.#record = record
  }

  /** Reads the record, where that has not happened yet. @throws SessionError `ERR_SESSION_RECORD` when it cannot be read */
  open(): void {
    this.#open()
  }

  get size(): number {
    return Object.keys(this.#open().data).length
  }

  keys(): string[] {
    return Object.keys(this.#open().data)
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#open().data, key)
  }

  get(key: string): unknown {
    const value = this.look(key)
    if (value !== undefined && this.#draft!.flash.has(key)) this.#consume(key, value)
    return value
  }

  /** The value, like {@link get}; but a flash value stays. */
  look(key: string): unknown {
    const value = read(this.#open().data, key)
    if (typeof value === 'object' && value !== null) this.#handOut(key, value)
    return value
  }

  /** Sets a value; an undefined one counts as absent. @returns whether that changed anything */
  set(key: string, value: unknown): boolean {
    if (value === undefined) return this.delete(key)
    const text = encodeValue(value, key)
    const { data, flash } = this.#open()
    const same = !flash.has(key) && Object.hasOwn(data, key) && this.#isUnchanged(key, text)
    this.#consumed?.delete(key)
    flash.delete(key)
    this.#adopt(key, value, text)
    if (!same) this.#log.push({ kind: 'set', key, text })
    return !same
  }

  flash(key: string, value: unknown): boolean {
    if (value === undefined) return this.delete(key)
    const text = encodeValue(value, key)
    this.#consumed?.delete(key)
    this.#open().flash.add(key)
    this.#adopt(key, value, text)
    this.#log.push({ kind: 'flash', key, text })
    return true
  }

  delete(key: string): boolean {
    const { data, flash } = this.#open()
    if (!Object.hasOwn(data, key)) return false
    this.#forget(data, flash, key)
    this.#log.push({ kind: 'delete', key })
    return true
  }

  /** Reads a value and removes it; of two requests that do so at once, neither removes what the other put there since. */
  pull(key: string): unknown {
    const { data, flash } = this.#open()
    const value = read(data, key)
    if (value === undefined) return undefined
    this.#settle(key)
    const text = JSON.stringify(value)
    this.#forget(data, flash, key)
    this.#log.push({ kind: 'take', key, text })
    return value
  }

  clear(): boolean {
    const draft = this.#open()
    if (Object.keys(draft.data).length === 0) return false
    draft.data = {}
    draft.flash.clear()
    this.#handedOut = null
    this.#lent = null
    this.#consumed = null
    this.#log.push({ kind: 'clear' })
    return true
  }

  /** Changes a value by a function that is called again, on a newer value, should another request have written meanwhile. */
  update(key: string, fn: (value: unknown) => unknown): { value: unknown; changed: boolean } {
    const { flash } = this.#open()
    this.#settle(key)
    const present = this.look(key)
    const before = present === undefined ? undefined : JSON.stringify(present)
    const value = fn(present)
    const text = encodeUpdated(value, key)
    // Also where it says the same: from here on the handler holds this object, and may write inside it.
    this.#adopt(key, value, text)
    if (text === before) return { value, changed: false }
    this.#consumed?.delete(key)
    flash.delete(key)
    this.#log.push({ kind: 'update', key, fn })
    return { value, changed: true }
  }

  get expiresAt(): number | null {
    return this.#open().expiresAt
  }

  setExpiry(expiresAt: number | null): void {
    this.#open().expiresAt = expiresAt
    this.#log.push({ kind: 'expiry', expiresAt })
  }

  /** A shallow copy of the data, which counts as no reading: a flash value stays. */
  peek(): Data {
    return { ...this.#open().data }
  }

  /**
   * Hands out what a schema made of the key's value, or put in place of none. It is stored if it comes to be changed; what is not data,
   * such as a Date, cannot be.
   */
  lend(key: string, made: object): object {
    const text = safeText(made)
    if (text === undefined) return made
    const stored = this.look(key)
    const from = stored === undefined ? undefined : JSON.stringify(stored)
    // What the schema left as it is stays the session's own object.
    if (text === from) return stored as object
    const lent = this.#lent?.get(key)
    if (lent !== undefined && lent.from === from && lent.text === text) return lent.value
    this.#lent ??= new Map()
    this.#lent.set(key, { value: made, text, from })
    return made
  }

  /** Whether nothing was changed, and nothing handed out that could have been. */
  get isPristine(): boolean {
    return this.#log.length === 0 && isEmpty(this.#handedOut) && isEmpty(this.#lent)
  }

  /** Whether there is anything to save. A value that cannot be saved counts. */
  get isModified(): boolean {
    if (this.isPristine) return false
    const { data } = this.#open()
    if (this.#log.length > 0) return true
    for (const [key, { value, text }] of this.#handedOut ?? [])
      if (read(data, key) === value && safeText(value) !== text) return true
    for (const { value, text } of this.#lent?.values() ?? []) if (safeText(value) !== text) return true
    return false
  }

  /**
   * Draws the line between what was changed before a sign-in and what comes after.
   * @param isAnother whether it is another user's session from there on, which starts empty
   */
  signIn(isAnother: boolean): void {
    if (isAnother) {
      this.reset(null)
      this.#open()
    } else this.#settleAll()
    this.#log.push({ kind: 'sign-in', isAnother })
  }

  /**
   * Takes the changes made so far. Those made from here on belong to the next commit.
   * @returns null when there is nothing to save
   * @throws SessionError `ERR_SESSION_VALUE` for a nested change that JSON would alter; then nothing is taken
   */
  seal(): Change | null {
    if (this.isPristine) return null
    this.#settleAll()
    if (this.#log.length === 0) return null
    const operations = this.#log
    this.#log = []
    const { data, flash, expiresAt } = this.#open()
    for (const key of this.#consumed ?? []) this.#forget(data, flash, key)
    this.#consumed = null
    const json = this.#diverged ? null : stringifyData(data)
    return {
      operations,
      json,
      flash: flash.size === 0 ? [] : [...flash],
      expiresAt,
      unconfirmed: this.#unconfirmed,
    }
  }

  /** Puts back changes that could not be carried into the store, before those made since. */
  restore({ operations, unconfirmed }: Change): void {
    // What another user did is not for this one to carry.
    if (this.#log.some((operation) => operation.kind === 'sign-in' && operation.isAnother)) return
    this.#log = [...operations, ...this.#log]
    this.#diverged = true
    this.#unconfirmed = unconfirmed
  }

  /** Goes on from the record just written, which holds these changes and no others. */
  advance(record: SessionData): void {
    this.#record = record
    this.#unconfirmed = undefined
  }

  /** Goes on from the record just written, in which others' changes were merged. */
  rebase(record: SessionData): void {
    this.advance(record)
    if (this.#draft === null) return
    const merged = draftOf(record)
    const { data, flash, expiresAt } = this.#draft
    // Objects that the handler holds stay the live ones, or what it writes into them from here on would be lost.
    const kept = new Set([...(this.#handedOut?.keys() ?? []), ...(this.#lent?.keys() ?? [])])
    for (const operation of this.#log) {
      if ('key' in operation) kept.add(operation.key)
      else if (operation.kind === 'expiry') merged.expiresAt = expiresAt
      else if (operation.kind === 'clear' || operation.isAnother)
        for (const key of Object.keys(merged.data)) kept.add(key)
    }
    for (const key of kept) {
      if (Object.hasOwn(data, key)) put(merged.data, key, data[key])
      else delete merged.data[key]
      if (flash.has(key)) merged.flash.add(key)
      else merged.flash.delete(key)
    }
    this.#draft = merged
    this.#diverged = kept.size > 0
  }

  /** Goes on from no record, with all that is here as changes. */
  startOver(): void {
    this.#settleAll()
    const { data, flash, expiresAt } = this.#open()
    for (const key of this.#consumed ?? []) this.#forget(data, flash, key)
    this.reset(null)
    for (const [key, value] of Object.entries(data)) {
      if (flash.has(key)) this.flash(key, value)
      else this.set(key, value)
    }
    if (expiresAt !== null) this.setExpiry(expiresAt)
  }

  /** Goes on from no record, with what was done since a sign-in and holds nothing of the one before. */
  leave(): void {
    const operations = sinceSignIn(this.#log)
    this.reset(null)
    if (operations.length === 0) return
    replay(operations, this.#open())
    this.#log = [...operations]
  }

  /** Starts over from another record, or from none; changes not yet taken are dropped. */
  reset(record: SessionData | null): void {
    this.#record = record
    this.#draft = null
    this.#log = []
    this.#handedOut = null
    this.#lent = null
    this.#consumed = null
    this.#diverged = false
    this.#unconfirmed = undefined
  }

  /** The record this is a working copy of. */
  get record(): SessionData | null {
    return this.#record
  }

  #open(): Draft {
    const draft = (this.#draft ??= draftOf(this.#record))
    if (this.#lent !== null) this.#takeLent(draft, this.#lent)
    return draft
  }

  #handOut(key: string, value: object): void {
    if (this.#handedOut?.get(key)?.value !== value) this.#remember(key, value, JSON.stringify(value))
  }

  #remember(key: string, value: object, text: string): void {
    this.#handedOut ??= new Map()
    this.#handedOut.set(key, { value, text })
  }

  /** Makes `value` the live one of its key, known by its text. */
  #adopt(key: string, value: unknown, text: string): void {
    put(this.#open().data, key, value)
    this.#lent?.delete(key)
    if (typeof value === 'object' && value !== null) this.#remember(key, value, text)
    else this.#handedOut?.delete(key)
  }

  /** Makes what was lent, and changed since, the live values of their keys. */
  #takeLent(draft: Draft, lent: Map<string, Lent>): void {
    for (const [key, { value, text, from }] of lent) {
      const changed = safeText(value)
      if (changed === undefined || changed === text) continue
      lent.delete(key)
      put(draft.data, key, value)
      if (this.#consumed?.delete(key)) draft.flash.delete(key)
      this.#remember(key, value, changed)
      this.#log.push({ kind: 'set', key, text: changed, nested: from !== undefined })
    }
  }

  #forget(data: Draft['data'], flash: Draft['flash'], key: string): void {
    delete data[key]
    flash.delete(key)
    this.#handedOut?.delete(key)
    this.#lent?.delete(key)
  }

  /** A flash value read for the first time: it stays readable here, and goes with the next commit. */
  #consume(key: string, value: unknown): void {
    if (this.#consumed?.has(key)) return
    this.#consumed ??= new Set()
    this.#consumed.add(key)
    this.#log.push({ kind: 'take', key, text: JSON.stringify(value) })
  }

  /** Logs what was written inside the key's object since it was handed out. */
  #settle(key: string): void {
    const entry = this.#handedOut?.get(key)
    if (entry === undefined || read(this.#open().data, key) !== entry.value) return
    const text = encodeValue(entry.value, key)
    if (text === entry.text) return
    // A flash value that was read and then written into is wanted after all.
    if (this.#consumed?.delete(key)) this.#open().flash.delete(key)
    this.#remember(key, entry.value, text)
    this.#log.push({ kind: 'set', key, text, nested: true })
  }

  #settleAll(): void {
    this.#open()
    for (const key of this.#handedOut?.keys() ?? []) this.#settle(key)
    // What was changed into something that can be stored is among those; what cannot be is refused.
    for (const [key, { value }] of this.#lent ?? []) encodeValue(value, key)
  }

  /** Whether the key's value is what it was when it was loaded or last logged, and has this text. */
  #isUnchanged(key: string, text: string): boolean {
    const value = read(this.#open().data, key)
    const entry = this.#handedOut?.get(key)
    if (typeof value !== 'object' || value === null || entry?.value !== value)
      return JSON.stringify(value) === text
    return entry.text === text && safeText(value) === text
  }
}

function isEmpty(map: ReadonlyMap<string, unknown> | null): boolean {
  return map === null || map.size === 0
}

function safeText(value: object): string | undefined {
  try {
    return encodeValue(value, '')
  } catch {
    return undefined
  }
}

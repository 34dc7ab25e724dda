import { randomBytes } from 'node:crypto'

import { SessionError } from '../errors.ts'
import { parseJson } from './parse-json.ts'

/** What a session keeps: keys that are data, values that JSON gives back unchanged. */
export type Data = Record<string, unknown>

/** Fields of a {@link SessionData}; all but the ones you care about may be left out. */
export interface SessionDataInit {
  /** Default: a random id that no cookie leads to. */
  id?: string
  /** The data as an object, or as the JSON text of one, which is then parsed only when somebody reads it. Default `{}`. */
  data?: Data | string
  /** Default: empty, which says that the record was never written. */
  version?: string
  userId?: string | null
  /** Epoch milliseconds. Default: now. */
  createdAt?: number
  /** Epoch milliseconds. Default: `createdAt`. */
  updatedAt?: number
  /** Epoch milliseconds. Default: `updatedAt`. */
  touchedAt?: number
  /** Epoch milliseconds; null (the default) leaves the lifetime to the idle and absolute timeouts. */
  expiresAt?: number | null
  /** Keys whose values are dropped once read. Default: none. */
  flash?: readonly string[]
  /** What a user is to know the session by in a list of theirs. Default: null. */
  device?: string | null
}

/** A {@link SessionData} as JSON: times are ISO 8601 in UTC. */
export interface SessionDataJSON {
  format: 1
  id: string
  data: Data
  version: string
  userId: string | null
  createdAt: string
  updatedAt: string
  touchedAt: string
  expiresAt: string | null
  flash?: readonly string[]
  device?: string
}

/** The record that a store keeps. Times are epoch milliseconds (UTC). */
export class SessionData {
  /** `base64url(SHA-256(token))`: the store's key. Safe to log. */
  readonly id: string
  /** Opaque, and unique to each write; empty for a record that was never written. */
  readonly version: string
  readonly userId: string | null
  readonly createdAt: number
  readonly updatedAt: number
  /** Last activity, moved forward by touches without a new version. */
  readonly touchedAt: number
  /** The fixed deadline that `setExpiry` gave; null where the idle timeout rules. */
  readonly expiresAt: number | null
  /** Keys whose values are dropped once read. */
  readonly flash: readonly string[]
  /** What a user is to know the session by in a list of theirs: noted at sign-in, where `noteDevice` asks for it. */
  readonly device: string | null
  #json: string
  #data: Data | undefined

  constructor(init: SessionDataInit = {}) {
    this.id = init.id ?? randomBytes(32).toString('base64url')
    this.version = init.version ?? ''
    this.userId = init.userId ?? null
    this.createdAt = init.createdAt ?? Date.now()
    this.updatedAt = init.updatedAt ?? this.createdAt
    this.touchedAt = init.touchedAt ?? this.updatedAt
    this.expiresAt = init.expiresAt ?? null
    this.flash = init.flash ?? NO_FLASH
    this.device = init.device ?? null
    if (typeof init.data === 'object') {
      this.#json = ''
      this.#data = init.data
    } else this.#json = init.data ?? '{}'
  }

  /**
   * The data, the caller's own to change.
   * @throws SessionError `ERR_SESSION_RECORD` when the stored text is not that of a JSON object
   */
  get data(): Data {
    return (this.#data ??= parseData(this.#json))
  }

  /** The data as JSON text; the stored text itself while nobody has read `data`. */
  get json(): string {
    return this.#data === undefined ? this.#json : stringifyData(this.#data)
  }

  /** Whether the record's own deadline has come; false where it has none. At the very instant it is past. */
  isExpired(now: number = Date.now()): boolean {
    return this.expiresAt !== null && now >= this.expiresAt
  }

  toJSON(): SessionDataJSON {
    return {
      format: 1,
      id: this.id,
      data: this.data,
      version: this.version,
      userId: this.userId,
      createdAt: new Date(this.createdAt).toISOString(),
      updatedAt: new Date(this.updatedAt).toISOString(),
      touchedAt: new Date(this.touchedAt).toISOString(),
      expiresAt: this.expiresAt === null ? null : new Date(this.expiresAt).toISOString(),
      ...(this.flash.length > 0 && { flash: this.flash }),
      ...(this.device !== null && { device: this.device }),
    }
  }

  /**
   * Reads what {@link toJSON} gave; `data` and `expiresAt` may be missing.
   * @param value the parsed JSON
   * @throws SessionError `ERR_SESSION_RECORD` when anything is missing, misshapen, or of a later format
   */
  static fromJSON(value: unknown): SessionData {
    if (!isObject(value)) throw broken('it is not an object')
    const { format = 1, id, data = {}, version, userId = null, flash = NO_FLASH, device = null } = value
    if (format !== 1) throw broken('it has another format; is a newer Holdfast writing to this store?')
    if (typeof id !== 'string' || id === '') throw broken('id is not a string')
    if (typeof version !== 'string') throw broken('version is not a string')
    if (userId !== null && typeof userId !== 'string') throw broken('userId is neither a string nor null')
    if (!isStrings(flash)) throw broken('flash is not a list of keys')
    if (device !== null && typeof device !== 'string') throw broken('device is neither a string nor null')
    if (!isObject(data)) throw broken('data is not an object')
    if (nestsDeeperThan(MAX_DEPTH, data)) throw broken('its data nests too deep')
    const createdAt = readTime('createdAt', value.createdAt)
    const updatedAt = readTime('updatedAt', value.updatedAt)
    const touchedAt = readTime('touchedAt', value.touchedAt ?? value.updatedAt)
    const expiresAt = (value.expiresAt ?? null) === null ? null : readTime('expiresAt', value.expiresAt)
    return new SessionData({
      id,
      data,
      version,
      userId,
      createdAt,
      updatedAt,
      touchedAt,
      expiresAt,
      flash,
      device,
    })
  }
}

/** How deep values may nest: far below where JSON's own recursion overflows the stack. */
export const MAX_DEPTH = 500

/** Shared by all records, so nobody may write to it. */
const NO_FLASH: readonly string[] = Object.freeze([])

/**
 * JSON text of the data. U+FFFD is escaped, so that its raw form in a stored text always means
 * that a driver replaced bytes which were not UTF-8.
 */
export function stringifyData(data: Data): string {
  const text = JSON.stringify(data)
  return text.includes('\uFFFD') ? text.replaceAll('\uFFFD', '\\ufffd') : text
}

/** @throws SessionError `ERR_SESSION_RECORD` when `text` is not the JSON of an object, or nests too deep */
export function parseData(text: string): Data {
  if (text.includes('\uFFFD')) throw broken('its data is not UTF-8')
  if (isTooDeep(text)) throw broken('its data nests too deep')
  let value: unknown
  try {
    value = parseJson(text)
  } catch {
    // The parser's own message quotes the text, which is session data: it must not travel (ASVS 16.2.5).
    throw broken('its data is not JSON')
  }
  if (!isObject(value)) throw broken('its data is not an object')
  return value
}

/** A {@link SessionError} for a stored record that cannot be read. */
export function broken(why: string): SessionError {
  return new SessionError('ERR_SESSION_RECORD', `The stored record cannot be read: ${why}.`)
}

/** Only a text with length and brackets enough to nest too deep is looked at closely. */
function isTooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_DEPTH || !hasMore(MAX_DEPTH, '[{', text)) return false
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 0x5c /* \ */) i++
      else if (code === 0x22 /* " */) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x5b /* [ */ || code === 0x7b /* { */) {
      if (++depth > MAX_DEPTH) return true
    } else if (code === 0x5d /* ] */ || code === 0x7d /* } */) depth--
  }
  return false
}

/** Whether a text has more than so many of some characters; each is looked for by itself, as that is a search in machine code. */
function hasMore(count: number, characters: string, text: string): boolean {
  let left = count
  for (const character of characters)
    for (let at = text.indexOf(character); at !== -1; at = text.indexOf(character, at + 1))
      if (left-- === 0) return true
  return false
}

function nestsDeeperThan(levels: number, value: object): boolean {
  if (levels === 0) return true
  return Object.values(value).some(
    (child) => typeof child === 'object' && child !== null && nestsDeeperThan(levels - 1, child),
  )
}

function readTime(field: string, value: unknown): number {
  const match = typeof value === 'string' ? ISO_TIME.exec(value) : null
  // A time without an offset is UTC, as the Python original writes it; Date would take it for local time.
  const time = match ? Date.parse(match[1] === undefined ? `${match[0]}Z` : match[0]) : NaN
  if (Number.isNaN(time)) throw broken(`${field} is not an ISO 8601 time`)
  return time
}

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?$/

function isObject(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

import { broken, SessionData } from './session-data.ts'
import type { Mark } from './store.ts'

/**
 * A record as one text, for stores that keep text: a first line `[1, createdAt, updatedAt, expiresAt, userId, flash]`, with the device at its
 * end where one was noted, whose 1 is the format, and below it the data's JSON as it is. A read parses the short line and leaves the data alone.
 */
export function writePayload(record: SessionData): string {
  const { createdAt, updatedAt, expiresAt, userId, flash, device } = record
  const fields = [FORMAT, createdAt, updatedAt, expiresAt, userId, flash]
  const head = JSON.stringify(device === null ? fields : [...fields, device])
  // As in the data's own text: a raw U+FFFD always means that a driver replaced bytes which were not UTF-8.
  return `${head.includes('\uFFFD') ? head.replaceAll('\uFFFD', '\\ufffd') : head}\n${record.json}`
}

/**
 * Reads what {@link writePayload} gave. Of the data it looks only at both ends;
 * what is wrong between them shows when somebody reads `data`.
 * @param id the id that was looked up: a record never brings its own
 * @throws SessionError `ERR_SESSION_RECORD` when anything is missing, misshapen, or of a later format
 */
export function readPayload(id: string, version: string, touchedAt: number, payload: string): SessionData {
  if (version.includes('\uFFFD')) throw broken('version is not UTF-8')
  if (!isTime(touchedAt)) throw broken('touchedAt is not a time')
  if (payload.includes('\uFFFD')) throw broken('it is not UTF-8')
  const end = payload.indexOf('\n')
  const line = readLine(payload.slice(0, Math.max(end, 0)), 5, 6)
  const [createdAt, updatedAt, expiresAt, userId, flash, device = null] = line
  if (!isTime(createdAt)) throw broken('createdAt is not a time')
  if (!isTime(updatedAt)) throw broken('updatedAt is not a time')
  if (expiresAt !== null && !isTime(expiresAt)) throw broken('expiresAt is neither a time nor null')
  if (userId !== null && typeof userId !== 'string') throw broken('userId is neither a string nor null')
  if (!Array.isArray(flash) || !flash.every(isString)) throw broken('flash is not a list of keys')
  if (device !== null && typeof device !== 'string') throw broken('device is neither a string nor null')
  const data = payload.slice(end + 1)
  if (!data.startsWith('{') || !data.endsWith('}')) throw broken('its data is not an object')
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

/** A mark as one text: `[1, reason, successor, sameUser]`. */
export function writeMark({ reason, successor, sameUser }: Mark): string {
  return JSON.stringify([FORMAT, reason, successor, sameUser])
}

/**
 * Reads what {@link writeMark} gave.
 * @throws SessionError `ERR_SESSION_RECORD` when it is anything else
 */
export function readMark(text: string): Mark {
  const [reason, successor, sameUser] = readLine(text, 3)
  if (!isReason(reason)) throw broken('its mark names no reason')
  if (successor !== null && !isString(successor)) throw broken('its mark names no successor')
  if (typeof sameUser !== 'boolean') throw broken('its mark does not say whether the user stayed')
  return { kind: 'mark', reason, successor, sameUser }
}

/** A later Holdfast that writes another form gives it another number. */
const FORMAT = 1

const REASONS: readonly unknown[] = [
  'destroyed',
  'revoked',
  'rotated',
  'withdrawn',
] satisfies Mark['reason'][]

/** The fields of a line after its format, from `least` to `most` of them. */
function readLine(text: string, least: number, most: number = least): unknown[] {
  let line: unknown
  try {
    line = JSON.parse(text)
  } catch {
    // The parser's own message quotes the text: it must not travel (ASVS 16.2.5).
    throw broken('it is not JSON')
  }
  if (!Array.isArray(line)) throw broken('it does not begin with a list')
  const [format, ...fields] = line as unknown[]
  if (format !== FORMAT) throw broken('it has another format; is a newer Holdfast writing to this store?')
  if (fields.length < least || fields.length > most) throw broken('fields are missing, or there are too many')
  return fields
}

/** Whether a `Date` can hold it: 10⁸ days around 1970. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isReason(value: unknown): value is Mark['reason'] {
  return REASONS.includes(value)
}

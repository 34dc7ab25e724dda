import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'

import { broken, SessionData } from './session-data.ts'
import type { Mark } from './store.ts'

/** The one statement of each operation. Times that they take are epoch milliseconds. */
export interface Statements {
  /** (id, now) → {@link Row} */
  readonly load: StatementSync
  /** (id, now) → a row, where there is a record */
  readonly exists: StatementSync
  /** (id, ...fields) */
  readonly set: StatementSync
  /** (id, ...fields, now) */
  readonly create: StatementSync
  /** (...fields, id, now, expected version) */
  readonly replace: StatementSync
  /** (reason, successor, sameUser, until, id, now, expected version or null) */
  readonly end: StatementSync
  /** (now, ends at, id, now, expected version or null) */
  readonly touch: StatementSync
  /** (id, now) */
  readonly delete: StatementSync
  /** (user id, now) → `id` of each of the user's records */
  readonly idsOfUser: StatementSync
  /** (now, how many) → `mark` of each row removed */
  readonly sweep: StatementSync
}

/** What `load` finds. A table may have been made or written by others: nothing is certain about the types. */
export type Row = Readonly<Record<string, unknown>>

/** Makes the table where there is none, and prepares its statements. `table` must be checked before: it becomes SQL. */
export function prepareTable(database: DatabaseSync, table: string): Statements {
  database.exec(`
    CREATE TABLE IF NOT EXISTS "${table}" (
      id TEXT NOT NULL PRIMARY KEY,
      version TEXT NOT NULL,
      user_id TEXT,
      created_at INTEGER NOT NULL, -- times are milliseconds since 1970, UTC
      updated_at INTEGER NOT NULL,
      touched_at INTEGER NOT NULL, -- last activity
      expires_at INTEGER,          -- the session's own deadline, where it has one
      ends_at INTEGER NOT NULL,    -- from then on this row does not count
      mark TEXT,                   -- why the session ended; null while it lives
      successor TEXT,              -- of a rotation: the id that came after
      same_user INTEGER,           -- of a rotation: 1 if the user stayed the same
      flash TEXT NOT NULL,         -- keys to drop once read, a JSON list
      device TEXT,                 -- what its user is to know the session by; null where that was not noted
      data TEXT NOT NULL           -- a JSON object; empty once the session ended
    ) STRICT;
    CREATE INDEX IF NOT EXISTS "${table}_ends_at" ON "${table}" (ends_at);
    CREATE INDEX IF NOT EXISTS "${table}_user_id" ON "${table}" (user_id) WHERE user_id IS NOT NULL;
  `)
  addDevice(database, table)

  const upsert = `
    INSERT INTO "${table}" (id, ${FIELDS.join(', ')}) VALUES (?${', ?'.repeat(FIELDS.length)})
    ON CONFLICT (id) DO UPDATE SET
      ${FIELDS.map((field) => `${field} = excluded.${field}`).join(', ')},
      mark = NULL, successor = NULL, same_user = NULL`
  const assignments = FIELDS.map((field) =>
    field === 'touched_at' ? 'touched_at = max(touched_at, ?)' : `${field} = ?`,
  )
  const isLive = 'id = ? AND mark IS NULL AND ends_at > ?'
  const isExpected = `${isLive} AND version = coalesce(?, version)`

  const statement = (sql: string): StatementSync => {
    const prepared = database.prepare(sql)
    // Whatever the database's own settings: numbers, and rows as objects.
    prepared.setReadBigInts(false)
    prepared.setReturnArrays?.(false)
    return prepared
  }
  return {
    load: statement(
      `SELECT ${FIELDS.join(', ')}, mark, successor, same_user FROM "${table}" WHERE id = ? AND ends_at > ?`,
    ),
    exists: statement(`SELECT 1 FROM "${table}" WHERE ${isLive}`),
    set: statement(upsert),
    create: statement(`${upsert} WHERE "${table}".ends_at <= ?`),
    replace: statement(`UPDATE "${table}" SET ${assignments.join(', ')} WHERE ${isExpected}`),
    end: statement(`
      UPDATE "${table}" SET
        mark = ?, successor = ?, same_user = ?, ends_at = ?,
        version = '', user_id = NULL, expires_at = NULL, flash = '[]', device = NULL, data = ''
      WHERE ${isExpected}`),
    touch: statement(
      `UPDATE "${table}" SET touched_at = max(touched_at, ?), ends_at = max(ends_at, ?) WHERE ${isExpected}`,
    ),
    delete: statement(`DELETE FROM "${table}" WHERE ${isLive}`),
    idsOfUser: statement(`SELECT id FROM "${table}" WHERE user_id = ? AND mark IS NULL AND ends_at > ?`),
    sweep: statement(`
      DELETE FROM "${table}" WHERE id IN (SELECT id FROM "${table}" WHERE ends_at <= ? LIMIT ?)
      RETURNING mark`),
  }
}

/** Gives a table its column `device` that was made by a Holdfast which had none. */
function addDevice(database: DatabaseSync, table: string): void {
  const columns = database.prepare(`SELECT 1 FROM pragma_table_info(?) WHERE name = 'device'`)
  if (columns.get(table) !== undefined) return
  try {
    database.exec(`ALTER TABLE "${table}" ADD COLUMN device TEXT`)
  } catch (error) {
    // Another process may have been first.
    if (columns.get(table) === undefined) throw error
  }
}

/** A record's columns in the order of {@link fieldsOf}; beside them a row has its id and, once ended, its mark. */
const FIELDS = [
  'version',
  'user_id',
  'created_at',
  'updated_at',
  'touched_at',
  'expires_at',
  'ends_at',
  'flash',
  'device',
  'data',
]

/** A record as its columns take it. */
export function fieldsOf(record: SessionData, endsAt: number): SQLInputValue[] {
  const { version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, device, json } = record
  const keys = flash.length === 0 ? '[]' : JSON.stringify(flash)
  return [version, userId, createdAt, updatedAt, touchedAt, expiresAt, endsAt, keys, device, json]
}

/**
 * Reads what `load` found. The data stays unparsed until somebody reads it.
 * @param id the id that was looked up
 * @throws SessionError `ERR_SESSION_RECORD` when a column is not what it must be
 */
export function readRow(id: string, row: Row): SessionData | Mark {
  const { mark, version, user_id: userId, device, data } = row
  if (mark !== null) return readMark(row)
  if (typeof version !== 'string') throw broken('version is not text')
  if (userId !== null && typeof userId !== 'string') throw broken('user_id is neither text nor null')
  if (device !== null && typeof device !== 'string') throw broken('device is neither text nor null')
  if (typeof data !== 'string') throw broken('data is not text')
  return new SessionData({
    id,
    data,
    version,
    userId,
    createdAt: readTime(row, 'created_at'),
    updatedAt: readTime(row, 'updated_at'),
    touchedAt: readTime(row, 'touched_at'),
    expiresAt: row['expires_at'] === null ? null : readTime(row, 'expires_at'),
    device,
    ...(row['flash'] !== '[]' && { flash: readFlash(row['flash']) }),
  })
}

function readTime(row: Row, column: string): number {
  const time = row[column]
  // What a Date can hold: 10⁸ days around 1970.
  if (typeof time !== 'number' || Math.abs(time) > 8.64e15) throw broken(`${column} is not a time`)
  return time
}

function readFlash(text: unknown): string[] {
  let keys: unknown
  try {
    keys = JSON.parse(text as string)
  } catch {
    // The parser's own message quotes the text, which is session data: it must not travel (ASVS 16.2.5).
    throw broken('flash is not JSON')
  }
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string'))
    throw broken('flash is not a list of keys')
  return keys
}

function readMark({ mark, successor, same_user: sameUser }: Row): Mark {
  if (!isReason(mark)) throw broken('its mark names no reason')
  if (successor !== null && typeof successor !== 'string') throw broken('its mark names no successor')
  return { kind: 'mark', reason: mark, successor, sameUser: sameUser === 1 }
}

function isReason(value: unknown): value is Mark['reason'] {
  return REASONS.includes(value)
}

const REASONS: readonly unknown[] = [
  'destroyed',
  'revoked',
  'rotated',
  'withdrawn',
] satisfies Mark['reason'][]

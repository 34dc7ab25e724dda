import { setTimeout as pause } from 'node:timers/promises'

import type { DatabaseSync, StatementResultingChanges } from 'node:sqlite'

import { SessionError } from '../errors.ts'
import { answer } from './_answer.ts'
import { LONGEST_TIMER, OptionsReader } from './_options.ts'
import type { Statements } from './_sqlite-table.ts'
import { fieldsOf, prepareTable, readRow } from './_sqlite-table.ts'
import { SqliteWatch } from './_sqlite-watch.ts'
import { inSlices, Sweeper } from './_sweeper.ts'
import { Watchers } from './_watchers.ts'
import type { NoticeListener, Notices } from './notices.ts'
import type { SessionData } from './session-data.ts'
import { broken } from './session-data.ts'
import type { Mark, SessionStoreOptions } from './store.ts'
import { DEFAULT_TTL, deadlineOf, isMark, MARK_SECONDS, SessionStore } from './store.ts'
import type { UserIndex } from './user-index.ts'

/** Options of {@link SqliteSessionStore}: where the database is, and how to use it. */
export type SqliteSessionStoreOptions = SqliteSettings & (SqlitePath | SqliteDatabase)

/** A database file for the store to open, and to close with itself. */
export interface SqlitePath {
  /** The file, made where there is none; `':memory:'` for none at all. */
  path: string
  database?: never
}

/** A database that you opened, with its settings as you made them. The store never closes it. */
export interface SqliteDatabase {
  /** From `node:sqlite`. It may hold other tables. Hold no transaction of it open across an `await`: sessions written meanwhile would be part of it. */
  database: DatabaseSync
  path?: never
}

/** How an {@link SqliteSessionStore} uses its database. */
export interface SqliteSettings extends SessionStoreOptions {
  /** Seconds that a record lives when `set` is not told. Default 3600. */
  defaultTtl?: number
  /** Seconds between two cleanups. Default 300. */
  cleanupInterval?: number
  /** The table's name: a letter or `_`, then letters, digits or `_`. It is made where there is none. Default `'holdfast_sessions'`. */
  table?: string
}

/**
 * Keeps sessions in an SQLite database, through the `node:sqlite` that Node, Bun and Deno bring along:
 * for one machine, and as many processes on it as you like.
 *
 * Every operation is one statement, so all promises hold across processes. The columns are for people to read; an
 * ended session leaves a mark in its row and none of its data. Expired rows are never found, and leave at cleanups.
 *
 * A file that the store opens is in WAL mode with `synchronous = NORMAL`: a killed process loses nothing; a power cut
 * may undo the last moments, sign-outs among them. Where that matters, hand in a `database` with `synchronous = FULL`.
 *
 * Notices of what this store does are told at once. What other connections do, those of other processes among them, is looked for once a second
 * while anything is watched, and told of everything that is watched.
 *
 * @example
 * const store = new SqliteSessionStore({ path: 'sessions.db' })
 */
export class SqliteSessionStore extends SessionStore implements Notices, UserIndex {
  override readonly atomic: boolean = true
  readonly #defaultTtl: number
  readonly #sweeper: Sweeper
  readonly #watchers: Watchers
  readonly #others: SqliteWatch
  /** What `close` closes; null where the database was handed in. */
  readonly #own: DatabaseSync | null
  /** Null once closed. */
  #statements: Statements | null

  /**
   * Opens the database at once, so that a wrong path shows at start and not at the first request.
   * @throws SessionError `ERR_SESSION_OPTION` when an option is missing, unknown or out of range,
   * `ERR_SESSION_NO_DRIVER` where the runtime has no `node:sqlite`, `ERR_SESSION_STORE` when the database does not open
   */
  constructor(options: SqliteSessionStoreOptions) {
    const reader = new OptionsReader('sqlite', options, OPTIONS)
    super(options)
    this.#defaultTtl = reader.seconds('defaultTtl', DEFAULT_TTL)
    const interval = reader.seconds('cleanupInterval', 300, LONGEST_TIMER)
    this.#sweeper = new Sweeper(this.clock, interval, () => this.clearExpired())
    const { path, database, table = 'holdfast_sessions' } = options
    checkTarget(reader, path, database)
    if (typeof table !== 'string' || !TABLE_NAME.test(table))
      throw reader.refusal(
        'table',
        'must be letters, digits and _, begin with none of the digits, nor sqlite_',
      )

    this.#own = database === undefined ? open(path) : null
    try {
      const used = (database ?? this.#own)!
      this.#statements = insistently(() => prepareTable(used, table))
      this.#watchers = watchersOf(used)
      this.#others = new SqliteWatch(used, this.clock, this.#watchers)
    } catch (error) {
      this.#own?.close()
      throw failed('open', error, `Is it read-only, or is there another table of the name ${table}?`)
    }
  }

  async get(id: string): Promise<SessionData | null> {
    const found = await this.#find('get', id)
    return isMark(found) ? null : found
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#find('load', id)
  }

  async set(id: string, data: SessionData, ttl: number = this.#defaultTtl): Promise<void> {
    const now = this.clock.now()
    await this.#run('set', ({ set }) => set.run(id, ...fieldsOf(data, deadlineOf(ttl, now))))
    this.#watchers.tell(id, data.version)
  }

  delete(id: string): Promise<boolean> {
    return this.#run('delete', (sql) => this.#told(id, null, sql.delete.run(id, this.clock.now())))
  }

  exists(id: string): Promise<boolean> {
    return this.#run('exists', ({ exists }) => exists.get(id, this.clock.now()) !== undefined)
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.#run('create', ({ create }) => {
      const now = this.clock.now()
      return changed(create.run(id, ...fieldsOf(data, deadlineOf(ttl, now)), now))
    })
  }

  override replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    return this.#run('replace', ({ replace }) => {
      const now = this.clock.now()
      const fields = fieldsOf(data, deadlineOf(ttl, now))
      return this.#told(id, data.version, replace.run(...fields, id, now, expectedVersion))
    })
  }

  override end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return this.#run('end', ({ end }) => {
      const now = this.clock.now()
      const { reason, successor, sameUser } = mark
      const until = deadlineOf(MARK_SECONDS, now)
      const ended = end.run(reason, successor, Number(sameUser), until, id, now, expectedVersion ?? null)
      return this.#told(id, null, ended)
    })
  }

  override touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return this.#run('touch', ({ touch }) => {
      const now = this.clock.now()
      return changed(touch.run(now, deadlineOf(ttl, now), id, now, expectedVersion ?? null))
    })
  }

  /** Does nothing: the rows say whose they are. */
  async noteUser(): Promise<void> {}

  idsOfUser(userId: string): Promise<readonly string[]> {
    return this.#run('idsOfUser', ({ idsOfUser }) =>
      idsOfUser.all(userId, this.clock.now()).map((row) => row['id'] as string),
    )
  }

  /** Does nothing: a row that is there is no hint. */
  async forgetUser(): Promise<void> {}

  async watch(id: string, listener: NoticeListener): Promise<() => void> {
    this.#others.start()
    return this.#watchers.add(id, listener)
  }

  /** Removes what has expired, in slices that hold nothing up. Resolves to how many sessions it removed. */
  override clearExpired(): Promise<number> {
    return inSlices(this.#sweepSlices())
  }

  /** Cleans up every `cleanupInterval` seconds from now on. The store begins by itself with its first use. */
  startCleanup(): void {
    if (this.#statements !== null) this.#sweeper.start()
  }

  /** Stops cleaning up, until `startCleanup` is called. Expired sessions are still never found. */
  stopCleanup(): void {
    this.#sweeper.stop()
  }

  /** Stops cleaning up, and closes the file if the store opened it. Whatever is asked of it afterwards rejects. */
  override async close(): Promise<void> {
    if (this.#statements === null) return
    this.#statements = null
    this.#sweeper.stop()
    this.#others.stop()
    this.#own?.close()
  }

  /** Tells of what a statement did, if it did anything. @returns whether it did */
  #told(id: string, version: string | null, result: StatementResultingChanges): boolean {
    const hasChanged = changed(result)
    if (hasChanged) this.#watchers.tell(id, version)
    return hasChanged
  }

  #find(operation: string, id: string): Promise<SessionData | Mark | null> {
    return this.#run(operation, ({ load }) => {
      const row = load.get(id, this.clock.now())
      return row === undefined ? null : readRow(id, row)
    })
  }

  async *#sweepSlices(): AsyncGenerator<number, number> {
    const now = this.clock.now()
    for (;;) {
      const rows = await this.#run('clearExpired', ({ sweep }) => sweep.all(now, SLICE))
      const removed = rows.filter((row) => row['mark'] === null).length
      if (rows.length < SLICE) return removed
      yield removed
    }
  }

  /**
   * Runs one statement. SQLite itself waits only briefly for a lock, as that holds up the whole process; while another
   * process keeps it longer, the wait goes on here, with the event loop turning. It is over well within a request's deadline.
   */
  #run<R>(operation: string, step: (statements: Statements) => R): Promise<R> {
    return answer(
      () => this.#try(operation, step),
      (error) => this.#tryAgain(operation, step, error),
    )
  }

  #try<R>(operation: string, step: (statements: Statements) => R): R {
    if (this.#statements === null)
      throw new SessionError(
        'ERR_SESSION_STORE',
        'The SQLite store is closed: let requests end before you close it, or make a new one.',
        { operation },
      )
    this.#sweeper.startAtFirstUse()
    return step(this.#statements)
  }

  async #tryAgain<R>(operation: string, step: (statements: Statements) => R, first: unknown): Promise<R> {
    let error = first
    for (let attempt = 2; isBusy(error); attempt++) {
      if (attempt > LOCK_ATTEMPTS) throw failed(operation, error, 'Another process holds its lock.')
      // Real time, whatever the clock: another process lets go of its lock when it does.
      await pause(LOCK_PAUSE * (0.5 + Math.random()))
      try {
        return this.#try(operation, step)
      } catch (next) {
        error = next
      }
    }
    if (error instanceof SessionError) throw error
    if (codesOf(error).code === 'ERR_OUT_OF_RANGE') throw broken('one of its numbers is out of range')
    throw failed(operation, error, 'See the cause.')
  }
}

const OPTIONS = ['clock', 'path', 'database', 'defaultTtl', 'cleanupInterval', 'table']

/** A name that stays itself within quotes; SQLite keeps those with `sqlite_` for itself. */
const TABLE_NAME = /^(?!sqlite_)[A-Z_][A-Z0-9_]*$/i

/** Rows that one statement of a cleanup removes: about a millisecond's work. */
const SLICE = 100

/** Milliseconds that SQLite waits for a lock at each of our attempts. */
const LOCK_WAIT = 20
/** Milliseconds between attempts, on average, and how many there are: about 0.7 s in all. */
const LOCK_PAUSE = 15
const LOCK_ATTEMPTS = 20
/** Milliseconds for all attempts to open a file; no request waits yet. */
const OPENING = 5000

function checkTarget(reader: OptionsReader, path: unknown, database: unknown): void {
  if (path === undefined && database === undefined)
    throw reader.refusal('target', 'is missing: give the path of a file, or an open database', 'path')
  if (path !== undefined && database !== undefined)
    throw reader.refusal('target', 'cannot stand beside database: give one of them', 'path')
  if (database === undefined && (typeof path !== 'string' || path === ''))
    throw reader.refusal('path', 'must be the name of a file')
  if (path === undefined && typeof (database as DatabaseSync | null)?.prepare !== 'function')
    throw reader.refusal('database', 'must be a DatabaseSync of node:sqlite')
}

/** Opens a file. `node:sqlite` is looked up only here, so that importing this module works where there is none. */
function open(path: string): DatabaseSync {
  const sqlite = process.getBuiltinModule?.('node:sqlite')
  if (sqlite === undefined)
    throw new SessionError(
      'ERR_SESSION_NO_DRIVER',
      'This runtime has no node:sqlite. Use Node 22.13 or later, or another store.',
    )
  let database: DatabaseSync | undefined
  try {
    const opened = (database = new sqlite.DatabaseSync(path))
    opened.exec(`PRAGMA busy_timeout = ${LOCK_WAIT}`)
    insistently(() => opened.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL'))
    return opened
  } catch (error) {
    database?.close()
    throw failed('open', error, 'Does the folder exist, and may this process write to it?')
  }
}

/** Those of one connection, which may serve several stores: what one of them does is no news to SQLite there. */
function watchersOf(database: DatabaseSync): Watchers {
  const present = WATCHERS.get(database) ?? new Watchers()
  WATCHERS.set(database, present)
  return present
}

const WATCHERS = new WeakMap<DatabaseSync, Watchers>()

/**
 * Repeats a step that needs a lock. Of several processes that make a new file at once, each may hold what another waits for, and SQLite
 * then tells some of them without any wait: who has let go may try again.
 */
function insistently<R>(step: () => R): R {
  const end = performance.now() + OPENING
  for (;;)
    try {
      return step()
    } catch (error) {
      if (!isBusy(error) || performance.now() > end) throw error
      block(LOCK_PAUSE * (0.5 + Math.random()))
    }
}

/** Waits so many milliseconds, and the whole thread with it. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** Whether a statement changed its row. */
function changed({ changes }: StatementResultingChanges): boolean {
  return changes === 1
}

function failed(operation: string, cause: unknown, remedy: string): SessionError {
  return new SessionError('ERR_SESSION_STORE', `The SQLite database failed at ${operation}. ${remedy}`, {
    operation,
    cause,
  })
}

/** What `node:sqlite` adds to an error: a code of Node's, and a result code of SQLite's. */
function codesOf(error: unknown): { code?: unknown; errcode?: unknown } {
  return typeof error === 'object' && error !== null ? error : {}
}

/** SQLITE_BUSY and its extended forms, whose lowest byte it is: nothing was read or written. */
function isBusy(error: unknown): boolean {
  const { errcode } = codesOf(error)
  return typeof errcode === 'number' && (errcode & 0xff) === 5
}

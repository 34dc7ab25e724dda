import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSyncOptions, SQLOutputValue } from 'node:sqlite'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { runContract } from '../../test/stores/run-contract.ts'
import { systemClock } from '../clock.ts'
import type { SessionEvent } from '../events.ts'
import { ManualClock } from '../testing/clock.ts'
import { SessionData } from './session-data.ts'
import type { SqliteSessionStoreOptions } from './sqlite.ts'
import { SqliteSessionStore } from './sqlite.ts'
import type { Mark } from './store.ts'

const destroyed: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }
const plantSql = 'UPDATE holdfast_sessions SET data = CAST(? AS TEXT) WHERE id = ?'

runContract(
  'SqliteSessionStore on a file',
  () => {
    const clock = new ManualClock()
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-'))
    const path = join(folder, 'sessions.db')
    const opened: SqliteSessionStore[] = []
    return {
      open() {
        const store = new SqliteSessionStore({ path, clock })
        opened.push(store)
        return store
      },
      advance: (ms) => clock.advance(ms),
      plant(id, data) {
        const database = new DatabaseSync(path)
        database.prepare(plantSql).run(data, id)
        database.close()
      },
      async close() {
        for (const store of opened) await store.close()
        rmSync(folder, { recursive: true })
      },
    }
  },
  { atomic: true },
)

runContract(
  'SqliteSessionStore on a database with settings and tables of its own',
  () => {
    const clock = new ManualClock()
    const odd: DatabaseSyncOptions = {
      readBigInts: true,
      returnArrays: true,
      allowBareNamedParameters: false,
    }
    const database = new DatabaseSync(':memory:', odd)
    database.exec("CREATE TABLE holdfast (id); INSERT INTO holdfast VALUES ('a')")
    return {
      open: () => new SqliteSessionStore({ database, clock }),
      advance: (ms) => clock.advance(ms),
      plant: (id, data) => void database.prepare(plantSql).run(data, id),
      close: () => database.close(),
    }
  },
  { atomic: true },
)

let clock: ManualClock
let folder: string
let path: string
const opened: SqliteSessionStore[] = []
const databases: DatabaseSync[] = []

beforeEach(() => {
  clock = new ManualClock()
  folder = mkdtempSync(join(tmpdir(), 'holdfast-'))
  path = join(folder, 'sessions.db')
})

afterEach(async () => {
  vi.restoreAllMocks()
  for (const store of opened.splice(0)) await store.close()
  for (const database of databases.splice(0)) if (database.isOpen) database.close()
  rmSync(folder, { recursive: true })
})

function open(options: Partial<SqliteSessionStoreOptions> = {}): SqliteSessionStore {
  const target = options.database === undefined ? { path } : {}
  const store = new SqliteSessionStore({ clock, ...target, ...options } as SqliteSessionStoreOptions)
  opened.push(store)
  return store
}

function openDatabase(file: string = path): DatabaseSync {
  const database = new DatabaseSync(file)
  databases.push(database)
  return database
}

function query(sql: string): Record<string, SQLOutputValue>[] {
  const database = new DatabaseSync(path)
  const rows = database.prepare(sql).all()
  database.close()
  return rows.map((row) => ({ ...row }))
}

function record(id: string, version: string = 'v1', data: string = '{}'): SessionData {
  return new SessionData({ id, version, data, createdAt: clock.now() })
}

describe('options', () => {
  test.each<[rule: string, options: object]>([
    ['sqlite-target', {}],
    ['sqlite-target', { path: 'a.db', database: {} }],
    ['sqlite-path', { path: '' }],
    ['sqlite-path', { path: 7 }],
    ['sqlite-database', { database: {} }],
    ['sqlite-database', { database: null }],
    ['sqlite-table', { path: ':memory:', table: '' }],
    ['sqlite-table', { path: ':memory:', table: '1st' }],
    ['sqlite-table', { path: ':memory:', table: 'a"; DROP TABLE b; --' }],
    ['sqlite-table', { path: ':memory:', table: 'sqlite_sessions' }],
    ['sqlite-table', { path: ':memory:', table: 5 }],
    ['sqlite-default-ttl', { path: ':memory:', defaultTtl: 0 }],
    ['sqlite-cleanup-interval', { path: ':memory:', cleanupInterval: -1 }],
    ['sqlite-clock', { path: ':memory:', clock: Date }],
    ['sqlite-unknown-option', { path: ':memory:', file: 'a.db' }],
    ['sqlite-options', undefined as unknown as object],
  ])('the rule %s refuses %j', (rule, options) => {
    expect(() => new SqliteSessionStore(options as SqliteSessionStoreOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }),
    )
  })

  test('a file that cannot be opened shows at construction, with the cause', () => {
    expect(() => open({ path: join(folder, 'no', 'such', 'folder.db') })).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_STORE',
        operation: 'open',
        cause: expect.any(Error) as Error,
      }),
    )
  })

  test('another table of the same name shows at construction, and the file is let go', () => {
    openDatabase().exec('CREATE TABLE holdfast_sessions (id, ends_at)')
    const close = vi.spyOn(DatabaseSync.prototype, 'close')
    expect(() => open()).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE', operation: 'open' }))
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('stores with different tables share nothing', async () => {
    const [one, other] = [open({ table: 'one' }), open({ table: 'Other_2' })]
    await one.create('a', record('a'), 60)
    expect(await other.load('a')).toBeNull()
    expect(await other.create('a', record('a'), 60)).toBe(true)
    await one.end('a', destroyed)
    expect(await other.exists('a')).toBe(true)
  })

  test('defaultTtl rules where set is not told', async () => {
    const store = open({ defaultTtl: 5 })
    await store.set('a', record('a'))
    await clock.advance(4999)
    expect(await store.exists('a')).toBe(true)
    await clock.advance(1)
    expect(await store.exists('a')).toBe(false)
  })
})

describe('the runtime', () => {
  test('importing the store does not load node:sqlite', async () => {
    const isLoaded = await run(`console.log(process.moduleLoadList.some((name) => name.includes('sqlite')))`)
    expect(isLoaded).toBe('false\n')
  })

  test('a runtime without node:sqlite is told of at construction', () => {
    vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined as never)
    expect(() => open()).toThrow(expect.objectContaining({ code: 'ERR_SESSION_NO_DRIVER' }))
  })
})

describe('closing', () => {
  test('closes a file that the store opened', async () => {
    const close = vi.spyOn(DatabaseSync.prototype, 'close')
    const store = open()
    await store.close()
    await store.close()
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('never closes a database that was handed in', async () => {
    const database = openDatabase()
    await open({ database }).close()
    expect(database.isOpen).toBe(true)
  })

  test.each([
    ['get', (store: SqliteSessionStore) => store.get('a')],
    ['load', (store: SqliteSessionStore) => store.load('a')],
    ['exists', (store: SqliteSessionStore) => store.exists('a')],
    ['delete', (store: SqliteSessionStore) => store.delete('a')],
    ['set', (store: SqliteSessionStore) => store.set('a', record('a'))],
    ['create', (store: SqliteSessionStore) => store.create('a', record('a'), 60)],
    ['replace', (store: SqliteSessionStore) => store.replace('a', record('a'), 'v1', 60)],
    ['end', (store: SqliteSessionStore) => store.end('a', destroyed)],
    ['touch', (store: SqliteSessionStore) => store.touch('a', 60)],
    ['clearExpired', (store: SqliteSessionStore) => store.clearExpired()],
  ])('afterwards %s rejects, and says what to do', async (operation, ask) => {
    for (const options of [{}, { database: openDatabase() }]) {
      const store = open(options)
      await store.close()
      await expect(ask(store)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', operation })
      await expect(ask(store)).rejects.toThrow('before you close it')
    }
  })

  test('a database closed behind the store’s back is a store failure with its cause', async () => {
    const database = openDatabase()
    const store = open({ database })
    database.close()
    await expect(store.get('a')).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      operation: 'get',
      cause: expect.any(Error) as Error,
    })
  })
})

describe('the file', () => {
  test('is in WAL mode, but a database handed in keeps its settings', async () => {
    open()
    expect(query('PRAGMA journal_mode')).toEqual([{ journal_mode: 'wal' }])
    const database = openDatabase(join(folder, 'other.db'))
    open({ database })
    expect({ ...database.prepare('PRAGMA journal_mode').get() }).toEqual({ journal_mode: 'delete' })
    expect({ ...database.prepare('PRAGMA synchronous').get() }).toEqual({ synchronous: 2 })
  })

  test('shows a session in columns that people can read', async () => {
    const store = open()
    const data = { cart: ['book'] }
    const start = clock.now()
    await store.create(
      'a',
      new SessionData({
        id: 'a',
        version: 'v1',
        userId: 'u',
        data,
        createdAt: start,
        flash: ['cart'],
        device: 'Firefox',
      }),
      60,
    )
    await clock.advance(1000)
    await store.touch('a', 60)
    expect(query('SELECT * FROM holdfast_sessions')).toEqual([
      {
        id: 'a',
        version: 'v1',
        user_id: 'u',
        created_at: start,
        updated_at: start,
        touched_at: start + 1000,
        expires_at: null,
        ends_at: start + 61_000,
        mark: null,
        successor: null,
        same_user: null,
        flash: '["cart"]',
        device: 'Firefox',
        data: '{"cart":["book"]}',
      },
    ])
  })

  test('keeps nothing of an ended session but its mark', async () => {
    const store = open()
    const session = {
      id: 'a',
      version: 'v1',
      userId: 'ada',
      data: { secret: 1 },
      flash: ['secret'],
      device: 'ada’s',
    }
    await store.create('a', new SessionData({ ...session, createdAt: clock.now() }), 60)
    await store.end('a', { kind: 'mark', reason: 'rotated', successor: 'b', sameUser: true })
    const [row] = query('SELECT * FROM holdfast_sessions')
    expect(row).toMatchObject({
      mark: 'rotated',
      successor: 'b',
      same_user: 1,
      ends_at: clock.now() + 30_000,
    })
    expect(JSON.stringify(row)).not.toMatch(/secret|ada|v1/)
  })

  test('has no mark left in it once the id is used again', async () => {
    const store = open()
    await store.create('a', record('a'), 60)
    await store.end('a', { kind: 'mark', reason: 'rotated', successor: 'b', sameUser: true })
    await clock.advance(30_000)
    await store.create('a', record('a'), 60)
    expect(query('SELECT mark, successor, same_user FROM holdfast_sessions')).toEqual([
      { mark: null, successor: null, same_user: null },
    ])
  })
})

describe('a table', () => {
  test('from before devices were noted is taken over, by several processes at once', async () => {
    const database = openDatabase()
    new SqliteSessionStore({ database, clock })
    database.exec('ALTER TABLE holdfast_sessions DROP COLUMN device')
    const insert = 'INSERT INTO holdfast_sessions VALUES (?, ?, ?, 1, 1, 1, NULL, ?, NULL, NULL, NULL, ?, ?)'
    database.prepare(insert).run('old', 'v1', 'ada', clock.now() + 60_000, '[]', '{"n":1}')
    database.close()
    const script = `new SqliteSessionStore({ path: ${JSON.stringify(path)} })`
    expect(await Promise.all([run(script), run(script), run(script)])).toEqual(['', '', ''])
    const store = open()
    expect(await store.get('old')).toMatchObject({ data: { n: 1 }, userId: 'ada', device: null })
    await store.create('new', new SessionData({ id: 'new', version: 'v1', device: 'Firefox' }), 60)
    expect((await store.get('new'))?.device).toBe('Firefox')
  })

  test('finds the sessions of a user by an index', () => {
    open()
    const plan = query(
      "EXPLAIN QUERY PLAN SELECT id FROM holdfast_sessions WHERE user_id = 'ada' AND mark IS NULL AND ends_at > 0",
    )
    expect(plan.map(({ detail }) => detail)).toEqual([
      expect.stringContaining('USING INDEX holdfast_sessions_user_id'),
    ])
  })
})

describe('a row that cannot be read', () => {
  // A table made by others, without STRICT: anything may stand anywhere.
  const loose = `CREATE TABLE holdfast_sessions (id PRIMARY KEY, version, user_id, created_at, updated_at, touched_at,
    expires_at, ends_at, mark, successor, same_user, flash, device, data)`

  test.each([
    ['version', 5],
    ['version', null],
    ['user_id', 5],
    ['user_id', new Uint8Array([1])],
    ['created_at', 'yesterday'],
    ['created_at', 9e15],
    ['updated_at', null],
    ['touched_at', 'now'],
    ['touched_at', 2n ** 60n],
    ['expires_at', 'never'],
    ['flash', null],
    ['flash', 'no JSON'],
    ['flash', '{}'],
    ['flash', '[1]'],
    ['device', 5],
    ['data', null],
    ['data', 5],
    ['data', new Uint8Array([123, 125])],
    ['mark', 'something else'],
    ['mark', 1],
    ['successor', 5],
  ])('%s being %s', async (column, value) => {
    const database = openDatabase()
    database.exec(loose)
    const store = open({ database })
    await store.create('a', record('a', 'v1', '{"secret":1}'), 60)
    if (column === 'successor') await store.end('a', destroyed)
    database.prepare(`UPDATE holdfast_sessions SET ${column} = ?`).run(value)
    const error = await store.load('a').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_SESSION_RECORD' })
    expect(String(error)).not.toContain('secret')
    await expect(store.get('a')).rejects.toMatchObject({ code: 'ERR_SESSION_RECORD' })
  })
})

describe('a lock that another connection holds', () => {
  test('is waited for with the event loop turning', async () => {
    const store = open()
    await store.create('a', record('a'), 60)
    const other = openDatabase()
    other.exec('BEGIN IMMEDIATE')
    let isDone = false
    const ending = store.end('a', destroyed).finally(() => (isDone = true))
    expect((await store.get('a'))?.version).toBe('v1')
    await pause(150)
    expect(isDone).toBe(false)
    other.exec('COMMIT')
    expect(await ending).toBe(true)
  })

  test('is given up on before long, and nothing is written', async () => {
    const store = open()
    await store.create('a', record('a'), 60)
    const other = openDatabase()
    other.exec('BEGIN IMMEDIATE')
    await expect(store.replace('a', record('a', 'v2'), 'v1', 60)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      operation: 'replace',
      message: expect.stringContaining('lock') as string,
      cause: expect.any(Error) as Error,
    })
    other.exec('ROLLBACK')
    expect((await store.get('a'))?.version).toBe('v1')
  })
})

describe('cleanup', () => {
  test('clearExpired counts the sessions it removes, and removes old marks too', async () => {
    const store = open()
    for (let i = 0; i < 450; i++) await store.create(`${i}`, record(`${i}`), i < 250 ? 10 : 100)
    for (let i = 0; i < 20; i++) await store.end(`${i}`, destroyed)
    await clock.advance(10_000)
    expect(await store.clearExpired()).toBe(230)
    expect(query('SELECT count(*) AS rows FROM holdfast_sessions')).toEqual([{ rows: 220 }])
    await clock.advance(20_000)
    expect(await store.clearExpired()).toBe(0)
    expect(query('SELECT count(*) AS rows FROM holdfast_sessions')).toEqual([{ rows: 200 }])
  })

  test('clearExpired lets the event loop turn after every few hundred rows at most', async () => {
    const database = openDatabase()
    const store = open({ database })
    for (let i = 0; i < 1000; i++) await store.create(`${i}`, record(`${i}`), 10)
    await clock.advance(10_000)
    const count = database.prepare('SELECT count(*) AS rows FROM holdfast_sessions')
    let isDone = false
    const removal = store.clearExpired().finally(() => (isDone = true))
    let before = 1000
    while (!isDone) {
      const { rows } = count.get() as { rows: number }
      expect(before - rows).toBeLessThan(300)
      before = rows
      await new Promise(setImmediate)
    }
    expect(await removal).toBe(1000)
  })

  test('begins by itself at first use, and stops with close', async () => {
    const events: SessionEvent[] = []
    const note = (message: unknown): void => void events.push(message as SessionEvent)
    subscribe('holdfast:event', note)
    const store = open({ cleanupInterval: 60 })
    await store.create('a', record('a'), 10)
    await clock.advance(60_000)
    await store.close()
    store.startCleanup()
    await clock.advance(600_000)
    unsubscribe('holdfast:event', note)
    expect(events).toEqual([{ kind: 'sweep', removed: 1 }])
  })

  test('stops when told to', async () => {
    const store = open({ cleanupInterval: 60 })
    await store.create('a', record('a'), 10)
    store.stopCleanup()
    await clock.advance(600_000)
    expect(query('SELECT id FROM holdfast_sessions')).toEqual([{ id: 'a' }])
    store.startCleanup()
    await clock.advance(60_000)
    expect(query('SELECT id FROM holdfast_sessions')).toEqual([])
  })
})

describe('several processes', () => {
  test('four that open a new file at once lose no increment', async () => {
    const script = `
      const store = new SqliteSessionStore({ path: ${JSON.stringify(path)} })
      const next = (count, version) => new SessionData({ id: 'a', version, data: { count } })
      await store.create('a', next(0, 'first'), 600)
      for (let i = 0; i < 100; i++)
        for (;;) {
          const { version, data } = await store.get('a')
          if (await store.replace('a', next(data.count + 1, process.pid + '-' + i), version, 600)) break
        }
      await store.close()`
    expect(await Promise.all([run(script), run(script), run(script), run(script)])).toEqual(['', '', '', ''])
    expect((await open({ clock: systemClock }).get('a'))?.data).toEqual({
      count: 400,
    })
  })

  /** Locks the database in another process, for half a second from when this resolves. */
  async function lock(): Promise<ChildProcessWithoutNullStreams> {
    const child = start(`
      import { DatabaseSync } from 'node:sqlite'
      const database = new DatabaseSync(${JSON.stringify(path)})
      database.exec('BEGIN EXCLUSIVE; CREATE TABLE other (id)')
      process.stdout.write('locked')
      setTimeout(() => database.exec('COMMIT'), 500)`)
    await once(child.stdout, 'data')
    return child
  }

  test('one that opens a file waits while another has it locked', async () => {
    const child = await lock()
    expect(await open().create('a', record('a'), 60)).toBe(true)
    await once(child, 'close')
  })

  // As SQLite does when several make a new file at once, and each holds what another waits for.
  test('one that is refused a lock without any wait tries again', async () => {
    const child = await lock()
    using database = new DatabaseSync(path, { timeout: 0 })
    const store = new SqliteSessionStore({ database, clock })
    await once(child, 'close')
    expect(await store.create('a', record('a'), 60)).toBe(true)
  })

  test('one that is killed loses nothing it was told was written, and keeps no one from ending', async () => {
    const child = start(`
      const store = new SqliteSessionStore({ path: ${JSON.stringify(path)} })
      for (let i = 0; ; i++) {
        await store.create('id-' + i, new SessionData({ id: 'id-' + i, version: 'v1' }), 600)
        await new Promise((written) => process.stdout.write(i + '\\n', written))
      }`)
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += String(chunk)
      if (output.length > 1000) child.kill('SIGKILL')
    })
    try {
      await once(child, 'close', { signal: AbortSignal.timeout(15_000) })
    } finally {
      child.kill('SIGKILL')
    }
    const told = output.slice(0, output.lastIndexOf('\n')).split('\n').map(Number)
    const store = open({ clock: systemClock })
    for (const i of told) expect(await store.exists(`id-${i}`), `id-${i}`).toBe(true)
    expect(await store.end('id-0', destroyed)).toBe(true)
  })
})

function start(script: string): ChildProcessWithoutNullStreams {
  const imports = `
    import { SqliteSessionStore } from './sqlite.ts'
    import { SessionData } from './session-data.ts'
`
  // Node 22 and 24 call node:sqlite experimental.
  return spawn(process.execPath, ['--no-warnings', '--input-type=module', '--eval', imports + script], {
    cwd: import.meta.dirname,
  })
}

/** What a process of its own prints. */
async function run(script: string): Promise<string> {
  const child = start(script)
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  return output + errors
}

/**
 * The floor: a handler written by hand that does the least any correct implementation must, and nothing else. It finds the cookie, checks
 * its signature by one HMAC, makes the store's key by one SHA-256, reads the store once, and parses what it found; to write, it
 * serialises, and compares and sets the version it read. No expiry of its own, no second cookie, no conflict resolved, no error explained.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

import type { Pair } from './http/frameworks.ts'
import { answer, onNode } from './http/frameworks.ts'
import type { Place } from './http/stores.ts'
import { ioredis, nodeRedis, openSqlite } from './http/stores.ts'
import type { AppSession } from './http/work.ts'
import { NOBODY, onObject, SECRET, TTL } from './http/work.ts'

interface Found {
  readonly version: string
  readonly json: string
}

/** Calls back, since a promise is no part of what must be. */
export interface FloorStore {
  read(id: string, done: (found: Found | null) => void): void
  create(id: string, version: string, json: string, done: () => void): void
  replace(
    id: string,
    expected: string,
    version: string,
    json: string,
    done: (replaced: boolean) => void,
  ): void
}

/** HMAC-SHA-256 of a token (RFC 2104), by two calls that take a third of the time of `createHmac`. */
function sign(token: string): Buffer {
  inner.write(token, BLOCK, 'latin1')
  outer.write(hash('sha256', inner, 'binary'), BLOCK, 'latin1')
  return hash('sha256', outer, 'buffer')
}

const BLOCK = 64
const inner = Buffer.alloc(BLOCK + 43, 0x36)
const outer = Buffer.alloc(BLOCK + 32, 0x5c)
Buffer.from(SECRET).forEach((byte, i) => {
  inner[i]! ^= byte
  outer[i]! ^= byte
})

const idOf = (token: string): string => hash('sha256', token, 'base64url')
let versions = 0

/** What a Cookie header leads to; null for none, or one that was not signed here. */
export function floorId(header: string | undefined): string | null {
  const at = header?.indexOf('session=') ?? -1
  if (at === -1) return null
  const token = header!.slice(at + 8, at + 51)
  const tag = Buffer.from(header!.slice(at + 52, at + 95), 'base64url')
  return tag.length === 32 && timingSafeEqual(sign(token), tag) ? idOf(token) : null
}

export function newFloorId(): { cookie: string; id: string } {
  const token = randomBytes(32).toString('base64url')
  return { cookie: `session=${token}.${sign(token).toString('base64url')}`, id: idOf(token) }
}

export async function floor(place: Place, data: AppSession): Promise<Pair> {
  const store = await floorStoreIn(place)
  return onNode((req, res, work) => {
    const id = floorId(req.headers.cookie)
    if (id === null) {
      if (work !== 'sign-in') return answer(res, NOBODY)
      const { cookie, id } = newFloorId()
      res.setHeader('Set-Cookie', `${cookie}; HttpOnly`)
      return store.create(id, nextVersion(), JSON.stringify(data), () => answer(res, 'signed in'))
    }
    store.read(id, (found) => {
      if (found === null) return answer(res, NOBODY)
      const session = JSON.parse(found.json) as AppSession
      const text = onObject(session, work, data)
      if (work === 'read') return answer(res, text)
      store.replace(id, found.version, nextVersion(), JSON.stringify(session), (replaced) =>
        answer(res, replaced ? text : 'conflict'),
      )
    })
  })
}

export function nextVersion(): string {
  return (versions++).toString(36)
}

export async function floorStoreIn(place: Place): Promise<FloorStore> {
  switch (place.store) {
    case 'redis': {
      const client = await nodeRedis(place)
      return onRedis((...args) => client.sendCommand(args))
    }
    case 'ioredis': {
      const client = ioredis(place)
      return onRedis((command, ...args) => client.call(command, ...args))
    }
    case 'sqlite':
      return onSqlite(place)
    default:
      return inMemory()
  }
}

export function inMemory(): FloorStore {
  const records = new Map<string, Found>()
  return {
    read: (id, done) => done(records.get(id) ?? null),
    create(id, version, json, done) {
      records.set(id, { version, json })
      done()
    },
    replace(id, expected, version, json, done) {
      const matches = records.get(id)?.version === expected
      if (matches) records.set(id, { version, json })
      done(matches)
    },
  }
}

const REPLACE = `
if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`
const SHA = hash('sha1', REPLACE)

function onRedis(send: (command: string, ...args: string[]) => Promise<unknown>): FloorStore {
  const ttl = String(TTL * 1000)
  const loaded = send('SCRIPT', 'LOAD', REPLACE)
  return {
    read: (id, done) =>
      void send('HMGET', id, 'v', 'd').then((reply) => {
        const [version, json] = reply as [string | null, string]
        done(version === null ? null : { version, json })
      }),
    create: (id, version, json, done) =>
      void loaded.then(() => send('HSET', id, 'v', version, 'd', json)).then(() => done()),
    replace: (id, expected, version, json, done) =>
      void send('EVALSHA', SHA, '1', id, expected, version, json, ttl).then((reply) => done(reply === 1)),
  }
}

function onSqlite(place: Place): FloorStore {
  const database = openSqlite(place)
  database.exec('CREATE TABLE floor (id TEXT PRIMARY KEY, version TEXT, data TEXT, ends_at INTEGER)')
  const read = database.prepare('SELECT version, data AS json FROM floor WHERE id = ? AND ends_at > ?')
  const create = database.prepare('INSERT INTO floor VALUES (?, ?, ?, ?)')
  const replace = database.prepare(
    'UPDATE floor SET version = ?, data = ?, ends_at = ? WHERE id = ? AND version = ? AND ends_at > ?',
  )
  return {
    read: (id, done) => done((read.get(id, Date.now()) as Found | undefined) ?? null),
    create(id, version, json, done) {
      create.run(id, version, json, Date.now() + TTL * 1000)
      done()
    },
    replace(id, expected, version, json, done) {
      const now = Date.now()
      done(replace.run(version, json, now + TTL * 1000, id, expected, now).changes === 1)
    },
  }
}

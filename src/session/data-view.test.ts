import { describe, expect, test } from 'vitest'

import { arrive, serve, visit } from '../../test/support/core.ts'
import { Session } from './session.ts'

const refusal = (code: string): unknown => expect.objectContaining({ code })

describe('a session as an object', () => {
  test('is read, written, asked and emptied by its properties', () => {
    const session = new Session<Record<string, unknown>>()
    session.data.visits = 1
    Object.assign(session.data, { a: 1, b: 2 })
    expect(delete session.data.b).toBe(true)
    expect(delete session.data.never).toBe(true)
    expect(session.data).toBe(session.data)
    expect([session.get('visits'), 'a' in session.data, 'b' in session.data]).toEqual([1, true, false])
    expect(Object.keys(session.data)).toEqual(['visits', 'a'])
    expect({ ...session.data }).toEqual({ visits: 1, a: 1 })
    expect(JSON.stringify(session.data)).toBe('{"visits":1,"a":1}')
    const seen = []
    for (const key in session.data) seen.push(key)
    expect(seen).toEqual(['visits', 'a'])
  })

  test('has no properties but its keys', () => {
    const { data } = new Session()
    expect(['get', 'save', 'id', 'toString', 'constructor'].filter((key) => key in data)).toEqual([])
    expect(data.toString).toBe(undefined)
    expect(Object.getPrototypeOf(data)).toBe(null)
  })

  test('takes no symbols, accessors, prototypes or freezing', () => {
    const { data } = new Session()
    const symbol = Symbol('s') as unknown as string
    expect(() => (data[symbol] = 1)).toThrow(refusal('ERR_SESSION_ARGUMENT'))
    expect(() => Object.defineProperty(data, 'x', { get: () => 1 })).toThrow(refusal('ERR_SESSION_ARGUMENT'))
    expect([data[symbol], symbol in data, delete data[symbol]]).toEqual([undefined, false, true])
    expect(Reflect.setPrototypeOf(data, {})).toBe(false)
    expect(() => Object.freeze(data)).toThrow(TypeError)
    Object.defineProperty(data, 'x', { value: 1, configurable: true })
    expect(data.x).toBe(1)
  })

  test('refuses what a session refuses', async () => {
    const session = new Session()
    const { data } = session
    expect(() => (data.at = new Date())).toThrow(refusal('ERR_SESSION_VALUE'))
    await session.destroy()
    expect(() => (data.a = 1)).toThrow(refusal('ERR_SESSION_DESTROYED'))
    expect(() => delete data.a).toThrow(refusal('ERR_SESSION_DESTROYED'))
    expect([Object.keys(data), data.a]).toEqual([[], undefined])
  })

  test('lists its keys without reading what was flashed; reading does', async () => {
    const { sessions } = serve()
    let cookie: string | null = await arrive(sessions)
    await visit(sessions, cookie, (session) => session.flash('notice', 'saved'))
    const list = await visit(sessions, cookie, ({ data }) => {
      expect(Object.keys(data)).toEqual(['n', 'notice'])
      expect(Object.hasOwn(data, 'notice')).toBe(true)
    })
    expect(list.outcome).toBe('unchanged')
    const read = await visit(sessions, cookie, ({ data }) =>
      expect({ ...data }).toEqual({ n: 0, notice: 'saved' }),
    )
    expect(read.outcome).toBe('saved')
    expect((await sessions.open(cookie)).has('notice')).toBe(false)
  })

  test('notices writing inside a value that came with a property descriptor', () => {
    const session = new Session()
    session.set('list', [1])
    const { value } = Object.getOwnPropertyDescriptor(session.data, 'list')!
    value.push(2)
    expect(session.get('list')).toEqual([1, 2])
  })
})

const ODD_KEYS = [
  ...['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'isPrototypeOf', 'propertyIsEnumerable'],
  ...['toString', 'toLocaleString', 'valueOf', 'toJSON', 'then', 'inspect', 'nodejs.util.inspect.custom'],
  ...['__defineGetter__', '__defineSetter__', '__lookupGetter__', '__lookupSetter__'],
  ...[
    'id',
    'data',
    'version',
    'userId',
    'createdAt',
    'updatedAt',
    'touchedAt',
    'expiresAt',
    'flash',
    'isNew',
  ],
  ...['get', 'set', 'has', 'delete', 'clear', 'save', 'destroy', 'reload', 'rotate', 'signIn', 'size'],
  ...[
    'length',
    'name',
    'arguments',
    '0',
    '-1',
    '',
    ' ',
    '\0',
    '\n',
    '\ud800',
    '\ufffd',
    '😀',
    'a.b',
    '["x"]',
  ],
]

// S27
describe('a key is data, whatever its name', () => {
  const natives = Reflect.ownKeys(Object.prototype)

  test.each(ODD_KEYS.map((key) => [key]))('%j', async (key) => {
    const { sessions } = serve()
    const value = { [key]: JSON.parse(`{${JSON.stringify(key)}:"inner"}`) as unknown, n: 1 }
    const { cookie } = await visit(sessions, null, (session) => {
      expect([session.has(key), session.get(key), session.data[key]]).toEqual([false, undefined, undefined])
      session.set(key, value)
      expect(session.get(key)).toEqual(value)
    })

    await visit(sessions, cookie, async (session) => {
      expect(session.isNew).toBe(false)
      expect([...session]).toEqual([[key, value]])
      expect([key in session.data, Object.keys(session.data), session.size]).toEqual([true, [key], 1])
      session.data[key].n = 2
      expect(session.update(key, (v) => ({ ...v, n: v.n + 1 }))).toMatchObject({ n: 3 })
      expect(await session.save()).toBe('saved')
      session.data[key] = 'dropped'
      await session.reload()
      expect(session.data[key]).toMatchObject({ n: 3 })
      expect(session.delete(key)).toBe(true)
      session.flash(key, 'once')
    })

    await visit(sessions, cookie, (session) => {
      expect(session.pull(key)).toBe('once')
      session.data[key] = 1
      delete session.data[key]
      expect([...session.keys()]).toEqual([])
    })
    expect(Reflect.ownKeys(Object.prototype)).toEqual(natives)
    expect(({} as Record<string, unknown>).n).toBe(undefined)
  })
})

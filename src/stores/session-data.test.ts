import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { SessionError } from '../errors.ts'
import { MAX_DEPTH, parseData, SessionData, stringifyData } from './session-data.ts'

const full = {
  id: 'some-id',
  data: { cart: ['book'], n: 1 },
  version: 'v1',
  userId: 'ada',
  createdAt: Date.UTC(2026, 0, 1, 12, 30, 15, 250),
  updatedAt: Date.UTC(2026, 0, 2),
  touchedAt: Date.UTC(2026, 0, 3),
  expiresAt: Date.UTC(2026, 0, 4),
  flash: ['cart'],
  device: 'Firefox',
}

const unreadable: unknown = expect.objectContaining({ code: 'ERR_SESSION_RECORD' })

function nested(depth: number): string {
  return `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
}

describe('a fresh record', () => {
  test('has an id of its own, no data, no user, no version and no expiry', () => {
    const before = Date.now()
    const fresh = new SessionData()
    expect(fresh.id).toMatch(/^[\w-]{43}$/)
    expect(fresh.id).not.toBe(new SessionData().id)
    expect(fresh).toMatchObject({
      version: '',
      userId: null,
      expiresAt: null,
      flash: [],
      data: {},
      json: '{}',
    })
    expect(fresh.createdAt).toBeGreaterThanOrEqual(before)
    expect(fresh.createdAt).toBeLessThanOrEqual(Date.now())
    expect(fresh.updatedAt).toBe(fresh.createdAt)
    expect(fresh.touchedAt).toBe(fresh.createdAt)
    expect(fresh.isExpired()).toBe(false)
    expect(fresh.isExpired(Number.MAX_SAFE_INTEGER)).toBe(false)
  })

  test('shares nothing with others', () => {
    new SessionData().data['a'] = 1
    expect(new SessionData().data).toEqual({})
    expect(() => (new SessionData().flash as string[]).push('a')).toThrow(TypeError)
    expect(new SessionData().flash).toEqual([])
  })
})

test('is expired from the very millisecond of its deadline on', () => {
  const record = new SessionData({ expiresAt: 5000 })
  expect([4999, 5000, 5001].map((now) => record.isExpired(now))).toEqual([false, true, true])
  expect(record.isExpired()).toBe(true)
})

describe('data', () => {
  test('given as text is parsed when it is read, and no sooner', () => {
    const record = new SessionData({ data: 'no JSON' })
    expect(record.json).toBe('no JSON')
    expect(() => record.data).toThrow(unreadable as Error)
  })

  test('that was read and changed is the text from then on', () => {
    const record = new SessionData({ data: '{"a":1}' })
    expect(record.json).toBe('{"a":1}')
    record.data['b'] = 2
    expect(record.json).toBe('{"a":1,"b":2}')
  })

  test('any JSON comes back from its text', () => {
    const values = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ depthSize: 'small' }))
    fc.assert(
      fc.property(values, (data) => {
        const text = stringifyData(data)
        expect(JSON.stringify(parseData(text))).toBe(JSON.stringify(data))
        // No text of ours looks as if a driver had replaced bytes in it.
        expect(text).not.toContain('\uFFFD')
        expect(Buffer.from(text).toString()).toBe(text)
      }),
    )
  })

  test('U+FFFD and lone surrogates come back', () => {
    const data = { '\uFFFD': '\uFFFD\uFFFD', lone: '\uD83D', other: '\uDE00' }
    expect(parseData(stringifyData(data))).toEqual(data)
  })

  test('__proto__ is a key like any other', () => {
    const data = parseData('{"__proto__":{"polluted":true},"constructor":1}')
    expect(Object.keys(data)).toEqual(['__proto__', 'constructor'])
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype)
    expect('polluted' in {}).toBe(false)
    expect(stringifyData(data)).toBe('{"__proto__":{"polluted":true},"constructor":1}')
  })

  test.each([
    ['not JSON', 'nonsense'],
    ['empty', ''],
    ['null', 'null'],
    ['a list', '[]'],
    ['a string', '"text"'],
    ['a number', '42'],
    ['truncated', '{"a":1'],
    ['two objects', '{}{}'],
    ['nested 20,000 deep', nested(20_000)],
    ['one level too deep', nested(MAX_DEPTH + 1)],
    ['too deep behind a string with brackets', `{"b":"]]]\\"]","a":${nested(MAX_DEPTH)}}`],
    ['with a byte that was not UTF-8', '{"a":"\uFFFD"}'],
  ])('that is %s cannot be read, and is not quoted', (_, text) => {
    let error: unknown
    try {
      parseData(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(SessionError)
    expect(error).toEqual(unreadable)
    expect((error as SessionError).message).not.toMatch(/nonsense|text|42/)
    expect((error as SessionError).cause).toBeUndefined()
  })

  test('as deep as may be, or with brackets in strings, can be read', () => {
    expect(stringifyData(parseData(nested(MAX_DEPTH)))).toBe(nested(MAX_DEPTH))
    const data = { a: '['.repeat(20_000), b: '\\"[{'.repeat(1000) }
    expect(parseData(stringifyData(data))).toEqual(data)
  })
})

describe('toJSON and fromJSON', () => {
  test('give back what went in, with times in ISO 8601', () => {
    const json = new SessionData(full).toJSON()
    expect(json).toEqual({
      format: 1,
      id: 'some-id',
      data: { cart: ['book'], n: 1 },
      version: 'v1',
      userId: 'ada',
      createdAt: '2026-01-01T12:30:15.250Z',
      updatedAt: '2026-01-02T00:00:00.000Z',
      touchedAt: '2026-01-03T00:00:00.000Z',
      expiresAt: '2026-01-04T00:00:00.000Z',
      flash: ['cart'],
      device: 'Firefox',
    })
    const { id, data, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, device } =
      SessionData.fromJSON(JSON.parse(JSON.stringify(json)))
    expect({ id, data, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, device }).toEqual(
      full,
    )
  })

  test('give back a fresh record', () => {
    const fresh = new SessionData()
    expect(SessionData.fromJSON(JSON.parse(JSON.stringify(fresh))).toJSON()).toEqual(fresh.toJSON())
  })

  test('what may be missing is made up for', () => {
    const time = '2026-01-02T03:04:05Z'
    const record = SessionData.fromJSON({ id: 'a', version: 'v1', createdAt: time, updatedAt: time })
    expect(record).toMatchObject({
      data: {},
      expiresAt: null,
      userId: null,
      flash: [],
      touchedAt: Date.parse(time),
    })
  })

  test.each([
    ['2026-01-02T03:04:05', Date.UTC(2026, 0, 2, 3, 4, 5)],
    ['2026-01-02T03:04:05.123456', Date.UTC(2026, 0, 2, 3, 4, 5, 123)],
    ['2026-01-02T03:04:05+00:00', Date.UTC(2026, 0, 2, 3, 4, 5)],
    ['2026-01-02T03:04:05.5-02:30', Date.UTC(2026, 0, 2, 5, 34, 5, 500)],
  ])('the time %s, as Python writes it, is understood', (text, time) => {
    const json = { ...new SessionData(full).toJSON(), createdAt: text }
    expect(SessionData.fromJSON(json).createdAt).toBe(time)
  })

  test.each<[what: string, change: object]>([
    ['a later format', { format: 2 }],
    ['no format one knows', { format: '1' }],
    ['no id', { id: undefined }],
    ['an empty id', { id: '' }],
    ['a number for an id', { id: 42 }],
    ['no version', { version: undefined }],
    ['a number for a version', { version: 1 }],
    ['a number for a user', { userId: 42 }],
    ['null for data', { data: null }],
    ['a list for data', { data: [] }],
    ['a text for data', { data: '{}' }],
    ['data nested 20,000 deep', { data: JSON.parse(nested(20_000)) as unknown }],
    ['data one level too deep', { data: JSON.parse(nested(MAX_DEPTH + 1)) as unknown }],
    ['no creation', { createdAt: undefined }],
    ['a number for a time', { updatedAt: 42 }],
    ['a date without a time', { touchedAt: '2026-01-01' }],
    ['a time that is none', { createdAt: '2026-13-01T00:00:00Z' }],
    ['a word for an expiry', { expiresAt: 'never' }],
    ['a text for flash', { flash: 'cart' }],
    ['a number among the flash keys', { flash: ['cart', 1] }],
    ['a number for a device', { device: 7 }],
  ])('a record with %s cannot be read', (_, change) => {
    const json: unknown = { ...new SessionData(full).toJSON(), ...change }
    expect(() => SessionData.fromJSON(json)).toThrow(unreadable as Error)
  })

  test.each([[null], [undefined], ['text'], [42], [true], [[]], [{}]])('%j is no record', (value) => {
    expect(() => SessionData.fromJSON(value)).toThrow(unreadable as Error)
  })

  test('data as deep as may be can be read', () => {
    const json = { ...new SessionData(full).toJSON(), data: JSON.parse(nested(MAX_DEPTH)) as object }
    expect(SessionData.fromJSON(json).json).toBe(nested(MAX_DEPTH))
  })

  test('__proto__ in a record changes nothing but the data', () => {
    const text = JSON.stringify(new SessionData(full)).replace(
      '"data":{',
      '"__proto__":{"userId":"eve"},"data":{"__proto__":{"polluted":true},',
    )
    const record = SessionData.fromJSON(JSON.parse(text))
    expect(record.userId).toBe('ada')
    expect(Object.keys(record.data)).toEqual(['__proto__', 'cart', 'n'])
    expect('polluted' in {}).toBe(false)
    const orphan = JSON.parse(text.replace('"userId":"ada",', '')) as unknown
    expect(SessionData.fromJSON(orphan).userId).toBeNull()
  })
})

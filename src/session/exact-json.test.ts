import { runInNewContext } from 'node:vm'

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { parseJson } from '../stores/parse-json.ts'
import { parseData, stringifyData } from '../stores/session-data.ts'
import { encodeValue } from './exact-json.ts'

/** A value of another realm, as a worker, a test runner or an iframe hands it in. */
const foreign = (code: string): unknown => runInNewContext(code)

const refusal = (path: string): unknown => expect.objectContaining({ code: 'ERR_SESSION_VALUE', path })

describe('a value that JSON gives back unchanged is taken', () => {
  test.each<[string, unknown, string]>([
    ['null', null, 'null'],
    ['a boolean', false, 'false'],
    ['an empty string', '', '""'],
    ['half of a surrogate pair', '\ud800', String.raw`"\ud800"`],
    ['the smallest number', 5e-324, '5e-324'],
    ['an empty object in an empty array', [[], {}], '[[],{}]'],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['a frozen object', Object.freeze({ a: Object.freeze([1]) }), '{"a":[1]}'],
    ['an object and an array of another realm', foreign('({ a: [1, { b: 2 }] })'), '{"a":[1,{"b":2}]}'],
    [
      'one object in two places, which is no cycle',
      ((a) => ({ a, b: [a] }))({ c: 1 }),
      '{"a":{"c":1},"b":[{"c":1}]}',
    ],
    ['a key that is the prototype elsewhere', JSON.parse('{"__proto__":{"x":1}}'), '{"__proto__":{"x":1}}'],
    ['a key that is a method elsewhere', { toJSON: 'x', constructor: 1 }, '{"toJSON":"x","constructor":1}'],
    ['an undefined property, which counts as absent', { a: undefined, b: 1 }, '{"b":1}'],
    ['minus zero, which is zero', [-0], '[0]'],
  ])('%s', (_, value, text) => {
    expect(encodeValue(value, 'key')).toBe(text)
  })

  test('nested as deep as a stored record may be, and no deeper', () => {
    const nest = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth))
    expect(parseData(stringifyData({ key: JSON.parse(encodeValue(nest(499), 'key')) }))).toHaveProperty('key')
    expect(() => encodeValue(nest(500), 'key')).toThrow(refusal(`key${'[0]'.repeat(499)}`))
    expect(() => encodeValue(nest(100_000), 'key')).toThrow('nesting deeper than 500')
  })
})

class Cart {
  items = 1
}

const sparse = [1, 2, 3]
delete sparse[1]

const ring: { next?: unknown } = {}
ring.next = [{ ring }]

describe('a value that JSON would change without a word is refused, with its path and a remedy', () => {
  test.each<[what: string, value: unknown, path: string, remedy: string]>([
    ['undefined', undefined, 'key', 'Store null.'],
    ['NaN', Number.NaN, 'key', 'Store a finite number, or null.'],
    ['-Infinity', { low: Number.NEGATIVE_INFINITY }, 'key.low', 'Store a finite number, or null.'],
    ['a BigInt', { of: [{ n: 1n }] }, 'key.of[0].n', 'Store value.toString().'],
    ['a function', { 'on click': () => 1 }, 'key["on click"]', 'Store data only.'],
    ['a function', { toJSON: () => 1 }, 'key.toJSON', 'Store data only.'],
    ['a symbol', [Symbol('s')], 'key[0]', 'Store data only.'],
    ['undefined', [1, undefined], 'key[1]', 'Store null.'],
    ['a cycle', ring, 'key.next[0].ring', 'Store an id that leads to the object instead.'],
    ['a Date', { at: new Date(0) }, 'key.at', 'Store date.toISOString() or date.getTime().'],
    ['a Map', new Map([['a', 1]]), 'key', 'Store Object.fromEntries(map).'],
    ['a Set', [new Set()], 'key[0]', 'Store [...set].'],
    ['binary data', Buffer.from('x'), 'key', 'Store it as a base64 string.'],
    ['binary data', new DataView(new ArrayBuffer(1)), 'key', 'Store it as a base64 string.'],
    ['an instance of ArrayBuffer', new ArrayBuffer(1), 'key', 'Store a plain object with its fields.'],
    ['an instance of Cart', { cart: new Cart() }, 'key.cart', 'Store a plain object with its fields.'],
    ['an instance of Error', new Error('x'), 'key', 'Store a plain object with its fields.'],
    ['an instance of RegExp', /x/, 'key', 'Store a plain object with its fields.'],
    ['an instance of URL', new URL('http://a'), 'key', 'Store a plain object with its fields.'],
    ['an instance of Promise', Promise.resolve(), 'key', 'Store a plain object with its fields.'],
    ['an instance of String', Object('x'), 'key', 'Store a plain object with its fields.'],
    ['an instance of Date', foreign('[new Date()]'), 'key[0]', 'Store a plain object with its fields.'],
    ['an instance of Map', foreign('({ m: new Map() })'), 'key.m', 'Store a plain object with its fields.'],
    [
      'an instance of List',
      new (class List extends Array {})(),
      'key',
      'Store a plain object with its fields.',
    ],
    [
      'an array with holes or named properties',
      sparse,
      'key',
      'Fill the holes with null, or store an object.',
    ],
    [
      'an array with holes or named properties',
      Object.assign([1], { name: 'x' }),
      'key',
      'Fill the holes with null, or store an object.',
    ],
    ['a property named by a symbol', { a: { [Symbol('s')]: 1 } }, 'key.a', 'Name it by a string.'],
  ])('%s: %o', (what, value, path, remedy) => {
    expect(() => encodeValue(value, 'key')).toThrow(refusal(path))
    expect(() => encodeValue(value, 'key')).toThrow(
      `${path}: ${what} would not come back from a store. ${remedy}`,
    )
  })

  test('and the message quotes no value', () => {
    expect(() => encodeValue(['s3cret', { other: 's3cret', n: 1n }], 'key')).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('s3cret') }),
    )
  })
})

test('whatever is taken comes back the same', () => {
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
  })
  let taken = 0
  fc.assert(
    fc.property(fc.oneof(anything, fc.jsonValue(), fc.array(fc.jsonValue())), (value) => {
      let text
      try {
        text = encodeValue(value, 'key')
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_SESSION_VALUE' })
        return
      }
      taken++
      expect(isSame(value, parseJson(text))).toBe(true)
    }),
    { numRuns: 1000 },
  )
  expect(taken).toBeGreaterThan(250)
})

/** Deep equality, to which only zero's sign, prototypes of null, and properties that are undefined make no difference. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return a === b
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a).filter((key) => (a as Record<string, unknown>)[key] !== undefined)
  return (
    [null, Object.prototype, Array.prototype].includes(Object.getPrototypeOf(a)) &&
    keys.length === Object.keys(b).length &&
    keys.every(
      (key) =>
        Object.hasOwn(b, key) &&
        isSame((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
    )
  )
}

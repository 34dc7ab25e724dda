import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { MAX_CANDIDATES, readCookie } from './read.ts'

const NAME = '__Host-session'

describe('the value is found', () => {
  test('when it is the only cookie', () => {
    expect(readCookie('__Host-session=abc', NAME)).toEqual(['abc'])
  })

  test('among others, wherever it stands', () => {
    expect(readCookie('__Host-session=abc; b=2; c=3', NAME)).toEqual(['abc'])
    expect(readCookie('a=1; __Host-session=abc; c=3', NAME)).toEqual(['abc'])
    expect(readCookie('a=1; b=2; __Host-session=abc', NAME)).toEqual(['abc'])
  })

  test('without a space after the semicolon', () => {
    expect(readCookie('a=1;__Host-session=abc;c=3', NAME)).toEqual(['abc'])
  })

  test('with spaces and tabs around name and value', () => {
    expect(readCookie('a=1;\t __Host-session \t=\t abc \t;c=3', NAME)).toEqual(['abc'])
  })

  test('with an equals sign in it', () => {
    expect(readCookie('__Host-session=a=b==; c=3', NAME)).toEqual(['a=b=='])
  })

  test('when it is empty', () => {
    expect(readCookie('__Host-session=; c=3', NAME)).toEqual([''])
    expect(readCookie('__Host-session= \t', NAME)).toEqual([''])
  })

  test('after other names that contain this one', () => {
    expect(readCookie('x__Host-session=1; __Host-session2=2; __Host-session=abc', NAME)).toEqual(['abc'])
  })
})

describe('the value stands as it was sent', () => {
  test('with its double quotes, which are part of it', () => {
    expect(readCookie('__Host-session="abc"', NAME)).toEqual(['"abc"'])
  })

  test('with its percent signs', () => {
    expect(readCookie('__Host-session=%61bc', NAME)).toEqual(['%61bc'])
  })

  test('with blanks inside it', () => {
    expect(readCookie('__Host-session=a \t b', NAME)).toEqual(['a \t b'])
  })
})

describe('nothing is found', () => {
  test('without a header', () => {
    expect(readCookie(undefined, NAME)).toEqual([])
    expect(readCookie(null, NAME)).toEqual([])
    expect(readCookie('', NAME)).toEqual([])
  })

  test('and nothing is allocated', () => {
    expect(readCookie('a=1; b=2', NAME)).toBe(readCookie(null, NAME))
    expect(readCookie('a=1; b=2', NAME)).toSatisfy(Object.isFrozen)
  })

  const OTHERS = [
    'x__Host-session=1',
    '__Host-session2=1',
    '__Host-sessio=1',
    '__host-session=1',
    '__HOST-SESSION=1',
    '__Host-session',
    '__Host-session; a=1',
    '=__Host-session',
    '==__Host-session=1',
    'a=__Host-session=1',
    'a=b __Host-session=1',
    'a __Host-session=1',
    '"__Host-session"=1',
    'a="; __Host-session',
    ',__Host-session=1',
    'a=1, __Host-session=1',
    '$Path=/ __Host-session=1',
  ]
  test.each(OTHERS)('in %s', (header) => {
    expect(readCookie(header, NAME)).toEqual([])
  })
})

// S13, CVE-2026-39410 and CVE-2020-8184: a name that only resembles this one is another name.
describe('a name is compared as bytes', () => {
  const LOOKALIKES = [
    '%5F%5FHost-session',
    '__Host%2Dsession',
    '\xA0__Host-session',
    '__Host-session\xA0',
    '\x85__Host-session',
    '__Host-session\x85',
    '\x0B__Host-session',
    '__Host-session\x0B',
    '\x0C__Host-session',
    '__Host-session\x0C',
    '\r\n__Host-session',
    '__Host-session\0',
    '\0__Host-session',
    '\x1F__Host-session',
    '\uFEFF__Host-session',
    '\u2003__Host-session',
    '__Host-ſession',
    '\xC2\xA0__Host-session',
  ]
  test.each(LOOKALIKES.map((name) => [JSON.stringify(name), name]))('%s is another name', (_, name) => {
    expect(readCookie(`${name}=evil`, NAME)).toEqual([])
    expect(readCookie(`a=1; ${name}=evil; __Host-session=good`, NAME)).toEqual(['good'])
  })

  test('and around values, too, only spaces and tabs are trimmed', () => {
    expect(readCookie('__Host-session=\xA0abc\x0B', NAME)).toEqual(['\xA0abc\x0B'])
  })

  test('so that a name with a character special to regular expressions means itself', () => {
    expect(readCookie('axb=1; a.b=2; a+b=3', 'a.b')).toEqual(['2'])
  })

  test('so that a name within its own repetition is not found', () => {
    expect(readCookie('aaaa=1; aa=2', 'aa')).toEqual(['2'])
  })
})

// S12: neither the first nor the last of several can be trusted.
describe('several cookies of the name', () => {
  test('are all given, in either order', () => {
    expect(readCookie('__Host-session=evil; __Host-session=good', NAME)).toEqual(['evil', 'good'])
    expect(readCookie('__Host-session=good; a=1; __Host-session=evil', NAME)).toEqual(['good', 'evil'])
  })

  test('are given up to a limit', () => {
    const fifty = Array.from({ length: 50 }, (_, index) => `__Host-session=${index}`).join('; ')
    expect(readCookie(fifty, NAME)).toEqual(['0', '1', '2', '3'])
    expect(MAX_CANDIDATES).toBe(4)
  })

  test('count once when they are alike', () => {
    expect(readCookie('__Host-session=abc; a=1; __Host-session=abc', NAME)).toEqual(['abc'])
  })

  test('that are alike leave room for others', () => {
    const header = `${'__Host-session=evil; '.repeat(50)}__Host-session=good`
    expect(readCookie(header, NAME)).toEqual(['evil', 'good'])
  })
})

// S4: what anybody sends.
describe('any header', () => {
  const pieces = fc.constantFrom(NAME, '=', ';', ' ', '\t', ',', '"', '\0', '\r\n', '\xA0', '\uD800', 'a')
  const strings = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join('')),
  )

  test('throws nothing', () => {
    fc.assert(
      fc.property(strings, (header) => {
        readCookie(header, NAME)
      }),
      { numRuns: 10_000 },
    )
  })

  test('gives what splitting it slowly gives', () => {
    fc.assert(
      fc.property(strings, (header) => {
        expect(readCookie(header, NAME)).toEqual(readSlowly(header))
      }),
      { numRuns: 10_000 },
    )
  })

  // A million steps take milliseconds; a million times a million would take an hour.
  const MEGABYTE = 2 ** 20
  const HUGE = [
    ' ',
    ';',
    '=',
    'a',
    '\0',
    NAME,
    `${NAME} `,
    `${NAME}=`,
    `${NAME};`,
    `x${NAME}=; `,
    '__Host-',
    '\uD800',
  ]
  test.each(HUGE)('of a megabyte of "%s" takes linear time', (piece) => {
    const header = piece.repeat(MEGABYTE / piece.length)
    const start = performance.now()
    readCookie(header, NAME)
    readCookie(`${header}; ${NAME}=${header}`, NAME)
    expect(performance.now() - start).toBeLessThan(1000)
  })
})

/** 6265bis 5.8.3 backwards, with no thought for speed. */
function readSlowly(header: string): string[] {
  const values = header
    .split(';')
    .filter((pair) => pair.includes('='))
    .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)].map(trimBlanks))
    .filter(([name]) => name === NAME)
    .map(([, value]) => value!)
  return [...new Set(values)].slice(0, MAX_CANDIDATES)
}

function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '')
}

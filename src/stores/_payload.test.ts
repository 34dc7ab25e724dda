import { describe, expect, it } from 'vitest'

import { readMark, readPayload, writeMark, writePayload } from './_payload.ts'
import { SessionData } from './session-data.ts'
import type { SessionDataInit } from './session-data.ts'
import type { Mark } from './store.ts'

const init = {
  id: 'id',
  data: { name: 'Ada' },
  version: 'v1',
  userId: 'user-1',
  createdAt: 1_700_000_000_000,
  updatedAt: 1_700_000_000_001,
  touchedAt: 1_700_000_000_002,
  expiresAt: 1_700_000_000_003,
  flash: ['name'],
} satisfies SessionDataInit

const read = (payload: string): SessionData => readPayload('id', 'v1', init.touchedAt, payload)
const unreadable = expect.objectContaining({ code: 'ERR_SESSION_RECORD' })

describe('a payload', () => {
  it('is a short line, and the data below it as it is', () => {
    expect(writePayload(new SessionData(init))).toBe(
      '[1,1700000000000,1700000000001,1700000000003,"user-1",["name"]]\n{"name":"Ada"}',
    )
  })

  it.each<[string, Partial<SessionDataInit>]>([
    ['every field', {}],
    ['no user, no deadline, no flash', { userId: null, expiresAt: null, flash: [] }],
    ['no data', { data: {} }],
    ['a device', { device: 'Firefox "on"\nUnix \uFFFD' }],
    ['a user whose name is hard to write', { userId: 'a"b\\c\n\u2028,[]\uFFFD\u{1F511}' }],
    ['flash keys that are hard to write', { flash: ['', '"', '\n', '__proto__', '\uFFFD'] }],
    ['data that is hard to write', { data: { 'a\nb': '\uFFFD', ['__proto__']: [1, '\n'], toJSON: null } }],
    ['times before 1970, and with fractions', { createdAt: -1, updatedAt: 0, expiresAt: 12.5 }],
  ])('comes back as it was: %s', (_name, change) => {
    const record = new SessionData({ ...init, ...change })
    const back = read(writePayload(record))
    expect(back).toEqual(record)
    expect(back.toJSON()).toEqual(record.toJSON())
  })

  it('keeps the text of the data, unparsed', () => {
    const text = '{ "name" : "Ada" }'
    expect(read(writePayload(new SessionData({ ...init, data: text }))).json).toBe(text)
  })

  it('takes id, version and touchedAt from beside it', () => {
    const back = readPayload('other', '', 5, writePayload(new SessionData(init)))
    expect(back).toMatchObject({ id: 'other', version: '', touchedAt: 5 })
  })

  const data = '{"name":"secret"}'
  it.each([
    ['empty', ''],
    ['no line', data],
    ['an empty line', `\n${data}`],
    ['a line and nothing below', '[1,1,1,null,null,[]]'],
    ['a line that is not JSON', `[1,1,1,null,null,[]\n${data}`],
    ['a line that is no list', `{"0":1}\n${data}`],
    ['a line that is null', `null\n${data}`],
    ['a later format', `[2,1,1,null,null,[]]\n${data}`],
    ['a format in words', `["1",1,1,null,null,[]]\n${data}`],
    ['a field too few', `[1,1,1,null,null]\n${data}`],
    ['a field too many', `[1,1,1,null,null,[],0]\n${data}`],
    ['createdAt in words', `[1,"1",1,null,null,[]]\n${data}`],
    ['createdAt without end', `[1,1e999,1,null,null,[]]\n${data}`],
    ['updatedAt null', `[1,1,null,null,null,[]]\n${data}`],
    ['updatedAt beyond all dates', `[1,1,1e16,null,null,[]]\n${data}`],
    ['expiresAt in words', `[1,1,1,"1",null,[]]\n${data}`],
    ['expiresAt without end', `[1,1,1,-1e999,null,[]]\n${data}`],
    ['userId a number', `[1,1,1,null,7,[]]\n${data}`],
    ['device a number', `[1,1,1,null,null,[],7]\n${data}`],
    ['fields to spare', `[1,1,1,null,null,[],"x","y"]\n${data}`],
    ['flash null', `[1,1,1,null,null,null]\n${data}`],
    ['flash of numbers', `[1,1,1,null,null,[7]]\n${data}`],
    ['a line that was not UTF-8', `[1,1,1,null,"\uFFFD",[]]\n${data}`],
    ['data that is empty', '[1,1,1,null,null,[]]\n'],
    ['data that is null', '[1,1,1,null,null,[]]\nnull'],
    ['data that is a list', '[1,1,1,null,null,[]]\n["secret"]'],
    ['data that is a string', '[1,1,1,null,null,[]]\n"secret"'],
    ['data without its beginning', '[1,1,1,null,null,[]]\n"name":"secret"}'],
    ['data cut off', '[1,1,1,null,null,[]]\n{"name":"secret'],
    ['data that was not UTF-8', '[1,1,1,null,null,[]]\n{"name":"secret\uFFFD"}'],
  ])('is refused: %s', (_name, payload) => {
    expect(() => read(payload)).toThrow(unreadable)
    expect(() => read(payload)).toThrow(/^(?!.*secret)/)
  })

  it.each([NaN, Infinity, -Infinity, 8.65e15])('is refused beside a touchedAt of %s', (touchedAt) => {
    expect(() => readPayload('id', 'v1', touchedAt, writePayload(new SessionData(init)))).toThrow(unreadable)
  })

  it('is refused beside a version that was not UTF-8', () => {
    expect(() => readPayload('id', 'v\uFFFD', 1, writePayload(new SessionData(init)))).toThrow(unreadable)
  })
})

describe('a mark', () => {
  it.each<Mark>([
    { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false },
    { kind: 'mark', reason: 'revoked', successor: null, sameUser: false },
    { kind: 'mark', reason: 'rotated', successor: 'next', sameUser: true },
    { kind: 'mark', reason: 'withdrawn', successor: null, sameUser: false },
  ])('comes back as it was: $reason', (mark) => {
    expect(readMark(writeMark(mark))).toEqual(mark)
  })

  it.each([
    '',
    'null',
    '{}',
    '[]',
    '[2,"revoked",null,false]',
    '[1,"revoked",null]',
    '[1,"revoked",null,false,0]',
    '[1,"forgotten",null,false]',
    '[1,"revoked",7,false]',
    '[1,"revoked",null,0]',
  ])('is refused: %s', (text) => {
    expect(() => readMark(text)).toThrow(unreadable)
  })
})

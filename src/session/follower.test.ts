import { expect, test } from 'vitest'

import { SessionData } from '../stores/session-data.ts'
import { Follower } from './follower.ts'

const record = (version: string, data: Record<string, unknown> | string): SessionData =>
  new SessionData({ id: 'a', version, data })

/** A follower that knows a record, and all that its listener is told. */
function listening(known: SessionData) {
  const told: string[][] = []
  const follower = new Follower('a', () => {}, { listens() {}, leaves() {} })
  follower.listen((keys) => told.push([...keys].sort()), known)
  return { follower, told }
}

test('tells by which top-level keys two records differ, at any depth, __proto__ being one like any other', async () => {
  const before = record('v1', '{"same":[1],"deep":{"a":[1,{"b":2}]},"gone":1,"__proto__":1}')
  const { follower, told } = listening(before)
  await follower.tell(record('v2', '{"same":[1],"deep":{"a":[1,{"b":3}]},"new":null,"__proto__":2}'), before)
  expect(told).toEqual([['__proto__', 'deep', 'gone', 'new']])
})

test('tells nothing of what was read before its own commit, and wants it read again', async () => {
  const known = record('v1', { a: 1 })
  const { follower, told } = listening(known)
  const own = record('v2', { a: 1, own: 1 })
  follower.noteOwn(known, own)
  expect(await follower.tell(known, known)).toBe(false)
  expect(await follower.tell(own, own)).toBe(true)
  expect(told).toEqual([])
})

test('tells what others changed before its own commit, and not what that changed', () => {
  const { follower, told } = listening(record('v1', { a: 1 }))
  follower.noteOwn(record('v2', { a: 1, theirs: 1 }), record('v3', { a: 1, theirs: 1, own: 1 }))
  expect(told).toEqual([['theirs']])
  expect(follower.knows('v3')).toBe(true)
})

test('waits for its own commits under way before it judges what was read', async () => {
  const known = record('v1', {})
  const { follower, told } = listening(known)
  const committing = Promise.withResolvers<void>()
  follower.noteCommit(committing.promise)
  const own = record('v2', { own: 1 })
  const telling = follower.tell(own, known)
  follower.noteOwn(known, own)
  committing.reject(new Error('whatever came of it'))
  expect([await telling, told]).toEqual([true, []])
})

test('tells nothing of a record that cannot be read, which others will find out', async () => {
  const known = record('v1', { a: 1 })
  const { follower, told } = listening(known)
  expect(await follower.tell(record('v2', 'nonsense'), known)).toBe(true)
  expect(told).toEqual([])
})

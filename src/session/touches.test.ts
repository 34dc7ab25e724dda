import { expect, test } from 'vitest'

import { SessionData } from '../stores/session-data.ts'
import { resolveLifetimes } from './expiry.ts'
import { Touches } from './touches.ts'

const touchedAt = (at: number, id = 'a', expiresAt: number | null = null): SessionData =>
  new SessionData({ id, createdAt: 0, touchedAt: at, expiresAt })

const everyMinute = (): Touches => new Touches(resolveLifetimes({}))

test('of requests loaded side by side, one touches', () => {
  const touches = everyMinute()
  const claims = Array.from({ length: 20 }, () => touches.claim(touchedAt(0), 60_000))
  expect(claims.filter(Boolean)).toHaveLength(1)
})

test('nobody touches before it is due, nor what has a deadline of its own', () => {
  const touches = everyMinute()
  expect(touches.claim(touchedAt(1), 60_000)).toBe(false)
  expect(touches.claim(touchedAt(0, 'a', 1e9), 60_000)).toBe(false)
})

test('sessions are touched each for itself', () => {
  const touches = everyMinute()
  expect([touches.claim(touchedAt(0, 'a'), 60_000), touches.claim(touchedAt(0, 'b'), 60_000)]).toEqual([
    true,
    true,
  ])
})

test('a claim holds while the store has not shown it, for a minute at least, and not for ever', () => {
  const touches = everyMinute()
  expect(touches.claim(touchedAt(0), 60_000)).toBe(true)
  expect(touches.claim(touchedAt(0), 119_999)).toBe(false)
  expect(touches.claim(touchedAt(0), 180_000)).toBe(true)
})

test('a claim says nothing once the record shows a later touch', () => {
  const touches = everyMinute()
  touches.claim(touchedAt(0), 60_000)
  expect(touches.claim(touchedAt(60_000), 120_000)).toBe(true)
})

test('a claim that is taken back is free for the next', () => {
  const touches = everyMinute()
  touches.claim(touchedAt(0), 60_000)
  touches.release(touchedAt(0))
  expect(touches.claim(touchedAt(0), 60_000)).toBe(true)
})

test('with touchEvery 0, each request touches, but not two of the same instant', () => {
  const touches = new Touches(resolveLifetimes({ touchEvery: 0 }))
  expect(touches.claim(touchedAt(5), 5)).toBe(true)
  expect(touches.claim(touchedAt(5), 6)).toBe(false)
  expect(touches.claim(touchedAt(6), 6)).toBe(true)
})

import { describe, expect, test } from 'vitest'

import { ManualClock } from './clock.ts'

describe('ManualClock', () => {
  test('stands still until it is moved', async () => {
    const clock = new ManualClock(1000)
    expect(clock.now()).toBe(1000)
    await clock.advance(250)
    expect(clock.now()).toBe(1250)
    expect(new ManualClock().now()).toBe(Date.UTC(2026, 0, 1))
  })

  test('wakes sleepers at their own moments, the earliest first', async () => {
    const clock = new ManualClock(0)
    const woken: [name: string, at: number][] = []
    const sleep = async (name: string, ms: number): Promise<void> => {
      await clock.sleep(ms)
      woken.push([name, clock.now()])
    }
    void sleep('late', 30)
    void sleep('early', 10)
    void sleep('also early', 10)
    void sleep('never', 41)
    await clock.advance(9)
    expect(woken).toEqual([])
    await clock.advance(31)
    expect(woken).toEqual([
      ['early', 10],
      ['also early', 10],
      ['late', 30],
    ])
    expect(clock.now()).toBe(40)
  })

  test('who falls asleep again on the way wakes again on the way', async () => {
    const clock = new ManualClock(0)
    const beats: number[] = []
    void (async () => {
      for (;;) {
        await clock.sleep(10)
        // What takes many promise callbacks is done before time goes on.
        for (let i = 0; i < 100; i++) await Promise.resolve()
        beats.push(clock.now())
      }
    })()
    await clock.advance(35)
    expect(beats).toEqual([10, 20, 30])
  })

  test('a sleep begun just before it moves counts from then', async () => {
    const clock = new ManualClock(0)
    let isAwake = false
    void Promise.resolve()
      .then(() => clock.sleep(5))
      .then(() => (isAwake = true))
    await clock.advance(5)
    expect(isAwake).toBe(true)
  })

  test('no time at all needs no move', async () => {
    const clock = new ManualClock()
    await clock.sleep(0)
    await clock.sleep(-1)
  })

  test('a sleep ends with its signal, for the signal’s reason', async () => {
    const clock = new ManualClock()
    const controller = new AbortController()
    const reason = new Error('enough')
    const sleeping = clock.sleep(10, controller.signal)
    controller.abort(reason)
    await expect(sleeping).rejects.toBe(reason)
    await expect(clock.sleep(10, controller.signal)).rejects.toBe(reason)
    await clock.advance(10)
  })

  test('does not run backward', async () => {
    const clock = new ManualClock(1000)
    for (const ms of [-1, Number.NaN])
      await expect(clock.advance(ms)).rejects.toMatchObject({ code: 'ERR_SESSION_ARGUMENT' })
    expect(clock.now()).toBe(1000)
  })
})

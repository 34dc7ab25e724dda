import { describe, expect, test } from 'vitest'

import { ServerClock } from './_server-clock.ts'

/** A machine whose clock is 16 minutes ahead, 500 ms after it was started. */
function setUp() {
  const machine = { day: 1_000_000 + 960_000, up: 500 }
  const clock = new ServerClock({
    now: () => machine.day,
    monotonic: () => machine.up,
    sleep: () => Promise.resolve(),
  })
  const pass = (ms: number): void => {
    machine.day += ms
    machine.up += ms
  }
  return { machine, clock, pass }
}

describe('the time', () => {
  test("is the machine's until the server has told its own", () => {
    const { clock, pass } = setUp()
    expect(clock.now()).toBe(1_960_000)
    clock.set(1_000_000, 500)
    expect(clock.now()).toBe(1_000_000)
    pass(7000)
    expect(clock.now()).toBe(1_007_000)
  })

  test("does not follow the machine's clock when that is set", () => {
    const { machine, clock, pass } = setUp()
    clock.set(1_000_000, 500)
    machine.day -= 2 * 960_000
    pass(10)
    expect(clock.now()).toBe(1_000_010)
  })

  test('was told half-way between the question and the answer', () => {
    const { clock, pass } = setUp()
    pass(40)
    clock.set(1_000_020, 500)
    expect(clock.now()).toBe(1_000_040)
  })

  test('that is known changes no further than it must to fit the answer, however long that took', () => {
    const { clock, pass } = setUp()
    clock.set(1_000_000, 500)
    pass(900)
    // Told at once, and long on the way; then the other way round.
    clock.set(1_000_000, 500)
    clock.set(1_000_900, 500)
    expect(clock.now()).toBe(1_000_900)
    clock.set(1_000_901, 500)
    expect(clock.now()).toBe(1_000_901)
    clock.set(999_000, 500)
    expect(clock.now()).toBe(999_900)
  })

  test('is taken from the quicker answer, where the first took long', () => {
    const { clock, pass } = setUp()
    pass(3000)
    clock.set(1_000_000, 500)
    expect(clock.now()).toBe(1_001_500)
    pass(100)
    clock.set(1_000_100, 3550)
    expect(clock.now()).toBe(1_000_150)
  })
})

import { setImmediate as nextTurn } from 'node:timers/promises'

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { CommitQueue } from './commit-queue.ts'

/** A queue whose batches end when the test says so; `log` tells what began, in order. */
function setUp() {
  const log: string[] = []
  const gates: (() => void)[] = []
  const gate = (): Promise<void> => new Promise((resolve) => gates.push(resolve))
  const queue = new CommitQueue<string, string>(async (id, batch, latest) => {
    log.push(`${id}: ${batch.join('+')} on ${latest}`)
    await gate()
    return batch.join('+')
  })
  const step = (id: string, name: string): Promise<string> =>
    queue.alone(id, async () => {
      log.push(`${id}: ${name} alone`)
      await gate()
      return name
    })
  /** Lets whatever is under way end, and what comes after it begin. */
  const pass = async (): Promise<void> => {
    for (const open of gates.splice(0)) open()
    await nextTurn()
  }
  return { queue, log, step, pass }
}

describe('entries', () => {
  test('that wait side by side are carried together, each batch on what the one before left', async () => {
    const { queue, log, pass } = setUp()
    for (const entry of ['1', '2', '3']) queue.add('a', entry)
    expect(log).toEqual(['a: 1 on null'])
    await pass()
    queue.add('a', '4')
    await pass()
    await pass()
    expect(log).toEqual(['a: 1 on null', 'a: 2+3 on 1', 'a: 4 on 2+3'])
  })

  test('of different sessions do not wait for each other', () => {
    const { queue, log } = setUp()
    queue.add('a', '1')
    queue.add('b', '2')
    expect(log).toEqual(['a: 1 on null', 'b: 2 on null'])
  })

  test('that come when the line is empty again know nothing of what was there', async () => {
    const { queue, log, pass } = setUp()
    queue.add('a', '1')
    await pass()
    queue.add('a', '2')
    expect(log.at(-1)).toBe('a: 2 on null')
  })
})

test('each session has a line of its own, whatever lines come and go beside it', async () => {
  const ids = fc.constantFrom('', 'a', 'ab', 'ab1', 'ab2', 'ab3', 'b')
  const deed = fc.oneof(
    fc.record({ kind: fc.constant('add'), id: ids }),
    fc.record({ kind: fc.constant('end'), id: ids }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(deed, { maxLength: 60 }), async (deeds) => {
      const ends = new Map<string, () => void>()
      const carried: string[] = []
      const queue = new CommitQueue<string, string>(async (id, batch, latest) => {
        expect(ends.has(id), 'one batch at a time').toBe(false)
        carried.push(...batch)
        await new Promise<void>((resolve) => ends.set(id, resolve))
        ends.delete(id)
        return `${id}${latest ?? ''}`
      })
      const given: string[] = []
      const end = async (id: string): Promise<void> => {
        ends.get(id)?.()
        await nextTurn()
      }
      for (const { kind, id } of deeds) {
        if (kind === 'end') await end(id)
        else {
          const entry = `${id}:${given.length}`
          given.push(entry)
          queue.add(id, entry)
        }
      }
      while (ends.size > 0) await end([...ends.keys()][0]!)
      expect(carried.toSorted()).toEqual(given.toSorted())
      const ofOne = (id: string, all: string[]): string[] => all.filter((entry) => entry.startsWith(`${id}:`))
      for (const id of ['', 'a', 'ab', 'ab1', 'ab2', 'ab3', 'b'])
        expect(ofOne(id, carried)).toEqual(ofOne(id, given))
    }),
  )
})

describe('a step that ends the session', () => {
  test('runs alone, in its turn: what came before it is carried first, what came after it later', async () => {
    const { queue, log, step, pass } = setUp()
    queue.add('a', '1')
    queue.add('a', '2')
    const destroyed = step('a', 'destroy')
    queue.add('a', '3')
    queue.add('a', '4')
    for (let i = 0; i < 4; i++) await pass()
    expect(await destroyed).toBe('destroy')
    expect(log).toEqual(['a: 1 on null', 'a: 2 on 1', 'a: destroy alone', 'a: 3+4 on null'])
  })

  test('that fails tells who asked for it, and holds nobody up', async () => {
    const { queue, log, pass } = setUp()
    const failing = queue.alone('a', () => Promise.reject(new Error('down')))
    queue.add('a', '1')
    await expect(failing).rejects.toThrow('down')
    await pass()
    expect(log).toEqual(['a: 1 on null'])
  })
})

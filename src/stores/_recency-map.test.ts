import { expect, test } from 'vitest'

import { seeded } from '../testing/_store-model.ts'
import { RecencyMap } from './_recency-map.ts'

/** From the oldest to the newest, emptying the map. */
function drain(map: RecencyMap<number>): string[] {
  const ids = []
  for (let oldest = map.oldest; oldest !== null; oldest = map.oldest) {
    ids.push(oldest.id)
    map.delete(oldest.id)
  }
  return ids
}

test('keeps its entries in the order of use, as a plain Map does that moves them', () => {
  const random = seeded(7)
  const map = new RecencyMap<number>()
  const model = new Map<string, number>()
  for (let step = 0; step < 20_000; step++) {
    const id = ['', 'a', 'ab', 'abc', '__proto__', `id-${random(500)}`][random(6)]!
    const present = model.get(id)
    switch (random(4)) {
      case 0:
      case 1:
        expect(map.get(id)).toBe(present)
        if (present === undefined) break
        model.delete(id)
        model.set(id, present)
        break
      case 2:
        map.set(id, step)
        model.delete(id)
        model.set(id, step)
        break
      case 3:
        expect(map.delete(id)).toBe(model.delete(id))
    }
    expect(map.size).toBe(model.size)
    expect(map.oldest?.id).toBe(model.keys().next().value)
  }
  const entries = [...map.parts()].flatMap((part) => [...part].map(({ id, value }) => [id, value]))
  expect(new Map(entries as [string, number][])).toEqual(model)
  expect(drain(map)).toEqual([...model.keys()])
  expect(map.size).toBe(0)
})

test('clear leaves it empty and usable', () => {
  const map = new RecencyMap<number>()
  for (const id of ['a', 'b', 'c']) map.set(id, 1)
  map.clear()
  expect([map.size, map.oldest, map.get('a'), [...map.parts()]]).toEqual([0, null, undefined, []])
  map.set('b', 2)
  map.set('a', 3)
  expect(drain(map)).toEqual(['b', 'a'])
})

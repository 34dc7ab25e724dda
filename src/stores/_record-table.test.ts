import { expect, test } from 'vitest'

import { seeded } from '../testing/_store-model.ts'
import { NONE, RecordTable } from './_record-table.ts'
import { SessionData } from './session-data.ts'

const recordOf = (id: string, version: string): SessionData => new SessionData({ id, version, createdAt: 1 })

function write(table: RecordTable, id: string, version: string, endsAt = 100): void {
  const present = table.find(id)
  const row = present === NONE ? table.add(id) : present
  table.write(row, recordOf(id, version), '{}', 1, endsAt)
  table.use(row)
}

/** From the one used longest ago to the newest, emptying the table. */
function drain(table: RecordTable): string[] {
  const ids = []
  for (let { oldest } = table; oldest !== NONE; { oldest } = table) {
    ids.push(table.read(oldest).id)
    table.delete(oldest)
  }
  return ids
}

test('keeps its records in the order of use, as a plain Map does that moves them', () => {
  const random = seeded(7)
  const table = new RecordTable()
  const model = new Map<string, string>()
  for (let step = 0; step < 30_000; step++) {
    const id = ['', 'a', 'ab', 'abc', '__proto__', `id-${random(5000)}`][random(6)]!
    const present = model.get(id)
    const row = table.find(id)
    expect(row === NONE ? undefined : table.versionOf(row)).toBe(present)
    const action = random(4)
    if (action < 2) {
      model.delete(id)
      model.set(id, `v${step}`)
      write(table, id, `v${step}`)
    } else if (present !== undefined) {
      model.delete(id)
      if (action === 2) {
        model.set(id, present)
        table.use(row)
      } else table.delete(row)
    }
    expect(table.size).toBe(model.size)
    if (model.size > 0) expect(table.read(table.oldest).id).toBe(model.keys().next().value)
  }
  expect(table.rows).toBeGreaterThan(1024)
  expect(drain(table)).toEqual([...model.keys()])
  expect(table.size).toBe(0)
})

test('gives back each record as it was written, a copy each time', () => {
  const table = new RecordTable()
  const full = (): SessionData =>
    new SessionData({
      id: 'a',
      data: '{"n":1}',
      version: 'v1',
      userId: 'u',
      createdAt: 1,
      updatedAt: 2,
      touchedAt: 3,
      expiresAt: 4,
      flash: ['n'],
    })
  const row = table.add('a')
  table.write(row, full(), full().json, 3, 100)
  expect(table.read(row)).toEqual(full())
  table.read(row).data['n'] = 2
  ;(table.read(row).flash as string[]).push('m')
  expect(table.read(row)).toEqual(full())
  table.write(row, recordOf('a', 'v2'), '{}', 1, 100)
  expect(table.read(row)).toEqual(recordOf('a', 'v2'))
})

test('uses the rows again of what has left; those not in use never end', () => {
  const table = new RecordTable()
  for (const id of ['a', 'b', 'c']) write(table, id, 'v', 7)
  const { rows } = table
  table.delete(table.find('b'))
  const ends = Array.from({ length: rows }, (_, row) => table.endsAt(row))
  expect(ends.filter((end) => end !== Infinity)).toEqual([7, 7])
  for (let n = 0; n < rows - 2; n++) write(table, `id-${n}`, 'v')
  expect(table.rows).toBe(rows)
})

test('clear leaves it empty and usable', () => {
  const table = new RecordTable()
  for (const id of ['a', 'b', 'c']) write(table, id, 'v')
  table.clear()
  expect([table.size, table.oldest, table.find('a'), table.rows]).toEqual([0, NONE, NONE, 0])
  write(table, 'b', 'v')
  write(table, 'a', 'v')
  expect(drain(table)).toEqual(['b', 'a'])
})

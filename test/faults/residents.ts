import { randomUUID } from 'node:crypto'

import { expect } from 'vitest'

import type { Ledger } from './ledger.ts'

/** A visitor who has signed in, and does only what the test has him do. */
export interface Resident {
  readonly name: string
  readonly cookie: string
  /** His session's. */
  readonly id: string
}

/** Has some sign in, on one server after the other. Each is known to the servers by his session, and by the hint to it. */
export function settleIn(ledger: Ledger, count: number): Promise<Resident[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const name = randomUUID()
      const { status, cookies } = await ledger.ask(n % ledger.servers, `POST /sign-in?user=${name}`, null)
      expect(status).toBe(200)
      const cookie = cookies[0]!.split(';', 1)[0]!
      const { body } = await ledger.ask(n % ledger.servers, 'GET /list', cookie)
      const [id] = JSON.parse(body) as [string]
      return { name, cookie, id }
    }),
  )
}

/** Expects that every server serves them, and finds the one session that each of them has by its hint. */
export async function expectAtHome(ledger: Ledger, residents: readonly Resident[]): Promise<void> {
  for (let server = 0; server < ledger.servers; server++) {
    const found = await Promise.all(
      residents.map(async ({ cookie }) => {
        const { status, body } = await ledger.ask(server, 'GET /list', cookie)
        return status === 200 ? (JSON.parse(body) as unknown) : `${status} ${body}`
      }),
    )
    expect(found).toEqual(residents.map(({ id }) => [id]))
  }
}

/** Expects that every server serves them. */
export async function expectServed(ledger: Ledger, residents: readonly Resident[]): Promise<void> {
  for (let server = 0; server < ledger.servers; server++) {
    const served = await Promise.all(
      residents.map(async ({ cookie }) => {
        const { status, body } = await ledger.ask(server, 'GET /read', cookie)
        return status === 200 ? (JSON.parse(body) as { user: unknown }).user : `${status} ${body}`
      }),
    )
    expect(served).toEqual(residents.map(({ name }) => name))
  }
}

/** Has each of them sign out, on one server after the other, and expects that no server knows him any more. */
export async function signOut(ledger: Ledger, residents: readonly Resident[]): Promise<void> {
  const done = await Promise.all(
    residents.map(async ({ cookie }, n) => {
      const { status } = await ledger.ask(n % ledger.servers, 'POST /sign-out', cookie)
      return status
    }),
  )
  expect(done).toEqual(residents.map(() => 200))
  await expectGone(ledger, residents)
}

/** Expects that no server knows them; and that none gives them another cookie in place of the one that has ended. */
export async function expectGone(ledger: Ledger, residents: readonly Resident[]): Promise<void> {
  for (let server = 0; server < ledger.servers; server++) {
    const found = await Promise.all(
      residents.map(async ({ cookie }) => {
        // What is written to a session that has ended is dropped, and said to be: where its mark is missing, it would be a stranger's first visit.
        const { body, cookies } = await ledger.ask(server, 'POST /set?key=late&value=1', cookie)
        return { user: (JSON.parse(body) as { user: unknown }).user, cookies }
      }),
    )
    expect(found).toEqual(residents.map(() => ({ user: null, cookies: [] })))
  }
}

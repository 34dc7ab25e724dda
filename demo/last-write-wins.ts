import { setTimeout as pause } from 'node:timers/promises'

import { SessionData, type SessionStore } from 'holdfast'

/**
 * Sessions as they are without versions, for comparison: each request reads the record, works, and writes
 * back all of it. Whatever was written in between is lost. Holdfast itself never calls `set`.
 */
export class LastWriteWins {
  readonly #store: SessionStore

  constructor(store: SessionStore) {
    this.#store = store
  }

  async add(sessionId: string, slot: number, work: number): Promise<void> {
    const id = idFor(sessionId)
    const slots = await this.read(sessionId)
    await pause(work)
    await this.#store.set(id, new SessionData({ id, data: { slots: [...slots, slot] } }), 60)
  }

  async read(sessionId: string): Promise<number[]> {
    const record = await this.#store.get(idFor(sessionId))
    return (record?.data['slots'] as number[] | undefined) ?? []
  }

  async forget(sessionId: string): Promise<void> {
    await this.#store.delete(idFor(sessionId))
  }
}

function idFor(sessionId: string): string {
  return `compare-${sessionId}`
}

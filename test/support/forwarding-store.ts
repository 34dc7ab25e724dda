import type { Clock } from '../../src/clock.ts'
import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { SessionStore } from '../../src/stores/store.ts'

/** A store that does what another does: to be extended by what does not. */
export class ForwardingStore extends SessionStore {
  override readonly atomic: boolean
  readonly inner: SessionStore

  constructor(inner: SessionStore, clock: Clock = inner.clock) {
    super({ clock })
    this.inner = inner
    this.atomic = inner.atomic
  }

  get(id: string): Promise<SessionData | null> {
    return this.inner.get(id)
  }

  set(id: string, data: SessionData, ttl?: number): Promise<void> {
    return this.inner.set(id, data, ttl)
  }

  delete(id: string): Promise<boolean> {
    return this.inner.delete(id)
  }

  exists(id: string): Promise<boolean> {
    return this.inner.exists(id)
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.inner.load(id)
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.inner.create(id, data, ttl)
  }

  override replace(id: string, data: SessionData, expected: string, ttl: number): Promise<boolean> {
    return this.inner.replace(id, data, expected, ttl)
  }

  override end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return this.inner.end(id, mark, expected)
  }

  override touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    return this.inner.touch(id, ttl, expected)
  }

  override close(): Promise<void> {
    return this.inner.close()
  }
}
